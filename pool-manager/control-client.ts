/** The pool-manager's end of an enclave's control port, one typed function per operation. */

import { ByteWriter } from "#protocol/bytes.ts";
import { PAGE_ENTRIES_MAX, PORT_CONTROL } from "#protocol/limits.ts";
import {
  CONTROL_OPERATIONS,
  type DevelopmentSecrets,
  decodeLoadReport,
  decodeOperatorReport,
  decodeSealedKey,
  decodeStatus,
  type EnclaveSettings,
  type EnclaveStatus,
  encodeConfigure,
  encodeMacKeys,
  encodePubkeys,
  encodeSealedKeys,
  type LoadReport,
  type OperatorReport,
  type SealedKey,
} from "#protocol/messages/control.ts";
import {
  type ConfigureSealed,
  encodeConfigureSealed,
  encodeLoadBundle,
  type LoadBundle,
} from "#protocol/messages/sealed.ts";
import { decodeEntries, encodeEntries } from "#protocol/messages/store.ts";
import { createRpcClient } from "#protocol/rpc.ts";
import type { MacKeys } from "#protocol/slashing/mac.ts";
import type { StoreEntry } from "#protocol/slashing/store.ts";
import { dial } from "#protocol/transport/address.ts";

/** Commands an enclave. Every function fails with a SignerError when the enclave does or is gone. */
export interface ControlClient {
  configure(settings: EnclaveSettings, secrets: DevelopmentSecrets): Promise<void>;
  /** Gives an enclave a configuration that it opens by attestation. */
  configureSealed(message: ConfigureSealed): Promise<void>;
  /** Gives it 1..1000 keys of one sealed bundle; the report names those that did not open. */
  loadBundle(bundle: LoadBundle): Promise<LoadReport>;
  /** Opens or makes one key (`openKeystore`, `openSecret`, `generateKey`). */
  openKey(operation: number, payload: Uint8Array): Promise<SealedKey>;
  /** Loads any number of keys, page by page. */
  loadKeys(keys: readonly SealedKey[]): Promise<LoadReport>;
  removeKeys(pubkeys: readonly Uint8Array[]): Promise<void>;
  /** Verifies the store and reads or makes the records of all loaded keys. */
  activate(): Promise<void>;
  /** Lets the activated keys sign. */
  open(): Promise<void>;
  status(): Promise<EnclaveStatus>;
  /** Executes an operator command, as the operator's bytes. */
  operate(command: Uint8Array): Promise<OperatorReport>;
  /** A page of the newest records that the enclave has seen; empty behind the last. */
  floors(page: number): Promise<StoreEntry[]>;
  keepFloors(entries: readonly StoreEntry[]): Promise<void>;
  /** Gives the enclave the accepted MAC keys anew. */
  macKeys(keys: MacKeys): Promise<void>;
  /** Reads records and marker again. */
  refresh(): Promise<void>;
  /** Returns when nothing is in flight any more. */
  drain(): Promise<void>;
  /** Key openings under way. */
  readonly opening: number;
  readonly closed: boolean;
  close(): void;
}

/** Time for settings, removals and status: work of milliseconds on a busy machine. */
const QUICK_MS = 5_000;
/** Time for one status: three in a row that stay out mean a hanging enclave. */
const STATUS_MS = 2_000;
/** Time for one keystore: scrypt takes 1–2 s alone, and may wait for others on a small machine. */
const OPEN_MS = 60_000;
/** Time for one page of keys: 4096 × ≈130 µs. */
const LOAD_PAGE_MS = 30_000;
/** Time for one unseal: a call of KMS with its attempts (15 s), a key pair at the first, and 1000 × ≈150 µs. */
const UNSEAL_MS = 25_000;
/** Time for reading (and registering) all records. */
const ACTIVATE_MS = 120_000;
/** Time for an operator command on every record of a large store. */
const OPERATE_MS = 600_000;
/** Longer than any request may take (`SIGN_DEADLINE_MS_MAX`). */
const DRAIN_MS = 15_000;

/** Connects to the control port of the enclave behind `path`. */
export const connectControl = async (
  { path, cid }: { path: string; cid: number },
  options: { timeoutMs: number },
): Promise<ControlClient> => {
  const rpc = createRpcClient(await dial({ kind: "hybrid", path, cid, port: PORT_CONTROL }, options));
  const nothing = new Uint8Array();
  let opening = 0;

  const command = async (operation: number, payload: Uint8Array, timeoutMs: number): Promise<void> => {
    await rpc.request(operation, payload, { timeoutMs });
  };

  return {
    configure: async (settings, secrets) => {
      const payload = encodeConfigure(settings, secrets);
      try {
        await command(CONTROL_OPERATIONS.configure, payload, QUICK_MS);
      } finally {
        payload.fill(0);
      }
    },
    configureSealed: async (message) => {
      const payload = encodeConfigureSealed(message);
      try {
        await command(CONTROL_OPERATIONS.configureSealed, payload, UNSEAL_MS);
      } finally {
        payload.fill(0);
      }
    },
    loadBundle: async (bundle) => {
      const payload = encodeLoadBundle(bundle);
      try {
        const { loadBundle } = CONTROL_OPERATIONS;
        return decodeLoadReport(await rpc.request(loadBundle, payload, { timeoutMs: UNSEAL_MS }));
      } finally {
        payload.fill(0);
      }
    },
    openKey: async (operation, payload) => {
      opening += 1;
      try {
        return decodeSealedKey(await rpc.request(operation, payload, { timeoutMs: OPEN_MS }));
      } finally {
        opening -= 1;
      }
    },
    loadKeys: async (keys) => {
      let report: LoadReport = { loaded: 0, failures: [] };
      for (let start = 0; start < keys.length; start += PAGE_ENTRIES_MAX) {
        const page = encodeSealedKeys(keys.slice(start, start + PAGE_ENTRIES_MAX));
        const answer = decodeLoadReport(
          await rpc.request(CONTROL_OPERATIONS.loadKeys, page, { timeoutMs: LOAD_PAGE_MS }),
        );
        report = { loaded: report.loaded + answer.loaded, failures: [...report.failures, ...answer.failures] };
      }
      return report;
    },
    removeKeys: async (pubkeys) => {
      for (let start = 0; start < pubkeys.length; start += PAGE_ENTRIES_MAX) {
        const page = encodePubkeys(pubkeys.slice(start, start + PAGE_ENTRIES_MAX));
        await command(CONTROL_OPERATIONS.removeKeys, page, QUICK_MS);
      }
    },
    open: () => command(CONTROL_OPERATIONS.open, nothing, QUICK_MS),
    activate: () => command(CONTROL_OPERATIONS.activate, nothing, ACTIVATE_MS),
    status: async () => decodeStatus(await rpc.request(CONTROL_OPERATIONS.status, nothing, { timeoutMs: STATUS_MS })),
    operate: async (payload) =>
      decodeOperatorReport(await rpc.request(CONTROL_OPERATIONS.operate, payload, { timeoutMs: OPERATE_MS })),
    floors: async (page) => {
      const payload = new ByteWriter().u32(page).finish();
      return decodeEntries(await rpc.request(CONTROL_OPERATIONS.floors, payload, { timeoutMs: QUICK_MS }));
    },
    keepFloors: (entries) => command(CONTROL_OPERATIONS.keepFloors, encodeEntries(entries), QUICK_MS),
    macKeys: (keys) => command(CONTROL_OPERATIONS.macKeys, encodeMacKeys(keys), QUICK_MS),
    refresh: () => command(CONTROL_OPERATIONS.refresh, nothing, ACTIVATE_MS),
    drain: () => command(CONTROL_OPERATIONS.drain, nothing, DRAIN_MS),
    get opening() {
      return opening;
    },
    get closed() {
      return rpc.closed;
    },
    close: () => rpc.close(),
  };
};

/**
 * Enclaves of `operated.ts` under a pool-manager's real operator desk and data folder, on one scriptable store, for
 * tests of MAC key rotation. The manager can be killed between any two of its calls, and started again.
 */

import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ControlClient } from "#pool-manager/control-client.ts";
import { type DataFolder, openDataFolder } from "#pool-manager/data-folder.ts";
import { createOperatorDesk } from "#pool-manager/operator.ts";
import { fromHex } from "#protocol/bytes.ts";
import { SignerError } from "#protocol/errors.ts";
import { ENCLAVE_COUNTERS, type EnclaveStatus, type OperatorReport } from "#protocol/messages/control.ts";
import type { MacKeys } from "#protocol/slashing/mac.ts";
import { createRecordCodec, type RecordCodec } from "#protocol/slashing/record.ts";
import { CODEC_OPTIONS } from "./guarded.ts";
import { createMemoryStore, type MemoryStore } from "./memory-store.ts";
import { bytesOf, markerOf, NOW_SECONDS, type Operated, startOperated } from "./operated.ts";

/** What the manager asks an enclave here. */
type Operation = "status" | "operate" | "macKeys" | "refresh" | "floors" | "keepFloors";

/** The pool. */
export interface OperatedPool {
  readonly store: MemoryStore;
  readonly enclaves: readonly Operated[];
  readonly folder: DataFolder;
  /** Called before each call of the manager to an enclave (by index) takes effect; what it throws is the answer. */
  before: (operation: Operation, enclave: number) => void | Promise<void>;
  /** `rotate-mac` as the command line makes it, through the desk. */
  rotate(): Promise<OperatorReport>;
  /** Any signed command without public keys, likewise. */
  operate(command: "recover" | "enable", epoch?: number): Promise<OperatorReport>;
  /** The code and text of a rotation's failure; fails when it succeeds. */
  rotationFailure(): Promise<Pick<SignerError, "code" | "detail">>;
  /** Ends everything, as `kill -9` does, and starts the manager and its enclaves on the same folder and store. */
  restart(): Promise<void>;
  /** One more enclave of the same manager, with the keys that the folder has by now. */
  add(keys: readonly Uint8Array[]): Promise<Operated>;
  /** Names of the MAC key files. */
  keyFiles(): string[];
  /** Under which key the record, or the marker, is. */
  keyIdOf(pubkey?: Uint8Array): number;
  /** A codec that writes under one key that the folder has now. */
  codecOf(writingKeyId: number): RecordCodec;
  close(): void;
}

/** Starts a pool whose first enclave registers `keys`. */
export const startOperatedPool = async (
  keys: readonly Uint8Array[],
  { count = 2, seenByAllMs = 0 } = {},
): Promise<OperatedPool> => {
  const path = mkdtempSync(join(tmpdir(), "tt-rotation-"));
  const store = createMemoryStore();
  const { genesisValidatorsRoot } = CODEC_OPTIONS;
  const open = (): DataFolder => openDataFolder({ path, store: "sqlite", genesisValidatorsRoot });
  let folder = open();
  let enclaves: Operated[] = [];
  const storeId = (): Uint8Array => fromHex(folder.installation.storeIdHex, 16, "store id");
  const macKeys = (): MacKeys => folder.secrets.macKeys;

  const start = (own: readonly Uint8Array[], how: { registered?: boolean; initialise?: boolean } = {}) =>
    startOperated(store, { keys: own, storeId: storeId(), macKeys: macKeys(), seenByAllMs, ...how });
  const startAll = async (isFirst: boolean): Promise<void> => {
    enclaves = [await start(keys, isFirst ? { registered: false, initialise: true } : {})];
    while (enclaves.length < count) enclaves.push(await start(keys));
  };
  await startAll(true);

  const pool: OperatedPool = {
    store,
    get enclaves() {
      return enclaves;
    },
    get folder() {
      return folder;
    },
    before: () => undefined,
    rotate: () => {
      const newest = Math.max(...macKeys().macKeys.keys());
      return send("rotate-mac", newest === macKeys().writingKeyId ? newest + 1 : newest);
    },
    operate: (command, epoch) => send(command, epoch ?? 0),
    rotationFailure: () =>
      pool.rotate().then(
        (report) => Promise.reject(new Error(`expected a failure, got ${JSON.stringify(report)}`)),
        ({ code, detail }: SignerError) => ({ code, detail }),
      ),
    restart: async () => {
      folder.close();
      folder = open();
      await startAll(false);
    },
    add: async (own) => {
      const enclave = await start(own);
      enclaves.push(enclave);
      return enclave;
    },
    keyFiles: () =>
      readdirSync(join(path, "secrets"))
        .filter((name) => name.startsWith("mac"))
        .sort(),
    keyIdOf: (pubkey) => {
      const bytes = Buffer.from((pubkey === undefined ? store.markerBytes : store.get(pubkey)) ?? []);
      return bytes.readUInt16BE(pubkey === undefined ? MARKER_KEY_ID_OFFSET : RECORD_KEY_ID_OFFSET);
    },
    codecOf: (writingKeyId) =>
      createRecordCodec({ macKeys: macKeys().macKeys, writingKeyId, genesisValidatorsRoot, storeId: storeId() }),
    close: () => {
      folder.close();
      rmSync(path, { recursive: true, force: true });
    },
  };

  /** One connection an enclave, as long as it lives. */
  const controls = new WeakMap<Operated, ControlClient>();
  const connected = (enclave: Operated, index: number): ControlClient => {
    const control = controls.get(enclave) ?? controlOf(enclave, { index, pool });
    controls.set(enclave, control);
    return control;
  };

  const send = (command: "rotate-mac" | "recover" | "enable", epoch: number): Promise<OperatorReport> => {
    const desk = createOperatorDesk({
      controls: () => enclaves.map(connected),
      logger: { debug: quiet, info: quiet, warn: quiet, error: quiet },
      folder,
    });
    const sequence = Math.max(NOW_SECONDS, markerOf(store, macKeys()).commandSequence + 1);
    return desk(bytesOf({ command, sequence, epoch, storeId: storeId() }));
  };
  return pool;
};

/** `protocol/slashing/record.ts` and `marker.ts` have the tables. */
const RECORD_KEY_ID_OFFSET = 2;
const MARKER_KEY_ID_OFFSET = 77;

const quiet = (): void => undefined;

/** An enclave as the manager sees it, without the socket. */
const controlOf = (
  enclave: Operated,
  { index, pool }: { index: number; pool: Pick<OperatedPool, "before"> },
): ControlClient => {
  const when = async <T>(operation: Operation, answer: () => T | Promise<T>): Promise<T> => {
    await pool.before(operation, index);
    return answer();
  };
  const never = (): Promise<never> => Promise.reject(new SignerError("internal", "the desk has no use for it"));
  return {
    status: () => when("status", () => statusOf(enclave)),
    operate: (payload) =>
      when("operate", async () => {
        const { failures, ...report } = await enclave.execute(payload);
        return { ...report, failed: failures.length, failures };
      }),
    macKeys: (keys) => when("macKeys", () => enclave.acceptMacKeys(keys.macKeys)),
    refresh: () => when("refresh", () => enclave.refresh()),
    floors: (page) => when("floors", () => (page === 0 ? enclave.floors() : [])),
    keepFloors: (entries) => when("keepFloors", () => enclave.keepFloors(entries)),
    configure: never,
    configureSealed: never,
    loadBundle: never,
    openKey: never,
    loadKeys: never,
    removeKeys: never,
    activate: never,
    open: never,
    drain: never,
    opening: 0,
    closed: false,
    close: quiet,
  };
};

const statusOf = ({ problem, commandSequence }: Operated): EnclaveStatus => ({
  phase: "ready",
  keys: 0,
  ...(problem !== undefined && { storeProblem: problem }),
  storeInitialised: true,
  reachesStore: true,
  commandSequence,
  inFlight: 0,
  counters: Object.fromEntries(ENCLAVE_COUNTERS.map((name) => [name, 0])) as EnclaveStatus["counters"],
});

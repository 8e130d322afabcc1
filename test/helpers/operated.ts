/** Enclaves with an operator's desk on one scriptable store, for tests: one operator's key, commands by hand. */

import { generateKeyPairSync, type KeyObject, sign } from "node:crypto";
import fc from "fast-check";
import { createAuthority } from "#enclave/operator/authority.ts";
import { createOperator, type OperatorOutcome } from "#enclave/operator/operator.ts";
import { createProtection } from "#enclave/slashing/protection.ts";
import type { RewriteReport } from "#enclave/slashing/rewrite.ts";
import type { SignerError } from "#protocol/errors.ts";
import {
  decodeOperatorCommand,
  encodeOperatorCommand,
  needsSignature,
  type OperatorCommand,
  type OperatorCommandName,
  operatorMessage,
  type ReceivedOperatorCommand,
} from "#protocol/operator/command.ts";
import type { MacKeys } from "#protocol/slashing/mac.ts";
import { decodeMarker, type Marker } from "#protocol/slashing/marker.ts";
import type { Candidate, SlashingState } from "#protocol/slashing/rules.ts";
import type { SlashingStore, StoreEntry } from "#protocol/slashing/store.ts";
import { ask, CODEC_OPTIONS, codec, filledBytes, resultOf } from "./guarded.ts";
import type { MemoryStore } from "./memory-store.ts";

/** MAC keys of these tests. */
export const MAC_KEYS = { macKeys: CODEC_OPTIONS.macKeys, writingKeyId: CODEC_OPTIONS.writingKeyId };
/** The operator of these tests, and somebody else. */
export const OPERATOR = generateKeyPairSync("ed25519");
export const STRANGER = generateKeyPairSync("ed25519");
export const SLOTS_PER_EPOCH = 32;
/** The wall clock of these tests, ms since 1970. */
export const WALL_CLOCK_MS = 1_700_000_000_999;
/** The same in seconds: signed commands are numbered from here. */
export const NOW_SECONDS = Math.floor(WALL_CLOCK_MS / 1000);

/** 32 bytes. */
export const rawPublicKey = ({ publicKey }: { publicKey: KeyObject }): Uint8Array =>
  Buffer.from(publicKey.export({ format: "jwk" }).x as string, "base64url");

type Wanted = Partial<OperatorCommand> & { readonly command: OperatorCommandName };

/** A command for the store of these tests; sequence, numbers and public keys are zero and none unless said otherwise. */
export const commandOf = (wanted: Wanted): OperatorCommand => ({
  storeId: CODEC_OPTIONS.storeId,
  sequence: 0,
  epoch: 0,
  slot: 0,
  pubkeys: [],
  ...wanted,
});

/** A command as it travels, with a signature where one is due. */
export const bytesOf = (wanted: Wanted, { privateKey } = OPERATOR): Uint8Array => {
  const encoded = encodeOperatorCommand(commandOf(wanted));
  if (!needsSignature(wanted.command)) return encoded;
  return Buffer.concat([encoded, sign(null, operatorMessage(encoded), privateKey)]);
};

/** A command as an enclave gets it. */
export const received = (wanted: Wanted, by = OPERATOR): ReceivedOperatorCommand =>
  decodeOperatorCommand(bytesOf(wanted, by));

/** One enclave, up and with its keys activated. */
export interface Operated {
  /** Executes a command of the operator. */
  run(wanted: Wanted, by?: typeof OPERATOR): Promise<RewriteReport>;
  /** The code and text of its failure; fails when it succeeds. */
  failure(wanted: Wanted, by?: typeof OPERATOR): Promise<Pick<SignerError, "code" | "detail">>;
  /** What becomes of a slashable duty: `signed`, the rule of a refusal, or the code of a failure. */
  signs(pubkey: Uint8Array, candidate: Candidate): Promise<string>;
  /** One look at the store and its marker, to its end. */
  look(): Promise<void>;
  refresh(): Promise<void>;
  /** Activates further keys. */
  activate(keys: readonly Uint8Array[], options?: { registered?: boolean }): Promise<void>;
  acceptMacKeys(keys: MacKeys["macKeys"]): void;
  /** A command as it travels. */
  execute(payload: Uint8Array): Promise<OperatorOutcome>;
  keepFloors(entries: readonly StoreEntry[]): void;
  /** What it has seen, as the pool-manager collects it. */
  floors(): StoreEntry[];
  readonly problem: string | undefined;
  readonly commandSequence: number;
  readonly suspicions: readonly string[];
}

/** Starts an enclave on `store`; its keys count as registered before unless said otherwise. */
export const startOperated = async (
  store: SlashingStore,
  options: {
    keys?: readonly Uint8Array[];
    registered?: boolean;
    initialise?: boolean;
    lastSignableEpoch?: (aheadMs: number) => number | undefined;
    seenByAllMs?: number;
    storeId?: Uint8Array;
    macKeys?: MacKeys;
    wallClock?: () => number;
    /** Monotonic milliseconds. */
    now?: () => number;
  } = {},
): Promise<Operated> => {
  const { keys = [], registered = true, initialise = false, seenByAllMs = 0 } = options;
  const { storeId = CODEC_OPTIONS.storeId, macKeys = MAC_KEYS, wallClock = () => WALL_CLOCK_MS } = options;
  const { lastSignableEpoch = () => undefined, now = () => performance.now() } = options;
  const suspicions: string[] = [];
  const protection = createProtection(
    {
      slotsPerEpoch: SLOTS_PER_EPOCH,
      storeId,
      genesisValidatorsRoot: CODEC_OPTIONS.genesisValidatorsRoot,
      macKeys,
      initialise,
    },
    {
      store,
      wallClock,
      now,
      count: () => undefined,
      onSuspect: (reason) => suspicions.push(reason),
    },
  );
  const operator = createOperator(
    { storeId, slotsPerEpoch: SLOTS_PER_EPOCH, seenByAllMs },
    {
      protection,
      store,
      wallClock,
      authority: createAuthority(rawPublicKey(OPERATOR)),
      lastSignableEpoch,
    },
  );
  const activate: Operated["activate"] = (wanted, how = {}) =>
    protection.activate(wanted.map((pubkey) => ({ pubkey, registered: how.registered ?? true })));
  await activate(keys, { registered });
  const run: Operated["run"] = async (wanted, by) => operator.execute(received({ storeId, ...wanted }, by));
  return {
    run,
    failure: (wanted, by) =>
      run(wanted, by).then(
        (report) => Promise.reject(new Error(`expected a failure, got ${JSON.stringify(report)}`)),
        ({ code, detail }: SignerError) => ({ code, detail }),
      ),
    signs: async (pubkey, candidate) => {
      try {
        return await resultOf(ask(protection.guard(), { pubkey, candidate }));
      } catch (error) {
        return (error as SignerError).code;
      }
    },
    look: async () => {
      protection.refreshHealth();
      for (let turn = 0; turn < 20; turn += 1) await new Promise((resolve) => setImmediate(resolve));
    },
    refresh: () => protection.refresh(),
    activate,
    acceptMacKeys: (accepted) => protection.acceptMacKeys(accepted),
    execute: async (payload) => operator.execute(decodeOperatorCommand(payload)),
    keepFloors: (entries) => operator.keepFloors(entries),
    floors: () =>
      [...(protection.workshop().guard?.records() ?? [])].map(({ pubkey, record }) => ({ key: pubkey, value: record })),
    get problem() {
      return protection.problem;
    },
    get commandSequence() {
      return protection.commandSequence;
    },
    suspicions,
  };
};

/** The store's marker. Fails when there is none that verifies. */
export const markerOf = (store: MemoryStore, keys: MacKeys = MAC_KEYS): Marker => {
  const decoded = decodeMarker(store.markerBytes ?? new Uint8Array(), keys);
  if (decoded.kind === "marker") return decoded.marker;
  throw new Error(decoded.reason);
};

/** The state in a validator's record. Fails when there is none that verifies. */
export const stateIn = (store: MemoryStore, pubkey: Uint8Array): SlashingState => {
  const decoded = codec.decode(pubkey, store.get(pubkey) ?? new Uint8Array());
  if (decoded.kind === "record") return decoded.state;
  throw new Error(decoded.reason);
};

const small = fc.integer({ min: 0, max: 6 });
const knownRoot = fc.option(
  fc.integer({ min: 1, max: 3 }).map((fill) => filledBytes(fill, 32)),
  { nil: undefined },
);

/** Any state of small numbers, so that collisions are the rule. */
export const anyState: fc.Arbitrary<SlashingState> = fc
  .record({
    block: fc.option(fc.record({ slot: small, signingRoot: knownRoot }), { nil: undefined }),
    attestation: fc.option(fc.record({ sourceEpoch: small, targetEpoch: small, signingRoot: knownRoot }), {
      nil: undefined,
    }),
    control: fc.record({
      generation: fc.integer({ min: 0, max: 2 }),
      disabled: fc.boolean(),
      stopAtEpoch: fc.option(small, { nil: undefined }),
    }),
  })
  .map(({ block, attestation, control }) => ({
    ...(block && { block }),
    ...(attestation && { attestation }),
    control,
  }));

/**
 * The slashing store as this enclave accepts it: durable, marked, of the right chain. Holds the guard once the chain is
 * known. A custom network without a genesis validators root pins the first one it sees, in the store's marker, for all
 * enclaves. A suspicion of one enclave is in the marker, too: every other one sees it at its next look.
 */

import { setTimeout as sleep } from "node:timers/promises";
import { bytesEqual, toHex } from "#protocol/bytes.ts";
import { SignerError } from "#protocol/errors.ts";
import { createMacKeyring, type MacKeys } from "#protocol/slashing/mac.ts";
import { DEVELOPMENT_CONFIG_VERSION, type Marker } from "#protocol/slashing/marker.ts";
import { createRecordCodec, type RecordCodec } from "#protocol/slashing/record.ts";
import { createGuard, type Guard, type GuardedKey, type GuardModules } from "./guard.ts";
import { createMarkerKeeper, type FoundMarker, type MarkerKeeper } from "./marker-keeper.ts";

/** What the protection is bound to. */
export interface ProtectionOptions {
  readonly slotsPerEpoch: number;
  /** 16 bytes. */
  readonly storeId: Uint8Array;
  /** 32 bytes; undefined: pin the first that a request carries. */
  readonly genesisValidatorsRoot: Uint8Array | undefined;
  /** Keys of records and marker at the start. */
  readonly macKeys: MacKeys;
  /** The marker may be created: only on the first start of a data folder. */
  readonly initialise: boolean;
  /** Of the sealed configuration; undefined: development. */
  readonly configVersion?: number;
}

/** Slashing protection of one enclave. */
export interface Protection {
  /**
   * Verifies durability and marker, then reads the records of `keys` and registers new ones. Repeat it when keys were
   * added. A suspect store does not fail it: slashable duties are refused then, and the rest is signed.
   * @throws SignerError `unavailable` when the store cannot be asked
   */
  activate(keys: readonly GuardedKey[]): Promise<void>;
  /** Whether a request for this chain is for us; pins the chain where none is known yet. */
  isOwnChain(genesisValidatorsRoot: Uint8Array): Promise<boolean>;
  /** The guard of the own chain. @throws SignerError `store_suspect` */
  guard(): Guard;
  forget(pubkey: Uint8Array): void;
  /** Why slashable duties are refused (suspect) or fail (not reachable, not durable); undefined when all is well. */
  readonly problem: string | undefined;
  /**
   * False while `problem` is that the store does not answer or is too weak: another enclave may do better. A suspicion is
   * no such problem: asking elsewhere would go past the one who noticed.
   */
  readonly reachesStore: boolean;
  /** Looks at the store and its marker in the background; `problem` tells at the next call. */
  refreshHealth(): void;
  /** Reads all records again, for another enclave's operator command. */
  refresh(): Promise<void>;
  /**
   * Takes the accepted MAC keys anew; the one that writes stays.
   * @throws SignerError `bad_request` without that one, or when a record was last seen under a key that would go
   */
  acceptMacKeys(keys: MacKeys["macKeys"]): void;
  /** What operator commands work with. @throws SignerError `bad_request` while the chain is not known */
  workshop(): Workshop;
  readonly genesisValidatorsRoot: Uint8Array | undefined;
  /** The store's marker exists and was verified. */
  readonly initialised: boolean;
  /** Sequence of the last signed operator command that this enclave knows of. */
  readonly commandSequence: number;
}

/** The inside of the protection, for operator commands (`../operator/operator.ts`). */
export interface Workshop {
  readonly marker: MarkerKeeper;
  readonly codec: RecordCodec;
  /** Undefined where the marker was refused before any record was read. */
  readonly guard: Guard | undefined;
  readonly genesisValidatorsRoot: Uint8Array;
  /** Public keys that are loaded here. */
  readonly pubkeys: () => Uint8Array[];
  /** Sequence of the last signed command that this enclave knows of. */
  readonly sequence: number;
  /** Makes a later accepted key the writing one. @throws SignerError `bad_request` when it is none */
  writeUnder(macKeyId: number): void;
  /** Looks at the marker at once, as every enclave does once a second. */
  look(): Promise<void>;
  /** Takes over what a command has written; `trust` ends a suspicion. */
  adopt(marker: Marker, options: { trust: boolean }): Promise<void>;
}

/** What the protection needs of the world. */
export type ProtectionModules = Omit<GuardModules, "codec" | "suspicion"> & {
  /** Wall clock in ms since 1970. */
  readonly wallClock: () => number;
};

/** Time for the store's first connection and its checks. */
const DURABLE_WITHIN_MS = 5_000;
const DURABLE_POLL_MS = 50;
/** First pause before records are read again for a command that was seen; then twice as long each time. */
const REREAD_MS_MIN = 2_000;
/** The last pause is no longer: a command works for ten minutes at the most (`pool-manager/control-client.ts`). */
const REREAD_MS_MAX = 600_000;

/** Makes the protection; nothing is read before `activate`. */
export const createProtection = (options: ProtectionOptions, modules: ProtectionModules): Protection => {
  const { store } = modules;
  let { macKeys } = options;
  const keeper = createMarkerKeeper(
    {
      expected: { ...options, configVersion: options.configVersion ?? DEVELOPMENT_CONFIG_VERSION },
      macKeys: () => macKeys,
      onMacKey: (id) => follow(id),
    },
    modules,
  );
  const keys = new Map<string, GuardedKey>();
  let chain: { readonly root: Uint8Array; readonly guard: Guard; readonly codec: RecordCodec } | undefined;
  let pinning: Promise<void> | undefined;
  /** The store was verified to be empty, may be initialised, and nobody said for which chain. */
  let mayPin = false;
  /** Why the marker forbids slashable duties: refused, gone, or marked as suspect. */
  let refused: string | undefined;
  let commandSequence = 0;
  /** When records are read again, for a command that may still be writing; undefined: not any more. */
  let reread: { readonly atMs: number; readonly pauseMs: number } | undefined;
  /** Why the store does not answer as it should, at the last look. */
  let unhealthy: string | undefined;
  let looking = false;
  let isActivated = false;
  /** One look, activation or command at a time: an old marker must not be judged after a newer one. */
  let line: Promise<unknown> = Promise.resolve();
  const inLine = <T>(task: () => Promise<T>): Promise<T> => {
    const turn = line.then(task);
    line = turn.catch(() => undefined);
    return turn;
  };

  const refuse = (reason: string): void => {
    if (refused !== reason) modules.onSuspect(reason);
    refused = reason;
  };

  /** A codec under whatever keys are in force when it is used. */
  const codecOf = (genesisValidatorsRoot: Uint8Array): RecordCodec => {
    let made = { keys: macKeys, codec: createRecordCodec({ ...options, ...macKeys, genesisValidatorsRoot }) };
    const current = (): RecordCodec => {
      if (made.keys !== macKeys) {
        made = { keys: macKeys, codec: createRecordCodec({ ...options, ...macKeys, genesisValidatorsRoot }) };
      }
      return made.codec;
    };
    return {
      encode: (pubkey, state) => current().encode(pubkey, state),
      decode: (pubkey, bytes) => {
        const decoded = current().decode(pubkey, bytes);
        if (decoded.kind === "record") follow(decoded.macKeyId);
        return decoded;
      },
    };
  };

  /**
   * Key ids only grow, and nobody writes under an earlier key than the one they read under: a record can be replaced
   * only by somebody who has read it, so one that a rotation has written anew never goes back under the old key.
   */
  const follow = (macKeyId: number): void => {
    if (macKeyId > macKeys.writingKeyId) macKeys = { ...macKeys, writingKeyId: macKeyId };
  };

  const writeUnder = (macKeyId: number): void => {
    if (!macKeys.macKeys.has(macKeyId)) {
      throw new SignerError("bad_request", `MAC key ${macKeyId}: not known to this enclave, add it first`);
    }
    if (macKeyId < macKeys.writingKeyId) {
      throw new SignerError("bad_request", `MAC key ${macKeyId}: expected ${macKeys.writingKeyId} or a later one`);
    }
    follow(macKeyId);
  };

  /** A record under a key that is gone could not be verified any more, and would look like an altered one. */
  const expectUnused = (accepted: MacKeys["macKeys"]): void => {
    if (chain === undefined || [...macKeys.macKeys.keys()].every((id) => accepted.has(id))) return;
    for (const { pubkey, record } of chain.guard.records()) {
      const decoded = chain.codec.decode(pubkey, record);
      if (decoded.kind === "record" && accepted.has(decoded.macKeyId)) continue;
      throw new SignerError("bad_request", `MAC keys: the record of ${toHex(pubkey)} was not seen under one of them`);
    }
  };

  /** What a found marker says to this enclave; the marker itself unless it was refused. */
  const judge = (found: FoundMarker): Marker | undefined => {
    if (found.kind === "absent") refuse(LOST);
    else if (found.kind === "refused") refuse(found.reason);
    else if (found.marker.suspectSinceUnixSeconds > 0) refuse(suspectText(found.marker));
    return found.kind === "ok" ? found.marker : undefined;
  };

  /** Settles on a chain. The records of all keys are read before the guard is seen by requests. */
  const adoptChain = async (marker: Marker): Promise<void> => {
    const root = marker.genesisValidatorsRoot;
    const codec = codecOf(root);
    const suspicion = (): string | undefined => refused;
    const guard = createGuard({ slotsPerEpoch: options.slotsPerEpoch }, { ...modules, codec, suspicion });
    await guard.track([...keys.values()]);
    // A pinning and an activation may meet here: the first guard stays, requests wait in its lines.
    if (chain !== undefined) return chain.guard.track([...keys.values()]);
    chain = { root, guard, codec };
    commandSequence = marker.commandSequence;
    const ageMs = modules.wallClock() - commandSequence * 1000; // the sequence is the time of signing
    if (Math.abs(ageMs) <= REREAD_MS_MAX) rereadAfter(REREAD_MS_MIN);
  };

  const rereadAfter = (pauseMs: number): void => {
    reread = pauseMs > REREAD_MS_MAX ? undefined : { atMs: modules.now() + pauseMs, pauseMs };
  };

  /**
   * A command's sequence moves before its records, so what was read when it was seen may be older. That only matters for
   * `enable`: a record that refuses is never compared with the store's. Beside the looks, which must not wait for it.
   */
  const rereadWhenDue = ({ guard }: { readonly guard: Guard }): void => {
    if (reread === undefined || modules.now() < reread.atMs) return;
    rereadAfter(reread.pauseMs * 2);
    guard.refresh({ trust: false }).catch(() => undefined); // again after the next pause
  };

  /** Takes over what a verified marker says: the chain, a suspicion, the end of one, an operator's command. */
  const settle = async (marker: Marker): Promise<void> => {
    const suspect = marker.suspectSinceUnixSeconds > 0;
    const isFirst = chain === undefined;
    // Only a recovery ends a suspicion, and the marker proves it: one that merely comes back does not.
    const trust = !suspect && marker.recoverySequence > commandSequence;
    if (chain === undefined) await adoptChain(marker);
    else if (marker.commandSequence < commandSequence) refuse(ROLLED_BACK);
    else if (marker.commandSequence > commandSequence) {
      await adopt(marker, { trust });
      rereadAfter(REREAD_MS_MIN);
    } else if (refused === undefined) rereadWhenDue(chain); // else a recovery writes: it has a sequence of its own
    if (isFirst && trust) refused = undefined;
    if ((chain?.guard.problem ?? refused) !== undefined && !suspect) await keeper.raiseSuspicion();
  };

  const lookAtMarker = async (): Promise<void> => {
    const found = await keeper.find();
    if (found.kind === "absent" && options.initialise && chain === undefined) return; // nothing was signed yet
    const marker = judge(found);
    if (marker !== undefined) await settle(marker);
  };

  const readMarker = async (): Promise<void> => {
    const found = await keeper.find();
    if (found.kind === "absent" && options.initialise && chain === undefined) {
      if (options.genesisValidatorsRoot === undefined) mayPin = true;
      else await create(options.genesisValidatorsRoot);
    } else {
      const marker = judge(found);
      if (marker !== undefined) await settle(marker);
    }
  };

  const create = async (root: Uint8Array): Promise<void> => {
    const marker = judge(await keeper.create(root));
    if (marker !== undefined) await settle(marker);
  };

  const trackAll = async (wanted: readonly GuardedKey[]): Promise<void> => {
    await chain?.guard.track(wanted);
  };

  const waitUntilDurable = async (): Promise<void> => {
    const patienceMs = modules.now() + DURABLE_WITHIN_MS;
    for (;;) {
      const durability = await store.durability();
      if (durability.ok) return;
      if (modules.now() >= patienceMs) throw new SignerError("unavailable", `slashing store: ${durability.reason}`);
      await sleep(DURABLE_POLL_MS);
    }
  };

  /** Takes over what an operator command has written, here or at another enclave. */
  const adopt = async (marker: Marker, { trust }: { trust: boolean }): Promise<void> => {
    if (chain === undefined) await adoptChain(marker);
    else {
      await chain.guard.refresh({ trust });
      await chain.guard.track([...keys.values()]);
    }
    commandSequence = Math.max(commandSequence, marker.commandSequence);
    if (trust && chain?.guard.problem === undefined) refused = undefined;
  };

  const look = async (): Promise<void> => {
    try {
      const durability = await store.durability();
      unhealthy = durability.ok ? undefined : `slashing store: ${durability.reason}`;
      if (durability.ok && isActivated) await inLine(lookAtMarker);
    } catch (error) {
      unhealthy = `slashing store: ${error instanceof SignerError ? error.detail : "unexpected failure"}`;
    } finally {
      looking = false;
    }
  };

  return {
    activate: async (wanted) => {
      for (const key of wanted) keys.set(toHex(key.pubkey), key);
      await waitUntilDurable();
      isActivated = true;
      // Where the chain is known, a look before new records are made: under the MAC key that is in force by now.
      await inLine(chain === undefined ? readMarker : lookAtMarker);
      await trackAll(wanted); // a pinning may have been first, without these
    },
    isOwnChain: async (root) => {
      if (chain === undefined && mayPin) {
        pinning ??= inLine(() => create(root)).finally(() => (pinning = undefined));
        await pinning;
      }
      const own = chain?.root ?? options.genesisValidatorsRoot;
      if (own === undefined) throw new SignerError("unavailable", refused ?? "the chain is not known yet, ask again");
      return bytesEqual(own, root);
    },
    guard: () => {
      if (chain !== undefined && refused === undefined) return chain.guard;
      throw new SignerError("store_suspect", refused ?? "the slashing store was not verified yet");
    },
    forget: (pubkey) => {
      keys.delete(toHex(pubkey));
      chain?.guard.forget(pubkey);
    },
    get problem() {
      return chain?.guard.problem ?? refused ?? unhealthy;
    },
    get reachesStore() {
      return unhealthy === undefined || chain?.guard.problem !== undefined || refused !== undefined;
    },
    refreshHealth: () => {
      if (looking) return;
      looking = true;
      void look();
    },
    refresh: async () => {
      await inLine(async () => {
        await chain?.guard.refresh({ trust: false });
        await lookAtMarker();
      });
    },
    acceptMacKeys: (accepted) => {
      const { writingKeyId } = macKeys;
      createMacKeyring({ macKeys: accepted, writingKeyId }); // refuses what cannot be used
      expectUnused(accepted);
      macKeys = { macKeys: accepted, writingKeyId };
    },
    workshop: () => {
      const root = chain?.root ?? options.genesisValidatorsRoot;
      if (root === undefined)
        throw new SignerError("bad_request", "the chain is not known: start Testudo with --genesis-validators-root");
      return {
        marker: keeper,
        codec: chain?.codec ?? codecOf(root),
        guard: chain?.guard,
        genesisValidatorsRoot: root,
        pubkeys: () => [...keys.values()].map((key) => key.pubkey),
        sequence: commandSequence,
        writeUnder,
        look: () => inLine(lookAtMarker),
        adopt: (marker, how) => inLine(() => adopt(marker, how)),
      };
    },
    get genesisValidatorsRoot() {
      return chain?.root ?? options.genesisValidatorsRoot;
    },
    get initialised() {
      return chain !== undefined;
    },
    get commandSequence() {
      return commandSequence;
    },
  };
};

/** The marker of a store that had one is gone. */
const LOST =
  "marker: the slashing store is empty, but this data folder has used it before: its data was lost. Run " +
  "`testudo slashing recover`, see docs/slashing-protection.md";

/** The marker is an older one than this enclave has seen. */
const ROLLED_BACK =
  "marker: the slashing store was rolled back: find out what happened to it, then run `testudo slashing recover`";

const suspectText = ({ suspectSinceUnixSeconds }: Marker): string =>
  `the slashing store is suspect since ${new Date(suspectSinceUnixSeconds * 1000).toISOString()}: find out what happened ` +
  "to it, then run `testudo slashing recover`, see docs/slashing-protection.md";

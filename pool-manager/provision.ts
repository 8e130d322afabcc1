/** Gives enclaves what they need: settings once, then exactly the keys of the ring, loaded and verified. */

import { setTimeout as sleep } from "node:timers/promises";
import { toHex } from "#protocol/bytes.ts";
import { SignerError, toSignerError } from "#protocol/errors.ts";
import type { Logger } from "#protocol/log.ts";
import type { EnclaveSettings, EnclaveStatus, LoadReport } from "#protocol/messages/control.ts";
import type { ParentChoices } from "#protocol/messages/sealed.ts";
import type { AttestedPool } from "./attested.ts";
import { type PoolManagerConfig, REDIS_KEY_PREFIX } from "./config.ts";
import type { ControlClient } from "./control-client.ts";
import type { DataFolder } from "./data-folder.ts";
import { loadBundles } from "./keys/bundle-loader.ts";
import type { KeyList, KeyRing, RingKey } from "./keys/key-ring.ts";
import { ensureDevelopmentOperatorKey } from "./operator-key.ts";

/** Settings and keys for enclaves. */
export interface Provisioner {
  /** From booting to ready. */
  provision(cid: number, control: ControlClient): Promise<void>;
  /** Loads the keys that the ring has and this enclave lacks; when it returns, the enclave can sign with them. */
  addKeys(control: ControlClient): Promise<void>;
  /** Removes the keys that the ring no longer has. */
  removeKeys(control: ControlClient): Promise<void>;
  /** Whether this enclave has all keys of the ring's present list. */
  isCurrent(control: ControlClient): boolean;
  /** Takes note of what an enclave says of the store: a custom network is pinned by its first request. */
  note(control: ControlClient, status: EnclaveStatus): void;
  /** Whether this enclave has its settings, so that it can open keys. */
  isConfigured(control: ControlClient): boolean;
  /** Public keys, `0x` hex, whose sealed form an enclave could not open. */
  readonly brokenKeys: ReadonlySet<string>;
}

/** What provisioning needs. */
export interface ProvisionModules {
  readonly config: PoolManagerConfig;
  readonly folder: DataFolder;
  readonly ring: KeyRing;
  /** Redis password; empty: none. */
  readonly storePassword: Uint8Array;
  /** Undefined: development mode. */
  readonly attested: AttestedPool | undefined;
  readonly logger: Logger;
  /** Told while bundles are opened. */
  readonly onProgress: (progress: { done: number; total: number }) => void;
}

/** Pause before the key sources are read again after they could not be. */
const RETRY_MS = 1_000;

/** Makes the provisioner of one pool. */
export const createProvisioner = (modules: ProvisionModules): Provisioner => {
  const { config, folder, ring, logger, attested, onProgress } = modules;
  /** Keys that each configured enclave holds, and the version of the list it was brought up to. */
  const held = new WeakMap<ControlClient, { version: number; keys: ReadonlyMap<string, RingKey> }>();
  const heldBy = (control: ControlClient) => held.get(control) ?? { version: 0, keys: new Map<string, RingKey>() };
  const adding = new WeakMap<ControlClient, Promise<void>>();
  const brokenKeys = new Set<string>();
  /** Of an attested pool: keys that each enclave could not open at its last attempt. */
  const failedAt = new Map<ControlClient, ReadonlySet<string>>();

  const load = async (control: ControlClient, keys: readonly RingKey[]): Promise<LoadReport> => {
    if (attested === undefined) return control.loadKeys(keys);
    const report = await loadBundles({ control, keys }, { credentials: attested.credentials, onProgress });
    failedAt.set(control, new Set(report.failures.map(({ pubkeyHex }) => pubkeyHex)));
    for (const other of failedAt.keys()) if (other.closed) failedAt.delete(other);
    const failed = new Set([...failedAt.values()].flatMap((names) => [...names]));
    for (const name of brokenKeys) if (!failed.has(name)) brokenKeys.delete(name);
    return report;
  };

  /** Loads one list. Keys are marked as registered durably before the enclave may sign with them. */
  const bringUpTo = async (control: ControlClient, wanted: KeyList): Promise<void> => {
    const before = heldBy(control);
    const added = byPubkey(wanted.keys.filter((key) => !before.keys.has(toHex(key.pubkey))));
    const { failures } = await load(control, [...added.values()]);
    for (const { pubkeyHex, reason } of failures) {
      // A table is read again and again: what every reading fails with is said once.
      if (attested === undefined || !brokenKeys.has(pubkeyHex)) logger.error("key not loaded", { pubkeyHex, reason });
      brokenKeys.add(pubkeyHex);
      added.delete(pubkeyHex);
    }
    // An enclave for which nothing opens is not ready, and says why.
    if (attested !== undefined && added.size + before.keys.size === 0 && failures[0] !== undefined) {
      throw new SignerError("unavailable", `none of ${failures.length} keys could be opened: ${failures[0].reason}`);
    }
    await control.activate();
    remember(await control.status(), added);
    await control.open();
    held.set(control, { version: wanted.version, keys: new Map([...before.keys, ...added]) });
  };

  const addKeys = async (control: ControlClient): Promise<void> => {
    for (;;) {
      const wanted = await currentKeys(ring);
      if (heldBy(control).version === wanted.version) return;
      await bringUpTo(control, wanted);
    }
  };

  /** Once the store is initialised and the keys have records, a loss of either is noticed at every later start. */
  const remember = (status: EnclaveStatus, keys: ReadonlyMap<string, RingKey>): void => {
    if (!status.storeInitialised || status.genesisValidatorsRootHex === undefined) return;
    folder.recordInitialised(status.genesisValidatorsRootHex);
    ring.markRegistered([...keys.values()]);
  };

  return {
    provision: async (cid, control) => {
      if (attested !== undefined) {
        const choices = parentChoices(config, folder, cid);
        const credentials = await attested.credentials();
        await control.configureSealed({ choices, credentials, configuration: attested.stored });
        held.set(control, heldBy(control));
        await addKeys(control);
        return;
      }
      const { storePassword } = modules;
      const sent = folder.secrets.macKeys;
      await control.configure(enclaveSettings(config, folder, cid), { ...folder.secrets, storePassword });
      held.set(control, heldBy(control));
      // A rotation that began meanwhile told only those that were configured then.
      if (folder.secrets.macKeys !== sent) await control.macKeys(folder.secrets.macKeys);
      await addKeys(control);
    },
    addKeys: (control) => {
      const running = adding.get(control) ?? addKeys(control).finally(() => adding.delete(control));
      adding.set(control, running);
      return running;
    },
    removeKeys: async (control) => {
      const wanted = byPubkey((await currentKeys(ring)).keys);
      const before = heldBy(control);
      const removed = [...before.keys].filter(([name]) => !wanted.has(name));
      if (removed.length === 0) return;
      await control.removeKeys(removed.map(([, key]) => key.pubkey));
      held.set(control, { ...before, keys: new Map([...before.keys].filter(([name]) => wanted.has(name))) });
    },
    isCurrent: (control) => heldBy(control).version === ring.current?.version,
    note: (control, status) => {
      const known = folder.installation.storeInitialised;
      if (!known) remember(status, heldBy(control).keys);
      // Pinned by another enclave: this one finds the marker now, and need not be asked first.
      else if (status.phase === "ready" && !status.storeInitialised && status.storeProblem === undefined) {
        control.activate().catch((error) => logger.warn("chain not adopted", { reason: toSignerError(error).detail }));
      }
    },
    isConfigured: (control) => held.has(control),
    brokenKeys,
  };
};

/** The ring's list, as soon as there is one. */
const currentKeys = async (ring: KeyRing): Promise<KeyList> => {
  while (ring.current === undefined) {
    await ring.refresh().catch(async (error) => {
      if (toSignerError(error).code === "bad_request") throw error; // trying again cannot help
      await sleep(RETRY_MS);
    });
  }
  return ring.current;
};

const byPubkey = (keys: readonly RingKey[]): Map<string, RingKey> =>
  new Map(keys.map((key) => [toHex(key.pubkey), key]));

const parentChoices = (
  { threads, signer, kms }: PoolManagerConfig,
  folder: DataFolder,
  cid: number,
): ParentChoices => ({
  cid,
  threads,
  signer,
  initialiseStore: !folder.installation.storeInitialised,
  ...(kms?.endpoint !== undefined && { kmsEndpoint: kms.endpoint }),
  ...(kms?.ca !== undefined && { kmsCa: kms.ca }),
});

const enclaveSettings = (config: PoolManagerConfig, folder: DataFolder, cid: number): EnclaveSettings => {
  const { storeIdHex, storeInitialised, genesisValidatorsRootHex: pinned } = folder.installation;
  const { store } = config;
  return {
    cid,
    network: { ...config.network, ...(pinned !== undefined && { genesisValidatorsRoot: pinned }) },
    storeIdHex,
    store:
      store.kind === "sqlite"
        ? { kind: "sqlite" }
        : {
            kind: "redis",
            database: store.database,
            keyPrefix: REDIS_KEY_PREFIX,
            route: store.route,
            durability: store.durability,
            ...(store.tls !== undefined && { tls: store.tls }),
            ...(store.username !== undefined && { username: store.username }),
          },
    initialiseStore: !storeInitialised,
    operatorKeyHex: config.operatorKeyHex ?? ensureDevelopmentOperatorKey(folder.path),
    ...(config.clockBoundEpochs !== undefined && { clockBoundEpochs: config.clockBoundEpochs }),
    threads: config.threads,
    signer: config.signer,
  };
};

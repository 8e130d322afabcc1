/** The pool-manager: data folder, store, members, keys and what gateways hear of them, composed. */

import { availableParallelism, freemem } from "node:os";
import { toHex } from "#protocol/bytes.ts";
import { SignerError, toSignerError } from "#protocol/errors.ts";
import { CID_FIRST, PORT_EGRESS_STORE } from "#protocol/limits.ts";
import type { Logger } from "#protocol/log.ts";
import { networkFromJson } from "#protocol/signing/network.ts";
import { type Listener, listenHost, listenUnix } from "#protocol/transport/hybrid.ts";
import {
  type AttestedModules,
  type AttestedPool,
  attestedSettings,
  createAttestedEgress,
  openAttestedPool,
} from "./attested.ts";
import {
  DEVELOPMENT_KEYS,
  describeStore,
  enclaveSocketPath,
  managerSocketPath,
  type PoolManagerConfig,
  storeSocketPath,
} from "./config.ts";
import type { ControlClient } from "./control-client.ts";
import { type DataFolder, openDataFolder } from "./data-folder.ts";
import { createRedisEgress, type EgressPort } from "./egress/redis-egress.ts";
import { createKeyRing, type KeyList, type KeyRing } from "./keys/key-ring.ts";
import { listSourceKeys } from "./keys/key-source.ts";
import { type KeyStore, openKeyStore } from "./keys/key-store.ts";
import { createTableRing } from "./keys/table-source.ts";
import type { Launcher } from "./launchers/launcher.ts";
import { createMember, type Member } from "./member.ts";
import { createOperatorDesk, type SlashingStatus } from "./operator.ts";
import { ensurePrivateFolder } from "./private-folder.ts";
import { createProvisioner } from "./provision.ts";
import { createPublisher } from "./publisher.ts";
import { createReloader } from "./reload.ts";
import { serveStore } from "./store/serve.ts";
import { openSqliteStore, type SqliteSlashingStore } from "./store/sqlite-store.ts";

/** A running pool. */
export interface PoolManager {
  /** Resolves when the first enclave is ready with all keys that open. Rejects when the keys cannot be read. */
  readonly ready: Promise<void>;
  /** Resolves when every enclave is ready at the same time for the first time. */
  readonly complete: Promise<void>;
  /** Settings in force; those of an attested pool come from its sealed configuration. */
  readonly settings: PoolManagerConfig;
  /** The chain that the data folder protects; undefined until a custom network showed it. */
  readonly genesisValidatorsRootHex: string | undefined;
  /** Drains all enclaves, ends them, and gives the data folder back. */
  stop(): Promise<void>;
}

/** What the pool-manager needs of the world. */
export interface PoolManagerModules {
  readonly launcher: Launcher;
  readonly logger: Logger;
  /** Redis password; empty: none. */
  readonly storePassword: Uint8Array;
  /** 0 ≤ random() < 1. */
  readonly random: () => number;
  /** Told while keys are read. */
  readonly onProgress: (progress: { done: number; total: number }) => void;
  /** Undefined: development mode. */
  readonly attested?: AttestedModules;
}

/** Memory that one scrypt of EIP-2335 takes, twice: room for the rest. */
const OPEN_MEMORY_BYTES = 512 * 1024 * 1024;

/** Pause between two readings of a table. */
const KEYS_POLL_SECONDS = 60;

/** Starts the pool. @throws SignerError when the data folder, the store or the table cannot be used */
export const startPoolManager = async (given: PoolManagerConfig, modules: PoolManagerModules): Promise<PoolManager> => {
  const { logger } = modules;
  const attested = modules.attested && (await openAttestedPool(given, modules.attested));
  const config = attested === undefined ? given : attestedSettings(given, attested);
  const attestedEgress = attested && createAttestedEgress(attested, { config, logger });
  const { genesisValidatorsRoot } = networkFromJson(config.network);
  const folder = openDataFolder({
    path: config.dataPath,
    store: describeStore(config.store),
    genesisValidatorsRoot,
    sealed: attested && identityOf(attested),
  });
  ensurePrivateFolder(config.runPath, "run folder");
  const keyStore = openKeyStore(folder.keysPath);
  const store = config.store.kind === "sqlite" ? await openSqliteStore(folder.slashingPath) : undefined;

  const members: Member[] = [];
  const listeners: Listener[] = [];
  const ready = Promise.withResolvers<void>();
  const complete = Promise.withResolvers<void>();
  let published: KeyList | undefined;

  const ring: KeyRing =
    attested === undefined
      ? createFileRing({ config, folder, keyStore, modules, openers: () => configured() })
      : createTableRing({ table: attested.table, keyStore, hasFailures: () => provisioner.brokenKeys.size > 0 });
  const { storePassword, onProgress } = modules;
  const provisioner = createProvisioner({ config, folder, ring, logger, storePassword, attested, onProgress });

  const publishMembers = (): void => {
    const views = members.map((member) => member.view);
    publisher.publishMembers(views, (ring.current?.errors ?? 0) + provisioner.brokenKeys.size);
  };
  const publishKeys = (): void => {
    const { current } = ring;
    if (current === undefined || current.version === published?.version) return;
    published = current;
    const working = current.keys.filter((key) => !provisioner.brokenKeys.has(toHex(key.pubkey)));
    publisher.publishKeys(working.map((key) => key.pubkey));
    publishMembers();
  };

  /**
   * Brings every ready enclave to the ring's list, publishes it when all have it, and only then lets them forget keys
   * that are gone. An enclave that fails keeps what it has; the next look tries again.
   */
  const reconcile = async (): Promise<void> => {
    const controls = readyControls(members);
    const added = await Promise.allSettled(controls.map(provisioner.addKeys));
    const failure = added.find((result) => result.status === "rejected");
    if (failure !== undefined) throw failure.reason;
    if (controls.length === 0 || !readyControls(members).every(provisioner.isCurrent)) return;
    publishKeys();
    await Promise.all(readyControls(members).map(provisioner.removeKeys));
  };
  let reconciling: Promise<void> | undefined;
  const reconcileInBackground = (): void => {
    if (reconciling !== undefined) return;
    reconciling = reconcile()
      .catch((error) => logger.warn("keys not applied everywhere yet", { reason: toSignerError(error).detail }))
      .finally(() => (reconciling = undefined));
  };

  const onChange = (member: Member): void => {
    const { control, view } = member;
    if (control !== undefined && view.status !== undefined) provisioner.note(control, view.status);
    if (view.state === "ready") {
      ready.resolve();
      if (members.length === config.enclaves && members.every((each) => each.view.state === "ready"))
        complete.resolve();
      if (control !== undefined && !(provisioner.isCurrent(control) && ring.current?.version === published?.version)) {
        reconcileInBackground();
      }
    }
    publishMembers();
  };

  const applySources = async (): Promise<number> => {
    const { errors } = await ring.refresh();
    await reconciling;
    await reconcile();
    return attested === undefined ? errors : errors + provisioner.brokenKeys.size;
  };

  const reloader = createReloader({ apply: applySources, logger });
  const configured = (): ControlClient[] => controls(members).filter((control) => provisioner.isConfigured(control));
  const operate = createOperatorDesk({ controls: configured, logger, folder });
  const slashingStatus = async (): Promise<SlashingStatus> => {
    // One that hangs must not hold up the command: the enclave that executes it checks the sequence again.
    const statuses = await Promise.allSettled(configured().map((control) => control.status()));
    const known = statuses.flatMap((status) => (status.status === "fulfilled" ? [status.value.commandSequence] : []));
    const commandSequence = Math.max(0, ...known);
    const nextMacKeyId = attested === undefined ? nextMacKeyIdOf(folder) : 0; // theirs come with the configuration
    return { storeIdHex: folder.installation.storeIdHex, commandSequence, nextMacKeyId };
  };
  const publisher = await createPublisher(
    { socketPath: managerSocketPath(config.runPath) },
    { reload: reloader.reload, reloadStatus: () => reloader.status, operate, slashingStatus },
  );

  const egress = createEgress(config, { store, logger });
  for (let cid = CID_FIRST; cid < CID_FIRST + config.enclaves; cid += 1) {
    const path = enclaveSocketPath(config.runPath, cid);
    for (const { port, onConnection } of [...egress, ...(attestedEgress?.(cid) ?? [])])
      listeners.push(await listenHost(path, port, onConnection));
    const provision = (control: ControlClient): Promise<void> => provisioner.provision(cid, control);
    members.push(
      createMember(
        { cid, path, preset: config.network.preset },
        { launcher: modules.launcher, logger, provision, onChange, random: modules.random },
      ),
    );
  }
  if (store !== undefined) {
    listeners.push(await listenUnix(storeSocketPath(config.runPath), (socket) => serveStore(socket, store)));
  }
  // An attested pool waits for a table that does not answer; each enclave's provisioning asks again.
  ring.refresh().catch((error) => {
    if (attested === undefined || toSignerError(error).code === "bad_request") ready.reject(error);
  });
  let isPolling = false;
  const poll = (): void => {
    if (isPolling || reloader.status.status === "running") return;
    isPolling = true;
    applySources()
      .catch((error) => logger.warn("keys not read again", { reason: toSignerError(error).detail }))
      .finally(() => (isPolling = false));
  };
  const polling = attested && setInterval(poll, (config.keysPollSeconds ?? KEYS_POLL_SECONDS) * 1000);

  return {
    ready: ready.promise,
    complete: complete.promise,
    settings: config,
    get genesisValidatorsRootHex() {
      return folder.installation.genesisValidatorsRootHex;
    },
    stop: async () => {
      clearInterval(polling);
      await Promise.all(members.map((member) => member.stop()));
      await publisher.close();
      await Promise.all(listeners.map((listener) => listener.close()));
      await store?.close();
      keyStore.close();
      folder.close();
    },
  };
};

const controls = (members: readonly Member[]): ControlClient[] => members.flatMap((member) => member.control ?? []);

const readyControls = (members: readonly Member[]): ControlClient[] =>
  controls(members.filter((member) => member.view.state === "ready"));

const identityOf = ({ configuration: { group, authority, storeId } }: AttestedPool) => ({
  group,
  authorityHex: toHex(authority),
  storeId,
});

const nextMacKeyIdOf = ({ secrets }: DataFolder): number => {
  const { macKeys, writingKeyId } = secrets.macKeys;
  const newest = Math.max(...macKeys.keys());
  return newest === writingKeyId ? newest + 1 : newest;
};

/** Keys of `--keys`, or the development keys of the data folder. */
const createFileRing = (parts: {
  readonly config: PoolManagerConfig;
  readonly folder: DataFolder;
  readonly keyStore: KeyStore;
  readonly modules: PoolManagerModules;
  readonly openers: () => readonly ControlClient[];
}): KeyRing => {
  const { config, folder, keyStore, modules, openers } = parts;
  const { logger, onProgress } = modules;
  return createKeyRing(
    { developmentKeys: DEVELOPMENT_KEYS, concurrency: openConcurrency(config.enclaves) },
    { keyStore, logger, listSource: keySource(config, folder), openers, onProgress },
  );
};

const keySource = ({ keysPath, keysPasswordPath }: PoolManagerConfig, folder: DataFolder) => {
  if (keysPath === undefined) return undefined;
  const { sealingKey } = folder.secrets;
  return () => listSourceKeys({ path: keysPath, passwordPath: keysPasswordPath, sealingKey });
};

/** The enclaves' only ways out: to the slashing store. Shared by all of them, so that an outage is reported once. */
const createEgress = (
  config: PoolManagerConfig,
  { store, logger }: { store: SqliteSlashingStore | undefined; logger: Logger },
): EgressPort[] => {
  if (config.store.kind === "redis") return createRedisEgress(config.store.route, logger);
  if (store === undefined) throw new SignerError("internal", "the embedded store is not open");
  return [{ port: PORT_EGRESS_STORE, onConnection: (socket) => serveStore(socket, store) }];
};

/** Keystores opened at one time: bounded by cores, by enclaves (one each) and by free memory. */
const openConcurrency = (enclaves: number): number =>
  Math.max(1, Math.min(availableParallelism(), enclaves, Math.floor(freemem() / OPEN_MEMORY_BYTES)));

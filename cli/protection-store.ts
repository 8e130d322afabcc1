/**
 * Opens the slashing protection of an installation for a command: through the running pool-manager where one owns the
 * file, otherwise directly, holding the data folder meanwhile.
 */

import { existsSync } from "node:fs";
import { resolve } from "node:path";
import { connectOptionsOf } from "#enclave/slashing/redis-channel.ts";
import { createRedisStore } from "#enclave/slashing/redis-store.ts";
import { createRemoteStore } from "#enclave/slashing/remote-store.ts";
import {
  describeStore,
  REDIS_KEY_PREFIX,
  type RedisLocation,
  type StoreLocation,
  storeSocketPath,
} from "#pool-manager/config.ts";
import {
  type DataFolderOptions,
  type FolderIdentity,
  openDataFolder,
  readDataFolder,
  recordInitialised,
} from "#pool-manager/data-folder.ts";
import { checkPrivateFolder } from "#pool-manager/private-folder.ts";
import { openSqliteStore } from "#pool-manager/store/sqlite-store.ts";
import { fromHex, ROOT_BYTES, toHex } from "#protocol/bytes.ts";
import { SignerError } from "#protocol/errors.ts";
import { CONNECT_TIMEOUT_MS } from "#protocol/limits.ts";
import type { Network } from "#protocol/signing/network.ts";
import type { MacKeys } from "#protocol/slashing/mac.ts";
import { DEVELOPMENT_CONFIG_VERSION, encodeMarker, newMarker, verifyMarker } from "#protocol/slashing/marker.ts";
import { createRecordCodec, type RecordCodec, STORE_ID_BYTES } from "#protocol/slashing/record.ts";
import type { SlashingStore } from "#protocol/slashing/store.ts";
import { connectUnix } from "#protocol/transport/hybrid.ts";
import { runPathOf, type StoreOptionValues, storeOf, storePasswordOf } from "./options.ts";

/** An opened store with what is needed to read and write its records. */
export interface OpenProtection {
  readonly store: SlashingStore;
  readonly codec: RecordCodec;
  /** Genesis validators root, 32 bytes. */
  readonly root: Uint8Array;
  /** The marker was written just now. */
  readonly created: boolean;
  close(): Promise<void>;
}

const REDIS_READY_MS = 5_000;

/**
 * Opens the protection. Only `initialise` makes a data folder or a marker where there is none.
 * @throws SignerError that says what to do when the store is not there, not this installation's, or not initialised
 */
export const openProtection = async (
  values: StoreOptionValues,
  { initialise, network }: { initialise: boolean; network: Network },
): Promise<OpenProtection> => {
  const location = storeOf(values);
  const path = resolve(values.data);
  const expected = { path, store: describeStore(location), genesisValidatorsRoot: network.genesisValidatorsRoot };
  const { store, identity, close } = await openStore(values, { location, expected, mayCreate: initialise });
  try {
    const { secrets } = identity;
    const { macKeys } = secrets;
    const storeId = fromHex(identity.installation.storeIdHex, STORE_ID_BYTES, "store id");
    const marker = await readMarker(store, { identity, macKeys, network, initialise, storeId });
    const codec = createRecordCodec({ ...macKeys, genesisValidatorsRoot: marker.root, storeId });
    recordInitialised(path, toHex(marker.root));
    return { store, codec, ...marker, close };
  } catch (error) {
    await close();
    throw error;
  }
};

interface OpenedStore {
  readonly store: SlashingStore;
  readonly identity: FolderIdentity;
  close(): Promise<void>;
}

const openStore = async (
  values: StoreOptionValues,
  options: { location: StoreLocation; expected: DataFolderOptions; mayCreate: boolean },
): Promise<OpenedStore> => {
  const { location, expected, mayCreate } = options;
  const isInstallation = existsSync(resolve(expected.path, "installation.json"));
  if (location.kind === "redis" && isInstallation) {
    const identity = readDataFolder(expected);
    const store = await openRedis(values, location);
    return { store, identity, close: () => store.close() };
  }
  const socket = isInstallation && location.kind === "sqlite" ? await poolStoreSocket(values) : undefined;
  if (socket !== undefined) {
    const identity = readDataFolder(expected);
    const store = createRemoteStore({ connect: () => connectUnix(socket, { timeoutMs: CONNECT_TIMEOUT_MS }) });
    return { store, identity, close: () => store.close() };
  }
  const folder = openDataFolder(expected, { mayCreate });
  try {
    const store =
      location.kind === "redis" ? await openRedis(values, location) : await openSqliteStore(folder.slashingPath);
    const close = async (): Promise<void> => {
      await store.close();
      folder.close();
    };
    return { store, identity: folder, close };
  } catch (error) {
    folder.close();
    throw error;
  }
};

/** Where a running pool-manager answers for its store; undefined when none runs. */
const poolStoreSocket = async ({ data }: StoreOptionValues): Promise<string | undefined> => {
  const runPath = runPathOf(data);
  if (!existsSync(runPath)) return undefined;
  checkPrivateFolder(runPath, "run folder");
  const socket = storeSocketPath(runPath);
  return existsSync(socket) && (await answers(socket)) ? socket : undefined;
};

const answers = async (socket: string): Promise<boolean> => {
  try {
    (await connectUnix(socket, { timeoutMs: CONNECT_TIMEOUT_MS })).destroy();
    return true;
  } catch {
    return false; // left behind by a pool-manager that was killed
  }
};

const openRedis = async (
  values: StoreOptionValues,
  { route, database, username, durability, tls }: RedisLocation,
): Promise<SlashingStore> => {
  const bytes = storePasswordOf(values);
  const password = Buffer.from(bytes).toString("utf8");
  bytes.fill(0);
  const store = createRedisStore({
    connect: { ...connectOptionsOf(route), tls, db: database, username, ...(password !== "" && { password }) },
    keyPrefix: REDIS_KEY_PREFIX,
    durability,
  });
  const state = await store.ready(REDIS_READY_MS);
  if (state.ok) return store;
  await store.close();
  throw new SignerError("unavailable", state.reason);
};

const readMarker = async (
  store: SlashingStore,
  options: {
    identity: FolderIdentity;
    macKeys: MacKeys;
    network: Network;
    initialise: boolean;
    storeId: Uint8Array;
  },
): Promise<{ root: Uint8Array; created: boolean }> => {
  const { storeId, macKeys } = options;
  const { installation } = options.identity;
  const known = knownRoot(installation.genesisValidatorsRootHex, options.network);
  const bytes = await store.marker();
  if (bytes !== undefined) {
    const expected = { storeId, genesisValidatorsRoot: known, configVersion: DEVELOPMENT_CONFIG_VERSION };
    const verified = verifyMarker(bytes, expected, macKeys);
    if (verified.kind === "refused") throw new SignerError("store_suspect", verified.reason);
    return { root: verified.marker.genesisValidatorsRoot, created: false };
  }
  if (installation.storeInitialised) {
    const detail = "the store is empty, but this data folder has used it before: restore it";
    throw new SignerError("store_suspect", `${detail}, see docs/slashing-protection.md on a suspect store`);
  }
  if (!options.initialise) {
    throw new SignerError("bad_request", "the store is not initialised: there is nothing to export yet");
  }
  if (known === undefined) {
    throw new SignerError("bad_request", "this network's chain is not known: say --genesis-validators-root");
  }
  const marker = newMarker(storeId, { genesisValidatorsRoot: known, nowMs: Date.now() });
  const result = await store.compareAndSetMarker(undefined, encodeMarker(marker, macKeys));
  if (result.kind !== "stored") throw new SignerError("unavailable", "the marker could not be written, try again");
  return { root: known, created: true };
};

const knownRoot = (installed: string | undefined, network: Network): Uint8Array | undefined =>
  installed === undefined ? network.genesisValidatorsRoot : fromHex(installed, ROOT_BYTES, "genesis validators root");

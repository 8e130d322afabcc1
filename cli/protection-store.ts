/**
 * Opens the slashing protection of an installation for a command: through the running pool-manager where one owns the
 * file, otherwise directly, holding the data folder meanwhile.
 */

import { existsSync } from "node:fs";
import { resolve } from "node:path";
import { createRedisStore } from "#enclave/slashing/redis-store.ts";
import { createRemoteStore } from "#enclave/slashing/remote-store.ts";
import { describeStore, REDIS_KEY_PREFIX, type StoreLocation, storeSocketPath } from "#pool-manager/config.ts";
import { type FolderIdentity, openDataFolder, readDataFolder } from "#pool-manager/data-folder.ts";
import { openSqliteStore } from "#pool-manager/store/sqlite-store.ts";
import { fromHex, ROOT_BYTES, toHex } from "#protocol/bytes.ts";
import { SignerError } from "#protocol/errors.ts";
import { CONNECT_TIMEOUT_MS } from "#protocol/limits.ts";
import type { Network } from "#protocol/signing/network.ts";
import { decodeMarker, encodeMarker } from "#protocol/slashing/marker.ts";
import { createRecordCodec, type RecordCodec, STORE_ID_BYTES } from "#protocol/slashing/record.ts";
import type { SlashingStore } from "#protocol/slashing/store.ts";
import { connectUnix } from "#protocol/transport/hybrid.ts";
import { runPathOf, type StoreOptionValues, storeLocationOf, storePasswordOf } from "./options.ts";

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

const MAC_KEY_ID = 1;
const REDIS_READY_MS = 5_000;

/** @throws SignerError that says what to do when the store is not there, not this installation's, or not initialised */
export const openProtection = async (
  values: StoreOptionValues,
  { initialise, network }: { initialise: boolean; network: Network },
): Promise<OpenProtection> => {
  const location = storeLocationOf(values.store);
  const opened = await openStore(values, location, network);
  const { store, identity } = opened;
  try {
    const storeId = fromHex(identity.installation.storeIdHex, STORE_ID_BYTES, "store id");
    const macKeys = { macKeys: new Map([[MAC_KEY_ID, identity.secrets.macKey]]), writingKeyId: MAC_KEY_ID };
    const marker = await readMarker(store, { identity, macKeys, network, initialise, storeId });
    const codec = createRecordCodec({ ...macKeys, genesisValidatorsRoot: marker.root, storeId });
    opened.recordInitialised(toHex(marker.root));
    return { store, codec, ...marker, close: opened.close };
  } catch (error) {
    await opened.close();
    throw error;
  }
};

interface OpenedStore {
  readonly store: SlashingStore;
  readonly identity: FolderIdentity;
  recordInitialised(genesisValidatorsRootHex: string): void;
  close(): Promise<void>;
}

const openStore = async (
  values: StoreOptionValues,
  location: StoreLocation,
  network: Network,
): Promise<OpenedStore> => {
  const path = resolve(values.data);
  const expected = { path, store: describeStore(location), genesisValidatorsRoot: network.genesisValidatorsRoot };
  const socket = storeSocketPath(runPathOf(values.data));
  if (location.kind === "sqlite" && existsSync(socket) && (await answers(socket))) {
    const store = createRemoteStore({ connect: () => connectUnix(socket, { timeoutMs: CONNECT_TIMEOUT_MS }) });
    return {
      store,
      identity: readDataFolder(expected),
      recordInitialised: () => undefined,
      close: () => store.close(),
    };
  }
  if (location.kind === "redis" && existsSync(resolve(path, "installation.json"))) {
    const store = await openRedis(values, location);
    return {
      store,
      identity: readDataFolder(expected),
      recordInitialised: () => undefined,
      close: () => store.close(),
    };
  }
  const folder = openDataFolder(expected);
  try {
    const store =
      location.kind === "redis" ? await openRedis(values, location) : await openSqliteStore(folder.slashingPath);
    const close = async (): Promise<void> => {
      await store.close();
      folder.close();
    };
    return { store, identity: folder, recordInitialised: folder.recordInitialised, close };
  } catch (error) {
    folder.close();
    throw error;
  }
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
  { host, port, database, username }: Extract<StoreLocation, { kind: "redis" }>,
): Promise<SlashingStore> => {
  const password = Buffer.from(storePasswordOf(values)).toString("utf8");
  const store = createRedisStore({
    connect: { host, port, db: database, username, ...(password !== "" && { password }) },
    keyPrefix: REDIS_KEY_PREFIX,
    durability: "aof-always",
  });
  const durability = await store.ready(REDIS_READY_MS);
  if (durability.ok) return store;
  await store.close();
  throw new SignerError("unavailable", durability.reason);
};

const readMarker = async (
  store: SlashingStore,
  options: {
    identity: FolderIdentity;
    macKeys: { macKeys: ReadonlyMap<number, Uint8Array>; writingKeyId: number };
    network: Network;
    initialise: boolean;
    storeId: Uint8Array;
  },
): Promise<{ root: Uint8Array; created: boolean }> => {
  const { installation } = options.identity;
  const bytes = await store.marker();
  if (bytes !== undefined) {
    const decoded = decodeMarker(bytes, options.macKeys);
    if (decoded.kind === "marker" && toHex(decoded.marker.storeId) === installation.storeIdHex) {
      return { root: decoded.marker.genesisValidatorsRoot, created: false };
    }
    throw new SignerError("store_suspect", "the store's marker is not this installation's: check --data and --store");
  }
  if (installation.storeInitialised) {
    throw new SignerError("store_suspect", "the store is empty, but this data folder has used it before: restore it");
  }
  if (!options.initialise) {
    throw new SignerError("bad_request", "the store is not initialised: there is nothing to export yet");
  }
  const root = rootOf(installation.genesisValidatorsRootHex, options.network);
  const marker = {
    storeId: options.storeId,
    genesisValidatorsRoot: root,
    configVersionMin: 0,
    createdUnixSeconds: Math.floor(Date.now() / 1000),
  };
  const result = await store.compareAndSetMarker(undefined, encodeMarker(marker, options.macKeys));
  if (result.kind !== "stored") throw new SignerError("unavailable", "the marker could not be written, try again");
  return { root, created: true };
};

const rootOf = (known: string | undefined, network: Network): Uint8Array => {
  if (known !== undefined) return fromHex(known, ROOT_BYTES, "genesis validators root");
  if (network.genesisValidatorsRoot !== undefined) return network.genesisValidatorsRoot;
  throw new SignerError("bad_request", "this network's chain is not known: say --genesis-validators-root");
};

/** The settings of an enclave, checked: they come from the parent, which is not trusted to send sense. */

import { fromHex } from "#protocol/bytes.ts";
import { SignerError } from "#protocol/errors.ts";
import type { StoreSettings } from "#protocol/messages/control.ts";
import { type Network, networkFromJson } from "#protocol/signing/network.ts";
import { STORE_ID_BYTES } from "#protocol/slashing/record.ts";
import { KEY_PREFIX } from "./slashing/redis-store.ts";

/** Checked settings. */
export interface EnclaveConfig {
  readonly cid: number;
  readonly network: Network;
  /** 16 bytes. */
  readonly storeId: Uint8Array;
  readonly store: StoreSettings;
  readonly initialiseStore: boolean;
  /** 0..1000; undefined: no bound. */
  readonly clockBoundEpochs: number | undefined;
  /** 1..64. */
  readonly threads: number;
}

/** Largest clock bound in epochs: more would be no bound (1000 epochs of mainnet are 4.4 days). */
const CLOCK_BOUND_EPOCHS_MAX = 1000;
const THREADS_MAX = 64;

/** @throws SignerError `bad_request` that names the member */
export const parseEnclaveConfig = (settings: unknown): EnclaveConfig => {
  const members = (typeof settings === "object" && settings !== null ? settings : {}) as Record<string, unknown>;
  const { storeIdHex, initialiseStore } = members;
  if (typeof initialiseStore !== "boolean") throw wrong("initialiseStore", "true or false");
  if (typeof storeIdHex !== "string") throw wrong("storeIdHex", "hex");
  return {
    cid: integer(members.cid, { name: "cid", min: 0, max: 0xffff_ffff }),
    network: networkFromJson(members.network),
    storeId: fromHex(storeIdHex, STORE_ID_BYTES, "storeIdHex"),
    store: parseStore(members.store),
    initialiseStore,
    clockBoundEpochs:
      members.clockBoundEpochs === undefined
        ? undefined
        : integer(members.clockBoundEpochs, { name: "clockBoundEpochs", min: 0, max: CLOCK_BOUND_EPOCHS_MAX }),
    threads: integer(members.threads, { name: "threads", min: 1, max: THREADS_MAX }),
  };
};

const parseStore = (value: unknown): StoreSettings => {
  const store = (typeof value === "object" && value !== null ? value : {}) as Record<string, unknown>;
  if (store.kind === "sqlite") return { kind: "sqlite" };
  if (store.kind !== "redis") throw wrong("store.kind", "sqlite or redis");
  const { username, keyPrefix } = store;
  if (username !== undefined && typeof username !== "string") throw wrong("store.username", "text");
  if (typeof keyPrefix !== "string" || !KEY_PREFIX.test(keyPrefix)) throw wrong("store.keyPrefix", KEY_PREFIX.source);
  const database = integer(store.database, { name: "store.database", min: 0, max: 1023 });
  return { kind: "redis", database, keyPrefix, ...(username !== undefined && { username }) };
};

const integer = (value: unknown, { name, min, max }: { name: string; min: number; max: number }): number => {
  if (Number.isSafeInteger(value) && (value as number) >= min && (value as number) <= max) return value as number;
  throw wrong(name, `${min}..${max}`);
};

const wrong = (name: string, expected: string): SignerError =>
  new SignerError("bad_request", `enclave settings: ${name}: expected ${expected}`);

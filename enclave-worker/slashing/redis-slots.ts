/**
 * Which server of a Redis Cluster has a key. Pure.
 * Source: https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/ (hash tags; CRC16 is XMODEM:
 * polynomial 0x1021, start 0, neither end reflected)
 */

import type { RedisAddress } from "#protocol/messages/control.ts";

/** Hash slots of a cluster. */
export const SLOTS = 16_384;

const CRC16_POLYNOMIAL = 0x1021;

/** The slot of a key: of what stands between its first `{` and the next `}`, or of all of it. */
export const slotOf = (key: string): number => {
  const open = key.indexOf("{");
  const close = open < 0 ? -1 : key.indexOf("}", open + 1);
  return crc16(Buffer.from(close > open + 1 ? key.slice(open + 1, close) : key)) % SLOTS;
};

/** Addresses of the slots' primaries, and the index of each slot's address. */
export interface SlotMap {
  readonly addresses: readonly RedisAddress[];
  /** {@link SLOTS} entries. */
  readonly owners: Uint8Array;
}

/**
 * Reads a reply of `CLUSTER SLOTS`: `[first, last, [host, port, …], …replicas]` for each range. An absent host is the
 * one that was asked.
 * @throws Error when it is malformed, or when a slot has no server or two
 */
export const parseSlots = (reply: unknown, asked: RedisAddress): SlotMap => {
  const addresses: RedisAddress[] = [];
  const owners = new Uint8Array(SLOTS).fill(NOBODY);
  for (const range of asArray(reply)) {
    const [first, last, primary] = asArray(range);
    const [announced, port] = asArray(primary);
    const host = announced === null || announced === "" ? asked.host : String(announced);
    let index = addresses.findIndex((address) => address.host === host && address.port === port);
    if (index < 0) index = addresses.push({ host, port: slotNumber(port, 65_535) }) - 1;
    if (index >= NOBODY) throw new Error(`CLUSTER SLOTS: expected at most ${NOBODY} servers`);
    for (let slot = slotNumber(first, SLOTS - 1); slot <= slotNumber(last, SLOTS - 1); slot += 1) {
      if (owners[slot] !== NOBODY) throw new Error(`CLUSTER SLOTS: two servers for slot ${slot}`);
      owners[slot] = index;
    }
  }
  const orphan = owners.indexOf(NOBODY);
  if (orphan >= 0) throw new Error(`CLUSTER SLOTS: no server for slot ${orphan}`);
  return { addresses, owners };
};

const NOBODY = 255;

const asArray = (value: unknown): unknown[] => {
  if (Array.isArray(value)) return value;
  throw new Error("CLUSTER SLOTS: expected an array");
};

const slotNumber = (value: unknown, max: number): number => {
  if (Number.isSafeInteger(value) && (value as number) >= 0 && (value as number) <= max) return value as number;
  throw new Error(`CLUSTER SLOTS: expected a number 0..${max}`);
};

const crc16 = (bytes: Uint8Array): number => {
  let crc = 0;
  for (const byte of bytes) {
    crc ^= byte << 8;
    for (let bit = 0; bit < 8; bit += 1) {
      crc = (crc & 0x8000) === 0 ? (crc << 1) & 0xffff : ((crc << 1) ^ CRC16_POLYNOMIAL) & 0xffff;
    }
  }
  return crc;
};

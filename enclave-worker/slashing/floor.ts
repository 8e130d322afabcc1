/**
 * The floor: the newest record that this enclave has seen of each validator, and whether it saw that record
 * acknowledged. Packed, because a large enclave keeps 100,000 of them: 136 bytes of record, one of mark and one Map
 * entry each, measured at 24 MiB for 100,000 (`test/unit/enclave-worker/floor.test.ts` holds it below 32).
 */

import { allocatePooled, fromByteString, toByteString } from "#protocol/bytes.ts";
import { RECORD_BYTES } from "#protocol/slashing/record.ts";

/** The records. Keys are public keys, 48 bytes. */
export interface Floor {
  readonly size: number;
  has(pubkey: Uint8Array): boolean;
  /** A copy of the record; undefined when none is kept. */
  record(pubkey: Uint8Array): Uint8Array | undefined;
  /** Whether the kept record was seen acknowledged as durable (`stored`), not merely read. */
  isAcknowledged(pubkey: Uint8Array): boolean;
  /** Keeps a record, {@link RECORD_BYTES} long, in place of the earlier one. */
  set(pubkey: Uint8Array, record: Uint8Array, options: { acknowledged: boolean }): void;
  delete(pubkey: Uint8Array): void;
  /** Every kept record (copies), in no order. */
  entries(): Iterable<{ readonly pubkey: Uint8Array; readonly record: Uint8Array }>;
}

/** Room at first, and how much is added when it is full: little waste, few copies. */
const SLOTS_AT_FIRST = 1024;
const GROWTH = 1.25;

/** An empty floor. */
export const createFloor = (): Floor => {
  const slots = new Map<string, number>();
  const free: number[] = [];
  let records = Buffer.alloc(SLOTS_AT_FIRST * RECORD_BYTES);
  let acknowledged = new Uint8Array(SLOTS_AT_FIRST);

  const takeSlot = (): number => {
    const reused = free.pop();
    if (reused !== undefined) return reused;
    const slot = slots.size; // no slot is free: all below are in use
    if (slot === acknowledged.length) grow(Math.ceil(slot * GROWTH));
    return slot;
  };

  const grow = (count: number): void => {
    const more = Buffer.alloc(count * RECORD_BYTES);
    more.set(records);
    records = more;
    const marks = new Uint8Array(count);
    marks.set(acknowledged);
    acknowledged = marks;
  };

  const recordAt = (slot: number): Uint8Array => {
    const record = allocatePooled(RECORD_BYTES);
    record.set(records.subarray(slot * RECORD_BYTES, (slot + 1) * RECORD_BYTES));
    return record;
  };

  return {
    get size() {
      return slots.size;
    },
    has: (pubkey) => slots.has(toByteString(pubkey)),
    record: (pubkey) => {
      const slot = slots.get(toByteString(pubkey));
      return slot === undefined ? undefined : recordAt(slot);
    },
    isAcknowledged: (pubkey) => {
      const slot = slots.get(toByteString(pubkey));
      return slot !== undefined && acknowledged[slot] === 1;
    },
    set: (pubkey, record, options) => {
      if (record.length !== RECORD_BYTES) throw new Error(`record: expected ${RECORD_BYTES} bytes`);
      const name = toByteString(pubkey);
      const slot = slots.get(name) ?? takeSlot();
      slots.set(name, slot);
      records.set(record, slot * RECORD_BYTES);
      acknowledged[slot] = options.acknowledged ? 1 : 0;
    },
    delete: (pubkey) => {
      const name = toByteString(pubkey);
      const slot = slots.get(name);
      if (slot === undefined) return;
      slots.delete(name);
      free.push(slot);
    },
    *entries() {
      for (const [name, slot] of slots) yield { pubkey: fromByteString(name), record: recordAt(slot) };
    },
  };
};

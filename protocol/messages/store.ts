/**
 * The embedded slashing store on the wire: enclaves ask over the egress port, the pool-manager's SQLite answers.
 * Values travel as bytes that only the enclave can verify.
 */

import { ByteReader, ByteWriter, PUBKEY_BYTES } from "../bytes.ts";
import { SignerError } from "../errors.ts";
import { PAGE_ENTRIES_MAX } from "../limits.ts";
import type { CompareAndSetResult, Durability, StoreEntry } from "../slashing/store.ts";
import { STORE_VALUE_BYTES_MAX } from "../slashing/store.ts";

/** Operation numbers of the store port. */
export const STORE_OPERATIONS = {
  getMany: 1,
  compareAndSet: 2,
  scanPage: 3,
  marker: 4,
  compareAndSetMarker: 5,
  durability: 6,
} as const;

/** Entries in one scan page or one getMany: a page of records stays far below the frame limit. */
export const STORE_PAGE_ENTRIES = PAGE_ENTRIES_MAX;

/** A compare-and-set; `key` is undefined for the marker. */
export interface CompareAndSet {
  readonly key: Uint8Array | undefined;
  readonly expected: Uint8Array | undefined;
  readonly next: Uint8Array;
}

const writeOptional = (writer: ByteWriter, value: Uint8Array | undefined): ByteWriter =>
  value === undefined ? writer.u8(0) : writer.u8(1).sizedBytes(value);

const readOptional = (reader: ByteReader, name: string): Uint8Array | undefined => {
  return reader.flag(`${name} presence`) ? readValue(reader, name) : undefined;
};

const readValue = (reader: ByteReader, name: string): Uint8Array => {
  const value = reader.sizedBytes(name);
  if (value.length > STORE_VALUE_BYTES_MAX) {
    throw new SignerError("protocol_violation", `${name}: expected at most ${STORE_VALUE_BYTES_MAX} bytes`);
  }
  return value.slice(); // outlives the receive buffer
};

const readCount = (reader: ByteReader, name: string): number => {
  const count = reader.u32(name);
  if (count > STORE_PAGE_ENTRIES) {
    throw new SignerError("protocol_violation", `${name}: expected at most ${STORE_PAGE_ENTRIES}, got ${count}`);
  }
  return count;
};

const finishReading = <T>(reader: ByteReader, value: T): T => {
  reader.end();
  return value;
};

/** Keys of a getMany, at most {@link STORE_PAGE_ENTRIES}. */
export const encodeKeys = (keys: readonly Uint8Array[]): Uint8Array => {
  const writer = new ByteWriter().u32(keys.length);
  for (const key of keys) writer.bytes(key);
  return writer.finish();
};

/** @throws SignerError `protocol_violation` */
export const decodeKeys = (payload: Uint8Array): Uint8Array[] => {
  const reader = new ByteReader(payload, "store keys");
  const count = readCount(reader, "count");
  const keys = Array.from({ length: count }, () => reader.bytes(PUBKEY_BYTES, "key").slice());
  return finishReading(reader, keys);
};

/** Values in the order of their keys. */
export const encodeValues = (values: readonly (Uint8Array | undefined)[]): Uint8Array => {
  const writer = new ByteWriter().u32(values.length);
  for (const value of values) writeOptional(writer, value);
  return writer.finish();
};

/** @throws SignerError `protocol_violation` */
export const decodeValues = (payload: Uint8Array): (Uint8Array | undefined)[] => {
  const reader = new ByteReader(payload, "store values");
  const count = readCount(reader, "count");
  const values = Array.from({ length: count }, () => readOptional(reader, "value"));
  return finishReading(reader, values);
};

/** A {@link CompareAndSet}; the marker's has no key. */
export const encodeCompareAndSet = ({ key, expected, next }: CompareAndSet): Uint8Array => {
  const writer = new ByteWriter();
  if (key !== undefined) writer.bytes(key);
  return writeOptional(writer, expected).sizedBytes(next).finish();
};

/** @param keyed false for the marker, which has no key */
export const decodeCompareAndSet = (payload: Uint8Array, { keyed }: { keyed: boolean }): CompareAndSet => {
  const reader = new ByteReader(payload, "compare-and-set");
  const key = keyed ? reader.bytes(PUBKEY_BYTES, "key").slice() : undefined;
  const expected = readOptional(reader, "expected");
  const next = readValue(reader, "next");
  return finishReading(reader, { key, expected, next });
};

const RESULT_KINDS = ["stored", "conflict", "unknown"] as const satisfies CompareAndSetResult["kind"][];

/** What the store answered to a compare-and-set. */
export const encodeCompareAndSetResult = (result: CompareAndSetResult): Uint8Array => {
  const writer = new ByteWriter().u8(RESULT_KINDS.indexOf(result.kind));
  if (result.kind === "conflict") writeOptional(writer, result.actual);
  if (result.kind === "unknown") writer.sizedText(result.detail);
  return writer.finish();
};

/** @throws SignerError `protocol_violation` */
export const decodeCompareAndSetResult = (payload: Uint8Array): CompareAndSetResult => {
  const reader = new ByteReader(payload, "compare-and-set result");
  const kind = RESULT_KINDS[reader.u8("kind")];
  switch (kind) {
    case "stored":
      return finishReading(reader, { kind });
    case "conflict":
      return finishReading(reader, { kind, actual: readOptional(reader, "actual") });
    case "unknown":
      return finishReading(reader, { kind, detail: reader.sizedText("detail") });
    default:
      throw new SignerError("protocol_violation", "compare-and-set result: unknown kind");
  }
};

/** A scan goes on behind `afterKey`; undefined: from the start. */
export const encodeScanPage = (afterKey: Uint8Array | undefined): Uint8Array =>
  writeOptional(new ByteWriter(), afterKey).finish();

/** @throws SignerError `protocol_violation` */
export const decodeScanPage = (payload: Uint8Array): Uint8Array | undefined => {
  const reader = new ByteReader(payload, "scan page");
  return finishReading(reader, readOptional(reader, "after key"));
};

/** A page of registers. */
export const encodeEntries = (entries: readonly StoreEntry[]): Uint8Array => {
  const writer = new ByteWriter().u32(entries.length);
  for (const entry of entries) writer.bytes(entry.key).sizedBytes(entry.value);
  return writer.finish();
};

/** @throws SignerError `protocol_violation` */
export const decodeEntries = (payload: Uint8Array): StoreEntry[] => {
  const reader = new ByteReader(payload, "store entries");
  const count = readCount(reader, "count");
  const entries = Array.from({ length: count }, () => ({
    key: reader.bytes(PUBKEY_BYTES, "key").slice(),
    value: readValue(reader, "value"),
  }));
  return finishReading(reader, entries);
};

/** A single optional value (the marker). */
export const encodeOptional = (value: Uint8Array | undefined): Uint8Array =>
  writeOptional(new ByteWriter(), value).finish();

/** @throws SignerError `protocol_violation` */
export const decodeOptional = (payload: Uint8Array): Uint8Array | undefined => {
  const reader = new ByteReader(payload, "optional value");
  return finishReading(reader, readOptional(reader, "value"));
};

/** Whether the store is as durable as configured. */
export const encodeDurability = (durability: Durability): Uint8Array =>
  new ByteWriter()
    .u8(durability.ok ? 1 : 0)
    .sizedText(durability.ok ? "" : durability.reason)
    .finish();

/** @throws SignerError `protocol_violation` */
export const decodeDurability = (payload: Uint8Array): Durability => {
  const reader = new ByteReader(payload, "durability");
  const ok = reader.flag("ok");
  const reason = reader.sizedText("reason");
  return finishReading(reader, ok ? { ok } : { ok, reason });
};

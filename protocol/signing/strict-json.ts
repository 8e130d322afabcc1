/**
 * Strict reader of JSON values by SSZ type, in place of Lodestar's `fromJson`, which is no validator (it reads
 * "12abc" as 12, "0x10" as 0 and a bad hex digit as zero).
 *
 * Specs: beacon-APIs JSON mapping (uint as decimal string, bytes and bits as 0x-hex of the SSZ form, members in
 * snake_case); Web3Signer also takes uints as JSON numbers, and so do we while a double holds them exactly.
 * Total: every JSON value gives either a value of the type or `bad_request` that names the path. Unknown members are
 * ignored, as in Web3Signer; `null` is of no type. Only own properties are looked at.
 */

import {
  BitArray,
  BitListType,
  BitVectorType,
  BooleanType,
  ByteListType,
  ByteVectorType,
  ContainerType,
  ListBasicType,
  ListCompositeType,
  type Type,
  UintBigintType,
  VectorBasicType,
  VectorCompositeType,
} from "@chainsafe/ssz";
import { fromHex } from "../bytes.ts";
import { type JsonReader, ownMember, readBytes, readObject, refuse } from "./json.ts";

const DECIMAL = /^(?:0|[1-9][0-9]*)$/;

/**
 * Compiles the reader of an SSZ type, once at module load; the type must be exact ({@link exactType}).
 * @throws Error when the type has a part that this file does not know: a defect, never caused by input.
 */
export const jsonReader = <V>(type: Type<V>): JsonReader<V> => compile(type as Type<unknown>) as JsonReader<V>;

const compile = (type: Type<unknown>): JsonReader<unknown> => {
  if (type instanceof UintBigintType) return uintReader(type.byteLength);
  if (type instanceof BooleanType) return readBoolean;
  if (type instanceof ByteVectorType) return (json, path) => readBytes(json, path, type.lengthBytes);
  if (type instanceof ByteListType) return (json, path) => readByteList(json, path, type.limitBytes);
  if (type instanceof BitVectorType) return (json, path) => readBitVector(json, path, type.lengthBits);
  if (type instanceof BitListType) return (json, path) => readBitList(json, path, type.limitBits);
  if (type instanceof ContainerType) return containerReader(type);
  if (type instanceof ListBasicType || type instanceof ListCompositeType) {
    return arrayReader(compile(type.elementType), { min: 0, max: type.limit });
  }
  if (type instanceof VectorBasicType || type instanceof VectorCompositeType) {
    return arrayReader(compile(type.elementType), { min: type.length, max: type.length });
  }
  throw new Error(`no strict reader of ${type.typeName}`);
};

const containerReader = (type: ContainerType<Record<string, Type<unknown>>>): JsonReader<unknown> => {
  const fields = type.fieldsEntries.map(({ fieldName, fieldType, jsonKey }) => ({
    name: fieldName,
    key: jsonKey,
    suffix: `.${jsonKey}`,
    read: compile(fieldType),
  }));
  return (json, path) => {
    const object = readObject(json, path);
    const value: Record<string, unknown> = {};
    for (const { name, key, suffix, read } of fields) value[name] = read(ownMember(object, key), path + suffix);
    return value;
  };
};

const arrayReader = (read: JsonReader<unknown>, { min, max }: { min: number; max: number }): JsonReader<unknown> => {
  const expected = min === max ? `an array of ${max}` : `an array of at most ${max}`;
  return (json, path) => {
    if (!Array.isArray(json)) return refuse(path, expected, json);
    if (json.length < min || json.length > max) return refuse(path, expected, json);
    return json.map((element, index) => read(element, `${path}[${index}]`));
  };
};

const uintReader = (byteLength: number): JsonReader<bigint> => {
  const max = 2n ** BigInt(8 * byteLength) - 1n;
  const digitsMax = String(max).length;
  const expected = `an integer 0..2^${8 * byteLength}-1 in decimal`;
  return (json, path) => {
    const isText = typeof json === "string" && json.length <= digitsMax && DECIMAL.test(json);
    // Beyond 2^53-1 JSON.parse has rounded already: the number here is not the one that was sent.
    const isNumber = typeof json === "number" && Number.isSafeInteger(json) && json >= 0;
    if (!isText && !isNumber) return refuse(path, expected, json);
    const value = BigInt(json);
    return value <= max ? value : refuse(path, expected, json);
  };
};

const readBoolean: JsonReader<boolean> = (json, path) =>
  typeof json === "boolean" ? json : refuse(path, "true or false", json);

const readByteList = (json: unknown, path: string, limitBytes: number): Uint8Array =>
  readBytesUpTo(json, path, { max: limitBytes, expected: `at most ${limitBytes} bytes of 0x-hex` });

const readBitVector = (json: unknown, path: string, lengthBits: number): BitArray => {
  const bytes = readBytes(json, path, Math.ceil(lengthBits / 8));
  const paddingBits = bytes.length * 8 - lengthBits;
  const last = bytes[bytes.length - 1] ?? 0;
  if (last >> (8 - paddingBits) !== 0) refuse(path, `${lengthBits} bits and zero padding`, json);
  return new BitArray(bytes, lengthBits);
};

/** A bitlist in its SSZ form: the highest set bit of the last byte is the sentinel behind the last element. */
const readBitList = (json: unknown, path: string, limitBits: number): BitArray => {
  const expected = `a bitlist of at most ${limitBits} bits in 0x-hex with its sentinel bit`;
  const bytes = readBytesUpTo(json, path, { max: Math.floor(limitBits / 8) + 1, expected });
  const last = bytes[bytes.length - 1] ?? 0;
  if (last === 0) return refuse(path, expected, json);
  const sentinel = 31 - Math.clz32(last);
  const bitLength = (bytes.length - 1) * 8 + sentinel;
  if (bitLength > limitBits) return refuse(path, expected, json);
  bytes[bytes.length - 1] = last ^ (1 << sentinel);
  return new BitArray(bytes.subarray(0, Math.ceil(bitLength / 8)), bitLength);
};

const readBytesUpTo = (json: unknown, path: string, limit: { max: number; expected: string }): Uint8Array => {
  const text = hexText(json, path, limit.expected);
  const length = (text.length - 2) / 2;
  if (!Number.isInteger(length) || length > limit.max) return refuse(path, limit.expected, json);
  return fromHex(text, length, path);
};

const hexText = (json: unknown, path: string, expected: string): string =>
  typeof json === "string" && json.startsWith("0x") ? json : refuse(path, expected, json);

/**
 * A second, plain implementation of SSZ merkleization and signature domains, to hold ours against: node:crypto and the
 * consensus spec's "simple-serialize" text, no SSZ library, no types, no caches. Values are given as JSON has them.
 */

import { createHash } from "node:crypto";

const CHUNK_BYTES = 32;
const ZERO_CHUNK = Buffer.alloc(CHUNK_BYTES);

const sha256 = (...parts: Uint8Array[]): Buffer => {
  const hash = createHash("sha256");
  for (const part of parts) hash.update(part);
  return hash.digest();
};

/** Bytes of 0x-hex. */
export const hex = (text: string): Buffer => Buffer.from(text.slice(2), "hex");

/** `merkleize(chunks, limit)` of the spec, by folding layer after layer; absent subtrees are zero hashes. */
export const merkleize = (chunks: readonly Uint8Array[], limit = chunks.length): Buffer => {
  let layer: Buffer[] = chunks.map((chunk) => Buffer.from(chunk));
  let zero: Buffer = ZERO_CHUNK;
  for (let width = 1; width < limit; width *= 2) {
    const next: Buffer[] = [];
    for (let i = 0; i < layer.length; i += 2) next.push(sha256(layer[i] ?? zero, layer[i + 1] ?? zero));
    layer = next;
    zero = sha256(zero, zero);
  }
  return layer[0] ?? zero;
};

/** Serialized bytes cut into chunks, the last one padded with zeros. */
const pack = (bytes: Uint8Array): Buffer[] => {
  const chunks: Buffer[] = [];
  for (let i = 0; i < bytes.length; i += CHUNK_BYTES) {
    const chunk = Buffer.alloc(CHUNK_BYTES);
    chunk.set(bytes.subarray(i, i + CHUNK_BYTES));
    chunks.push(chunk);
  }
  return chunks;
};

const uint64Bytes = (value: string | number | bigint): Buffer => {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes;
};

const mixInLength = (root: Uint8Array, length: number): Buffer =>
  sha256(root, Buffer.concat([uint64Bytes(length), Buffer.alloc(24)]));

/** Root of a uint64. */
export const uint64 = (value: string | number | bigint): Buffer => merkleize(pack(uint64Bytes(value)));

/** Root of a byte vector in 0x-hex. */
export const bytes = (text: string): Buffer => merkleize(pack(hex(text)));

/** Root of a container with these field roots. */
export const container = (...fields: Uint8Array[]): Buffer => merkleize(fields);

/** Root of a vector with these element roots. */
export const vector = (elements: readonly Uint8Array[]): Buffer => merkleize(elements);

/** Root of a list of composite elements with these roots. */
export const list = (elements: readonly Uint8Array[], limit: number): Buffer =>
  mixInLength(merkleize(elements, limit), elements.length);

/** Root of a list of uint64. */
export const uint64List = (values: readonly (string | number)[], limit: number): Buffer => {
  const chunks = pack(Buffer.concat(values.map(uint64Bytes)));
  return mixInLength(merkleize(chunks, Math.ceil((limit * 8) / CHUNK_BYTES)), values.length);
};

/** Bits, lowest first, packed into bytes. */
const packBits = (bits: readonly boolean[]): Buffer => {
  const packed = Buffer.alloc(Math.ceil(bits.length / 8));
  bits.forEach((bit, i) => {
    if (bit) packed[i >> 3] = (packed[i >> 3] ?? 0) | (1 << (i & 7));
  });
  return packed;
};

/** Root of a bitvector. */
export const bitvector = (bits: readonly boolean[]): Buffer => merkleize(pack(packBits(bits)));

/** Root of a bitlist. */
export const bitlist = (bits: readonly boolean[], limit: number): Buffer =>
  mixInLength(merkleize(pack(packBits(bits)), Math.ceil(limit / 256)), bits.length);

/** The JSON form of a bitvector. */
export const bitvectorJson = (bits: readonly boolean[]): string => `0x${packBits(bits).toString("hex")}`;

/** The JSON form of a bitlist: with the sentinel bit behind the last one. */
export const bitlistJson = (bits: readonly boolean[]): string => `0x${packBits([...bits, true]).toString("hex")}`;

/** The root that is signed, as 0x-hex; all arguments in 0x-hex but the object root. */
export const signingRoot = (
  objectRoot: Uint8Array,
  chain: { domainType: string; version: string; genesisValidatorsRoot: string },
): string => {
  const forkDataRoot = container(bytes(chain.version), bytes(chain.genesisValidatorsRoot));
  const domain = Buffer.concat([hex(chain.domainType), forkDataRoot.subarray(0, 28)]);
  return `0x${container(objectRoot, domain).toString("hex")}`;
};

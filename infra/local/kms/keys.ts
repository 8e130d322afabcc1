/**
 * The simulator's KMS keys: real AES-256-GCM under random key material. A ciphertext carries the id of its key and is
 * bound to key and encryption context. With a folder, keys survive restarts: in clear, because whoever runs the simulator
 * owns them anyway.
 */

import { createCipheriv, createDecipheriv, randomBytes, randomUUID } from "node:crypto";
import { KmsFault } from "./errors.ts";
import { assertPolicy, type KeyPolicy } from "./policy.ts";

/** A symmetric key. */
export interface LocalKey {
  readonly id: string;
  readonly arn: string;
  readonly createdAtMs: number;
  readonly material: Uint8Array;
  policy: KeyPolicy;
  enabled: boolean;
}

/** Whose keys they are. */
export interface KeyOwner {
  readonly region: string;
  /** Twelve digits. */
  readonly account: string;
}

/** An encryption context as it came; absent is empty. */
export type Context = Readonly<Record<string, string>>;

const MATERIAL_BYTES = 32;
const ID_BYTES = 16;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;
const VERSION = Buffer.from([1]);
const HEADER_BYTES = VERSION.length + ID_BYTES + NONCE_BYTES;
const KEYS_MAX = 1000;
const DOMAIN = Buffer.from("testudo-local-kms-v1");

/** ARN of a key. */
export const keyArnOf = ({ region, account }: KeyOwner, id: string): string =>
  `arn:aws:kms:${region}:${account}:key/${id}`;

/** The keys of one account in one region. */
export class LocalKeys {
  readonly #owner: KeyOwner;
  readonly #keys = new Map<string, LocalKey>();

  constructor(owner: KeyOwner, keys: readonly LocalKey[] = []) {
    this.#owner = owner;
    for (const key of keys) this.#keys.set(key.id, key);
  }

  all(): readonly LocalKey[] {
    return [...this.#keys.values()];
  }

  /** @throws KmsFault when the policy cannot be followed, or there are too many keys */
  create(policy: KeyPolicy, nowMs: number): LocalKey {
    assertPolicy(policy);
    if (this.#keys.size >= KEYS_MAX) throw new KmsFault("LimitExceededException", `at most ${KEYS_MAX} keys`);
    const id = randomUUID();
    const material = new Uint8Array(randomBytes(MATERIAL_BYTES));
    const arn = keyArnOf(this.#owner, id);
    const key: LocalKey = { id, arn, createdAtMs: nowMs, material, policy, enabled: true };
    this.#keys.set(id, key);
    return key;
  }

  /** The key of an id or ARN. @throws KmsFault `NotFoundException` */
  find(name: string): LocalKey {
    const id = name.startsWith("arn:") ? name.slice(name.lastIndexOf("/") + 1) : name;
    const key = this.#keys.get(id);
    if (key === undefined || (name !== id && name !== key.arn)) {
      throw new KmsFault("NotFoundException", `Key '${keyArnOf(this.#owner, id.slice(0, 64))}' does not exist`);
    }
    return key;
  }

  /** The key that a ciphertext names. @throws KmsFault `InvalidCiphertextException` */
  ofCiphertext(blob: Uint8Array): LocalKey {
    const key =
      blob.length >= HEADER_BYTES + TAG_BYTES && blob[0] === VERSION[0]
        ? this.#keys.get(uuidOf(blob.subarray(VERSION.length, VERSION.length + ID_BYTES)))
        : undefined;
    if (key === undefined) throw new KmsFault("InvalidCiphertextException", "");
    return key;
  }
}

/** Encrypts under a key, bound to it and to a context. */
export const encryptUnder = (key: LocalKey, context: Context, plaintext: Uint8Array): Buffer => {
  const nonce = randomBytes(NONCE_BYTES);
  const cipher = createCipheriv("aes-256-gcm", key.material, nonce);
  cipher.setAAD(associatedData(key, context));
  const sealed = Buffer.concat([cipher.update(plaintext), cipher.final(), cipher.getAuthTag()]);
  return Buffer.concat([VERSION, Buffer.from(key.id.replaceAll("-", ""), "hex"), nonce, sealed]);
};

/** Opens what {@link encryptUnder} made. @throws KmsFault `InvalidCiphertextException` */
export const decryptUnder = (key: LocalKey, context: Context, blob: Uint8Array): Buffer => {
  const nonce = blob.subarray(HEADER_BYTES - NONCE_BYTES, HEADER_BYTES);
  const decipher = createDecipheriv("aes-256-gcm", key.material, nonce, { authTagLength: TAG_BYTES });
  decipher.setAAD(associatedData(key, context));
  decipher.setAuthTag(blob.subarray(blob.length - TAG_BYTES));
  try {
    return Buffer.concat([decipher.update(blob.subarray(HEADER_BYTES, blob.length - TAG_BYTES)), decipher.final()]);
  } catch {
    throw new KmsFault("InvalidCiphertextException", "");
  }
};

const associatedData = ({ arn }: LocalKey, context: Context): Buffer => {
  const pairs = Object.entries(context).sort(([left], [right]) => (left < right ? -1 : 1));
  return Buffer.concat([DOMAIN, ...[arn, ...pairs.flat()].map(sized)]);
};

const sized = (text: string): Buffer => {
  const bytes = Buffer.from(text, "utf8");
  const length = Buffer.alloc(4);
  length.writeUInt32BE(bytes.length);
  return Buffer.concat([length, bytes]);
};

const uuidOf = (bytes: Uint8Array): string =>
  Buffer.from(bytes)
    .toString("hex")
    .replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");

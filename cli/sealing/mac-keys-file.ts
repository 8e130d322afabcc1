/**
 * The MAC keys of a fleet, as its operator keeps them offline. The table has them sealed, which only an enclave can open;
 * whoever seals the next configuration needs them again, because records in the slashing store carry their MACs.
 *
 *   "testudo-mac-keys-v1\n" ‖ store id 16 ‖ MAC keys (`encodeMacKeys`)
 *
 * The store id is there so that the file of another fleet is refused: under foreign MAC keys a whole store is suspect.
 */

import { randomBytes } from "node:crypto";
import { bytesEqual, toHex } from "#protocol/bytes.ts";
import { SignerError } from "#protocol/errors.ts";
import { decodeMacKeys, encodeMacKeys } from "#protocol/messages/control.ts";
import { MAC_KEYS_MAX } from "#protocol/sealed/limits.ts";
import { MAC_BYTES, type MacKeys } from "#protocol/slashing/mac.ts";
import { STORE_ID_BYTES } from "#protocol/slashing/record.ts";
import { readSecretFileIfThere, writeSecretFile } from "../secret-file.ts";

const OPTION = "--mac-keys-file";
const MAGIC = Buffer.from("testudo-mac-keys-v1\n");
const KEYS_START = MAGIC.length + STORE_ID_BYTES;
const FILE_BYTES_MAX = KEYS_START + 2 + MAC_KEYS_MAX * (2 + MAC_BYTES) + 2;
const FIRST_KEY_ID = 1;

/** The keys in the file; the caller wipes them. Undefined: there is no file. @throws SignerError `bad_request` */
export const readMacKeysFile = (path: string, storeId: Uint8Array): MacKeys | undefined => {
  const bytes = readSecretFileIfThere(path, { option: OPTION, bytesMax: FILE_BYTES_MAX });
  if (bytes === undefined) return undefined;
  const refuse = (problem: string): SignerError => new SignerError("bad_request", `${OPTION} ${path}: ${problem}`);
  try {
    if (!bytesEqual(bytes.subarray(0, MAGIC.length), MAGIC)) throw refuse("expected a file of MAC keys");
    const fileStoreId = bytes.subarray(MAGIC.length, KEYS_START);
    if (!bytesEqual(fileStoreId, storeId)) {
      throw refuse(`expected the keys of store ${toHex(storeId)}, got those of ${toHex(fileStoreId)}`);
    }
    return decode(bytes.subarray(KEYS_START), refuse);
  } finally {
    bytes.fill(0);
  }
};

/** One new key that writes; the caller wipes it. */
export const newMacKeys = (): MacKeys => ({
  macKeys: new Map([[FIRST_KEY_ID, new Uint8Array(randomBytes(MAC_BYTES))]]),
  writingKeyId: FIRST_KEY_ID,
});

/** @throws SignerError `bad_request` when something is there already */
export const writeMacKeysFile = (path: string, storeId: Uint8Array, keys: MacKeys): void => {
  const encoded = encodeMacKeys(keys);
  const bytes = Buffer.concat([MAGIC, storeId, encoded]);
  try {
    writeSecretFile(path, bytes);
  } catch (cause) {
    const detail = `${OPTION} ${path}: cannot be written; an existing file is never replaced`;
    throw new SignerError("bad_request", detail, { cause });
  } finally {
    encoded.fill(0);
    bytes.fill(0);
  }
};

const decode = (bytes: Uint8Array, refuse: (problem: string) => SignerError): MacKeys => {
  let keys: MacKeys;
  try {
    keys = decodeMacKeys(bytes);
  } catch {
    throw refuse("it is cut short or altered; take a copy of it");
  }
  if (keys.macKeys.has(keys.writingKeyId)) return keys;
  for (const key of keys.macKeys.values()) key.fill(0);
  throw refuse("it is altered; take a copy of it");
};

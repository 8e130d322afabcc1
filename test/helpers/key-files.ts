/** Files with secret keys as operators bring them: EIP-2335 keystores with passwords, and lines of hex. */

import { randomBytes } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { create } from "@chainsafe/bls-keystore";
import { SecretKey } from "@chainsafe/blst";

/** A key for tests. */
export interface TestKey {
  /** 0x-hex. */
  readonly pubkey: string;
  /** 0x-hex. */
  readonly secret: string;
}

/** Makes a random key. */
export const makeKey = (): TestKey => {
  const secret = SecretKey.fromKeygen(randomBytes(32));
  return { pubkey: secret.toPublicKey().toHex(), secret: secret.toHex() };
};

/** Lines for `--keys <file>`. */
export const keyLines = (keys: readonly TestKey[]): string => keys.map(({ secret }) => `${secret}\n`).join("");

/** Key derivations with parameters that cost milliseconds. */
const CHEAP = {
  pbkdf2: { function: "pbkdf2", params: { dklen: 32, c: 1024, prf: "hmac-sha256" } },
  scrypt: { function: "scrypt", params: { dklen: 32, n: 1024, r: 8, p: 1 } },
} as const;

/** Writes `<folder>/<name>.json`, encrypted with the password. */
export const writeKeystore = async (
  folder: string,
  name: string,
  options: { key: TestKey; password: string; kdf?: keyof typeof CHEAP },
): Promise<void> => {
  const bytes = (hex: string) => Buffer.from(hex.slice(2), "hex");
  const { key, password, kdf = "scrypt" } = options;
  const module = { ...CHEAP[kdf], params: { ...CHEAP[kdf].params, salt: randomBytes(32).toString("hex") } };
  const keystore = await create(password, bytes(key.secret), bytes(key.pubkey), "m/12381/3600/0/0/0", null, module);
  writeFileSync(join(folder, `${name}.json`), JSON.stringify(keystore));
};

/** The simulator's state in a folder: keys with their policies, and the authority of its TLS certificates. */

import { mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type CertificateAndKey, createAuthority } from "./certificates.ts";
import { type KeyOwner, keyArnOf, type LocalKey } from "./keys.ts";
import { assertPolicy, type KeyPolicy } from "./policy.ts";

/** What lasts. */
export interface LocalKmsState {
  readonly authority: CertificateAndKey;
  readonly keys: readonly LocalKey[];
}

const FILE = "kms.json";
const VERSION = 1;
const MATERIAL_BYTES = 32;
const UUID = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

interface StoredKey {
  readonly id: string;
  readonly createdAtMs: number;
  readonly materialBase64: string;
  readonly policy: KeyPolicy;
  readonly enabled: boolean;
}

interface Stored extends KeyOwner {
  readonly version: number;
  readonly authority: CertificateAndKey;
  readonly keys: readonly StoredKey[];
}

/**
 * Reads the state, or begins a new one where there is none.
 * @throws Error when the file is damaged, or belongs to another account or region
 */
export const loadState = (folder: string | undefined, owner: KeyOwner & { readonly nowMs: number }): LocalKmsState => {
  const text = folder === undefined ? undefined : readIfThere(join(folder, FILE));
  if (folder === undefined || text === undefined) return { authority: createAuthority(owner.nowMs), keys: [] };
  const damaged = (problem: string, cause?: unknown): Error =>
    new Error(
      `${join(folder, FILE)}: ${problem}; remove it to begin anew (its keys, and what is sealed under them, are gone then)`,
      { cause },
    );
  let stored: Stored;
  try {
    stored = JSON.parse(text) as Stored;
  } catch (cause) {
    throw damaged("not JSON", cause);
  }
  if (stored?.version !== VERSION || !Array.isArray(stored.keys) || typeof stored.authority?.keyPem !== "string") {
    throw damaged(`expected version ${VERSION} with authority and keys`);
  }
  if (stored.region !== owner.region || stored.account !== owner.account) {
    throw damaged(`made for account ${stored.account} in ${stored.region}, not ${owner.account} in ${owner.region}`);
  }
  const keys = stored.keys.map(({ id, createdAtMs, materialBase64, policy, enabled }): LocalKey => {
    const material = new Uint8Array(Buffer.from(String(materialBase64), "base64"));
    if (!UUID.test(id) || material.length !== MATERIAL_BYTES) throw damaged("a key is damaged");
    assertPolicy(policy);
    return { id, arn: keyArnOf(owner, id), createdAtMs, material, policy, enabled: enabled !== false };
  });
  return { authority: stored.authority, keys };
};

/** Writes the state; a crash leaves the old or the new one. */
export const saveState = (folder: string | undefined, { region, account }: KeyOwner, state: LocalKmsState): void => {
  if (folder === undefined) return;
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const keys = state.keys.map(
    ({ id, createdAtMs, material, policy, enabled }): StoredKey => ({
      id,
      createdAtMs,
      materialBase64: Buffer.from(material).toString("base64"),
      policy,
      enabled,
    }),
  );
  const stored: Stored = { version: VERSION, region, account, authority: state.authority, keys };
  const path = join(folder, FILE);
  writeFileSync(`${path}.new`, `${JSON.stringify(stored, null, 2)}\n`, { mode: 0o600, flush: true });
  renameSync(`${path}.new`, path);
};

const readIfThere = (path: string): string | undefined => {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
};

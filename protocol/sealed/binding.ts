/**
 * Which bundles an enclave may open under a configuration. To be asked before KMS is: a parent may bring its own AWS
 * account, KMS key and configuration and lay genuine bundles beside them; it gets nothing, because the bundles name
 * their authority. Headers are authenticated when the first ciphertext opens; until then they are a claim, and a false
 * one opens nothing.
 */

import { timingSafeEqual } from "node:crypto";
import { bytesEqual, toHex } from "../bytes.ts";
import { SignerError } from "../errors.ts";
import type { Configuration } from "./configuration.ts";
import type { BundleHeader, BundleKind } from "./header.ts";
import { secretsDigestOf } from "./sealed-secrets.ts";

/**
 * Refuses a key bundle of another authority, group, store or KMS key, or of a generation that the configuration has
 * retired or does not know yet (then the configuration is the old one).
 * @throws SignerError `bad_request` that names the first difference and says what to do
 */
export const checkKeyBundle = (header: BundleHeader, configuration: Configuration): void => {
  checkBundle(header, configuration, "keys");
  const { generation, oldestGeneration } = configuration;
  if (header.generation < oldestGeneration) {
    throw differs("generation", {
      expected: `${oldestGeneration}..${generation}`,
      got: `${header.generation}, which is retired: import the keys again`,
    });
  }
  if (header.generation > generation) {
    throw differs("generation", {
      expected: `${oldestGeneration}..${generation}`,
      got: `${header.generation}, which is newer: use the newest configuration`,
    });
  }
};

/**
 * Refuses secrets that are not those which the signed document names; a generation apart is not allowed here, for they
 * are sealed together.
 * @throws SignerError `bad_request` that names the first difference
 */
export const checkSecretsBundle = (
  { header, sealed }: { readonly header: BundleHeader; readonly sealed: Uint8Array },
  configuration: Configuration,
): void => {
  checkBundle(header, configuration, "configuration-secrets");
  if (header.generation !== configuration.generation) {
    throw differs("generation", { expected: String(configuration.generation), got: String(header.generation) });
  }
  const digest = secretsDigestOf(header, sealed);
  if (timingSafeEqual(digest, configuration.secretsDigest)) return;
  throw differs("secrets digest", {
    expected: toHex(configuration.secretsDigest),
    got: `${toHex(digest)}: these secrets belong to another configuration document`,
  });
};

const checkBundle = (header: BundleHeader, configuration: Configuration, kind: BundleKind): void => {
  if (header.kind !== kind) throw differs("kind", { expected: kind, got: header.kind });
  const pairs = [
    ["authority", header.authority, configuration.authority],
    ["store id", header.storeId, configuration.storeId],
  ] as const;
  for (const [what, of, expected] of pairs) {
    if (!bytesEqual(of, expected)) throw differs(what, { expected: toHex(expected), got: toHex(of) });
  }
  if (header.group !== configuration.group) {
    throw differs("group", { expected: configuration.group, got: header.group });
  }
  if (header.kmsKeyArn !== configuration.kmsKeyArn) {
    throw differs("KMS key ARN", { expected: configuration.kmsKeyArn, got: header.kmsKeyArn });
  }
};

const differs = (what: string, { expected, got }: { expected: string; got: string }): SignerError =>
  new SignerError("bad_request", `bundle: ${what}: the configuration has ${expected}, the bundle ${got}`);

/**
 * What an operator writes of a configuration: the members of the signed document but those that sealing adds, with
 * comforts that a signed document has not: a network by name, the store's CA by file.
 */

import { randomBytes } from "node:crypto";
import { readFileSync, statSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { redisSettingsProblem } from "#enclave/slashing/redis-settings.ts";
import { REDIS_KEY_PREFIX } from "#pool-manager/config.ts";
import { fromHex, ROOT_BYTES, toHex } from "#protocol/bytes.ts";
import { SignerError } from "#protocol/errors.ts";
import type { StoreSettings } from "#protocol/messages/control.ts";
import { type Configuration, parseConfiguration } from "#protocol/sealed/configuration.ts";
import { CONFIGURATION_BYTES_MAX } from "#protocol/sealed/limits.ts";
import { SECRETS_DIGEST_BYTES } from "#protocol/sealed/sealed-secrets.ts";
import { readMembers } from "#protocol/sealed/store-settings.ts";
import { parseUniqueJson } from "#protocol/sealed/unique-json.ts";
import { refuse } from "#protocol/signing/json.ts";
import { loadNetwork } from "#protocol/signing/load-network.ts";
import { networkToJson } from "#protocol/signing/network.ts";
import { SIGNING_TYPES } from "#protocol/signing/types.ts";
import { STORE_ID_BYTES } from "#protocol/slashing/record.ts";

const MEMBERS = [
  "version",
  "group",
  "storeId",
  "generation",
  "oldestGeneration",
  "network",
  "store",
  "kmsKeyArn",
  "signingTypes",
  "clockBoundEpochs",
] as const;
const CA_BYTES_MAX = 256 * 1024;

/** What a template says that an operator knows already. */
export interface TemplateOptions {
  readonly group?: string | undefined;
  readonly kmsKeyArn?: string | undefined;
  readonly network?: string | undefined;
}

/** A draft to fill in, with a store id of its own. */
export const draftTemplate = ({ group, kmsKeyArn, network }: TemplateOptions): string => {
  const draft = {
    version: 1,
    group: group ?? "main",
    storeId: toHex(randomBytes(STORE_ID_BYTES)),
    generation: 1,
    oldestGeneration: 1,
    network: network ?? "mainnet",
    store: {
      kind: "redis",
      database: 0,
      keyPrefix: REDIS_KEY_PREFIX,
      route: { topology: "single", addresses: [{ host: "redis.example.internal", port: 6379 }], seeds: 1 },
      durability: "aof-always",
      tls: {},
    },
    kmsKeyArn: kmsKeyArn ?? "arn:aws:kms:eu-central-1:111122223333:key/00000000-0000-0000-0000-000000000000",
    signingTypes: SIGNING_TYPES,
    clockBoundEpochs: 1,
  } satisfies Record<(typeof MEMBERS)[number], unknown>;
  return `${JSON.stringify(draft, null, 2)}\n`;
};

/**
 * Reads a draft file. The result is checked as the enclave checks it; its secrets digest is still zero.
 * @throws SignerError `bad_request` naming the member
 */
export const readDraft = (path: string, authority: Uint8Array): Configuration => {
  const members = readMembers(parseUniqueJson(readDocument(path), { what: "--document" }), "document", MEMBERS);
  const folder = dirname(resolve(path));
  const document = {
    ...members,
    format: 1,
    authority: toHex(authority),
    network: readNetwork(members.network, folder),
    store: inlineCa(members.store, folder),
    secretsDigest: toHex(new Uint8Array(SECRETS_DIGEST_BYTES)),
  };
  const configuration = parseConfiguration(new Uint8Array(Buffer.from(JSON.stringify(document))));
  checkStore(configuration.store);
  return configuration;
};

const readDocument = (path: string): Uint8Array => {
  try {
    const { size } = statSync(path);
    if (size <= CONFIGURATION_BYTES_MAX) return new Uint8Array(readFileSync(path));
  } catch (cause) {
    throw new SignerError("bad_request", `--document ${path}: cannot be read`, { cause });
  }
  throw new SignerError("bad_request", `--document ${path}: expected at most ${CONFIGURATION_BYTES_MAX} bytes`);
};

/** A name or file; or `{ use, genesisValidatorsRoot, genesisTimeSeconds }` of a custom one; or everything, as in a signed document. */
const readNetwork = (json: unknown, folder: string): unknown => {
  const readFile = (path: string): string => readFileSync(resolve(folder, path), "utf8");
  if (typeof json === "string") return networkToJson(loadNetwork({ network: json, readFile }));
  if (typeof json !== "object" || json === null || !Object.hasOwn(json, "use")) return json;
  const { use, genesisValidatorsRoot, genesisTimeSeconds } = readMembers(json, "document.network", [
    "use",
    "genesisValidatorsRoot",
    "genesisTimeSeconds",
  ]);
  if (typeof use !== "string") return refuse("document.network.use", "a network's name or a config.yaml", use);
  const given = networkToJson(
    loadNetwork({
      network: use,
      readFile,
      ...(typeof genesisValidatorsRoot === "string" && {
        genesisValidatorsRoot: fromHex(genesisValidatorsRoot, ROOT_BYTES, "document.network.genesisValidatorsRoot"),
      }),
    }),
  );
  return genesisTimeSeconds === undefined ? given : { ...given, genesisTimeSeconds };
};

/** `tls.caFile` becomes `tls.ca`. */
const inlineCa = (store: unknown, folder: string): unknown => {
  const { tls } = (store ?? {}) as { tls?: { caFile?: unknown } };
  const caFile = tls?.caFile;
  if (typeof caFile !== "string") return store;
  const { caFile: _, ...rest } = tls as Record<string, unknown>;
  return { ...(store as object), tls: { ...rest, ca: readCa(resolve(folder, caFile)) } };
};

const readCa = (path: string): string => {
  try {
    if (statSync(path).size <= CA_BYTES_MAX) return readFileSync(path, "utf8");
  } catch (cause) {
    throw new SignerError("bad_request", `document.store.tls.caFile ${path}: cannot be read`, { cause });
  }
  throw new SignerError("bad_request", `document.store.tls.caFile ${path}: expected at most ${CA_BYTES_MAX} bytes`);
};

const checkStore = (store: StoreSettings): void => {
  if (store.kind === "sqlite") return;
  const { route, durability, database, tls } = store;
  if (route === undefined || durability === undefined) return; // the document's parser wants both
  const problem = redisSettingsProblem({ route, durability, database, tls });
  if (problem !== undefined) throw new SignerError("bad_request", `document.store: ${problem}`);
};

/** `config seal`, `keys import | list | remove` as operators run them, up to keys that an attested enclave alone opens. */

import { existsSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type AttributeValue, CreateTableCommand, PutItemCommand } from "@aws-sdk/client-dynamodb";
import { EncryptCommand, KMSClient } from "@aws-sdk/client-kms";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { derivePubkey } from "#enclave/keys/seal.ts";
import { createKmsClient } from "#enclave/kms/kms-client.ts";
import { createRecipient } from "#enclave/kms/recipient.ts";
import { type LocalDynamo, startLocalDynamo } from "#infra/local/dynamodb.ts";
import type { KeyPolicy } from "#infra/local/kms/policy.ts";
import { type LocalKms, startLocalKms } from "#infra/local/kms/start.ts";
import { createTable } from "#pool-manager/keys/dynamo-create-table.ts";
import { createDynamoKeyTable } from "#pool-manager/keys/dynamo-key-table.ts";
import type { StoredConfiguration } from "#pool-manager/keys/key-table.ts";
import { fromHex, toHex } from "#protocol/bytes.ts";
import { checkKeyBundle, checkSecretsBundle } from "#protocol/sealed/binding.ts";
import { verifyConfiguration } from "#protocol/sealed/configuration.ts";
import { type BundleHeader, decodeBundleHeader, encryptionContextOf } from "#protocol/sealed/header.ts";
import { createKeyOpener } from "#protocol/sealed/sealed-key.ts";
import { openSecrets } from "#protocol/sealed/sealed-secrets.ts";
import { openTestDynamo, useAwsEnvironment } from "../helpers/aws-local.ts";
import { makeKey, type TestKey, writeKeystore } from "../helpers/key-files.ts";
import { CREDENTIALS, connectLocal, createAttestationAuthority, GENUINE_PCRS } from "../helpers/kms.ts";
import { createTestbed, type Ended } from "../helpers/testudo.ts";

const PASSWORD = "keystore password of this test";
const STORE_PASSWORD = "store password of this test";

useAwsEnvironment();
const bed = createTestbed();
const attestation = createAttestationAuthority();
let dynamo: LocalDynamo;
let kms: LocalKms;
let tables = 0;

/** Operators make data keys; the genuine image alone opens them. */
const POLICY: KeyPolicy = {
  Statement: [
    { Effect: "Allow", Principal: "*", Action: "kms:GenerateDataKey", Resource: "*" },
    {
      Effect: "Allow",
      Principal: "*",
      Action: "kms:Decrypt",
      Resource: "*",
      Condition: { StringEqualsIgnoreCase: { "kms:RecipientAttestation:ImageSha384": GENUINE_PCRS[0] } },
    },
  ],
};

beforeAll(async () => {
  dynamo = await startLocalDynamo();
  kms = await startLocalKms({ credentials: [CREDENTIALS], keyPolicy: POLICY, verifyAttestation: attestation.verify });
});
beforeEach(() => {
  for (const kind of ["throttle", "fail", "hang", "deny"] as const) kms.faults.set(kind, 0);
});
afterAll(async () => {
  await bed.close();
  await kms.close();
  await dynamo.close();
});

/** An operator's folder with a key, a document and everything that commands need. */
const newOperator = async () => {
  tables += 1;
  const folder = bed.folder();
  const path = (name: string): string => join(folder, name);
  const table = `testudo-${tables}`;
  const authority = (await bed.run("operator", "init", path("authority.pem"))).stdout.trim();
  writeFileSync(path("ca.pem"), kms.caPem);
  writeFileSync(path("redis.txt"), `${STORE_PASSWORD}\n`, { mode: 0o600 });
  writeFileSync(path("password.txt"), `${PASSWORD}\n`);
  const place = ["--table", table, "--region", "eu-central-1", "--dynamodb-endpoint", dynamo.url];
  const at = ["--kms-endpoint", kms.url, "--kms-ca", path("ca.pem")];
  const template = await bed.run(
    ...["config", "seal", "--print-template", "--network", "hoodi", "--group", "fleet-1", "--kms-key", kms.keyArn],
  );
  const draft = JSON.parse(template.stdout) as Record<string, unknown>;
  return {
    path,
    table,
    authority,
    draft,
    storeId: draft.storeId as string,
    seal: (change: Record<string, unknown> = {}, ...args: string[]): Promise<Ended> => {
      writeFileSync(path("config.json"), JSON.stringify({ ...draft, ...change }));
      return bed.run(
        ...["config", "seal", "--document", path("config.json"), "--authority-key", path("authority.pem")],
        ...["--mac-keys-file", path("mac-keys.bin"), "--store-password-file", path("redis.txt"), ...place, ...at],
        ...args,
      );
    },
    importArgs: (keystores: string, ...args: string[]): string[] => [
      ...["keys", "import", "--keystores", keystores, "--password-file", path("password.txt"), "--threads", "2"],
      ...["--authority", path("authority.pem"), "--group", "fleet-1", ...place, ...at, ...args],
    ],
    keys: (command: "list" | "remove", ...args: string[]): Promise<Ended> =>
      bed.run("keys", command, "--from", "aws", "--group", "fleet-1", ...place, ...args),
  };
};

const writeKeystores = async (keys: readonly TestKey[]): Promise<string> => {
  const folder = bed.folder();
  for (const [index, key] of keys.entries()) {
    await writeKeystore(folder, `keystore-${index}`, { key, password: PASSWORD });
  }
  return folder;
};

/** Opens everything in a table as an enclave of the genuine image does. */
const openAsEnclave = async (table: string, authority: string, { pcr0 }: { pcr0?: string } = {}) => {
  const session = openTestDynamo({ table, endpoint: dynamo.url, group: "fleet-1" });
  const recipient = await createRecipient(attestation.module({ ...GENUINE_PCRS, ...(pcr0 && { 0: pcr0 }) }));
  const client = createKmsClient(
    { keyArn: kms.keyArn, endpoint: kms.url, ca: kms.caPem },
    { recipient, connect: () => connectLocal(kms.port), now: () => performance.now(), random: Math.random },
  );
  const calls = client.session(CREDENTIALS);
  const dataKeyOf = (header: BundleHeader) => calls.decryptDataKey(header.wrappedDataKey, encryptionContextOf(header));
  try {
    const keyTable = createDynamoKeyTable(session, { onProblem: (problem) => expect.fail(JSON.stringify(problem)) });
    const stored = (await keyTable.configuration()) as StoredConfiguration;
    const configuration = verifyConfiguration(stored.document, stored.signature, fromHex(authority, 32, "authority"));
    const secretsHeader = decodeBundleHeader(stored.secretsHeader);
    checkSecretsBundle({ header: secretsHeader, sealed: stored.sealedSecrets }, configuration);
    const dataKey = await dataKeyOf(secretsHeader);
    const secrets = openSecrets({ header: secretsHeader, dataKey }, stored.sealedSecrets);
    const keys = new Map<string, string>();
    for await (const bundle of keyTable.bundles()) {
      const header = decodeBundleHeader(bundle.header);
      checkKeyBundle(header, configuration);
      const opener = createKeyOpener({ header, dataKey: await dataKeyOf(header), derivePubkey });
      for (const { pubkey, sealed } of bundle.keys) keys.set(toHex(pubkey), toHex(opener.open(pubkey, sealed)));
    }
    return { configuration, secrets, keys };
  } finally {
    calls.close();
    session.close();
  }
};

const asMap = (keys: readonly TestKey[]): Map<string, string> =>
  new Map(keys.map(({ pubkey, secret }) => [pubkey, secret]));
const expectNoSecret = ({ stdout, stderr }: Ended, keys: readonly TestKey[] = []): void => {
  for (const secret of [PASSWORD, STORE_PASSWORD, ...keys.map((key) => key.secret.slice(2))]) {
    expect(stdout + stderr).not.toContain(secret);
  }
};

describe("a fleet's first day", () => {
  let operator: Awaited<ReturnType<typeof newOperator>>;
  const keys = Array.from({ length: 5 }, makeKey);
  let keystores: string;
  beforeAll(async () => {
    operator = await newOperator();
    keystores = await writeKeystores(keys);
  });

  it("the configuration is sealed, and an attested enclave opens it", async () => {
    const sealed = await operator.seal({}, "--create-table");
    expect(sealed).toMatchObject({ code: 0, stderr: "" });
    expectNoSecret(sealed);
    expect(sealed.stdout).toContain(`authority     ${operator.authority}\n`);
    expect(sealed.stdout).toMatch(/version {7}1, the first\n/);
    expect(statSync(operator.path("mac-keys.bin")).mode & 0o777).toBe(0o600);
    const { configuration, secrets } = await openAsEnclave(operator.table, operator.authority);
    expect(configuration).toMatchObject({ version: 1, group: "fleet-1", kmsKeyArn: kms.keyArn });
    expect(toHex(configuration.storeId)).toBe(operator.storeId);
    expect(Buffer.from(secrets.storePassword).toString()).toBe(STORE_PASSWORD);
    expect([...secrets.macKeys.macKeys.keys()]).toEqual([1]);
  });

  it("and another image gets nothing", async () => {
    await expect(openAsEnclave(operator.table, operator.authority, { pcr0: "cd".repeat(48) })).rejects.toMatchObject({
      reason: "access_denied",
    });
  });

  it("keystores are imported by one KMS call; one that does not open is named and stops nobody", async () => {
    await writeKeystore(keystores, "keystore-wrong", { key: makeKey(), password: "another password" });
    const before = kms.calls("GenerateDataKey");
    const imported = await bed.run(...operator.importArgs(keystores));
    expect(imported.code).toBe(1);
    expectNoSecret(imported, keys);
    expect(imported.stdout).toContain(`imported 5 keys in 1 bundles for authority ${operator.authority}\n`);
    expect(imported.stdout).toContain("0 were there already, 1 failed\n");
    expect(imported.stderr).toContain("failed: keystore-wrong.json: keystore: the password does not open it");
    expect(imported.stderr).toContain("importing keys: 6 of 6");
    expect(kms.calls("GenerateDataKey") - before).toBe(1);
    expect((await openAsEnclave(operator.table, operator.authority)).keys).toEqual(asMap(keys));
  });

  it("importing again changes nothing and asks nothing of KMS", async () => {
    const before = kms.calls("GenerateDataKey");
    const again = await bed.run(...operator.importArgs(await writeKeystores(keys)));
    expect(again).toMatchObject({ code: 0 });
    expect(again.stdout).toContain("imported 0 keys in 0 bundles");
    expect(again.stdout).toContain("5 were there already, 0 failed\n");
    expect(kms.calls("GenerateDataKey") - before).toBe(0);
  });

  it("keys are listed, for people and for programs", async () => {
    const lines = await operator.keys("list");
    expect(lines).toMatchObject({ code: 0, stderr: "5 keys, 0 removed\n" });
    for (const { pubkey } of keys) expect(lines.stdout).toContain(`${pubkey}  live `);
    const rows = JSON.parse((await operator.keys("list", "--json")).stdout) as { pubkey: string; state: string }[];
    expect(rows.map(({ pubkey }) => pubkey)).toEqual(keys.map(({ pubkey }) => pubkey).sort());
  });

  it("a removed key stays removed until it is told to come back", async () => {
    const [gone, ...left] = keys as [TestKey, ...TestKey[]];
    const removed = await operator.keys("remove", "--pubkeys", `${gone.pubkey},0x${"00".repeat(48)}`);
    expect(removed).toMatchObject({ code: 1, stdout: "1 removed, 0 removed before, 1 not there\n" });
    expect(removed.stderr).toContain(`not in group fleet-1: 0x${"00".repeat(48)}`);
    expect((await openAsEnclave(operator.table, operator.authority)).keys).toEqual(asMap(left));
    expect((await operator.keys("list")).stdout).toMatch(new RegExp(`${gone.pubkey} {2}removed {2}20`));

    const folder = await writeKeystores(keys);
    const kept = await bed.run(...operator.importArgs(folder));
    expect(kept.stdout).toContain("4 were there already, 1 removed before (--restore brings them back), 0 failed");
    const restored = await bed.run(...operator.importArgs(folder, "--restore"));
    expect(restored.stdout).toContain("imported 1 keys in 1 bundles");
    expect((await openAsEnclave(operator.table, operator.authority)).keys).toEqual(asMap(keys));
  });

  it("the next configuration keeps the MAC keys and never falls behind", async () => {
    const first = await openAsEnclave(operator.table, operator.authority);
    expect(await operator.seal()).toMatchObject({
      code: 2,
      stderr: expect.stringContaining("document.version: expected 2 or more, for 1 is in the table; got 1"),
    });
    const second = await operator.seal({ version: 2, signingTypes: ["ATTESTATION"] });
    expect(second).toMatchObject({ code: 0, stdout: expect.stringMatching(/version {7}2, after 1\n/) });
    const now = await openAsEnclave(operator.table, operator.authority);
    expect(now.configuration).toMatchObject({ version: 2, signingTypes: ["ATTESTATION"] });
    expect(now.secrets.macKeys).toEqual(first.secrets.macKeys);
    expect(now.keys).toEqual(asMap(keys));
  });

  it("without its MAC keys it is refused, and no file is made in their place", async () => {
    const elsewhere = join(bed.folder(), "mac-keys.bin");
    const ended = await operator.seal({ version: 3 }, "--mac-keys-file", elsewhere);
    expect(ended).toMatchObject({ code: 2, stderr: expect.stringContaining("expected the file of the first seal") });
    expect(existsSync(elsewhere)).toBe(false);
    const moved = await operator.seal({ version: 3, storeId: `0x${"07".repeat(16)}` });
    expect(moved).toMatchObject({ code: 2, stderr: expect.stringMatching(/expected the keys of store 0x0707/) });
  });
});

it("an import that is killed is completed by the next one", async () => {
  const operator = await newOperator();
  const keys = Array.from({ length: 60 }, makeKey);
  const folder = await writeKeystores(keys);
  const explicit = ["--create-table", "--store-id", operator.storeId, "--generation", "1", "--kms-key", kms.keyArn];
  const first = bed.start(...operator.importArgs(folder, ...explicit));
  await first.waitFor(/importing keys: \d+ of 60/, { stream: "stderr" });
  first.signal("SIGKILL");
  expect((await first.ended).code).toBeNull();
  const before = JSON.parse((await operator.keys("list", "--json")).stdout) as unknown[];
  expect(before.length).toBeGreaterThan(0);
  expect(before.length).toBeLessThan(60);

  const second = await bed.run(...operator.importArgs(folder, ...explicit));
  expect(second).toMatchObject({ code: 0 });
  expect(second.stdout).toContain(`imported ${60 - before.length} keys in 1 bundles`);
  expect(second.stdout).toContain(`${before.length} were there already, 0 failed`);
  await operator.seal();
  expect((await openAsEnclave(operator.table, operator.authority)).keys).toEqual(asMap(keys));
});

describe("the table of AWS's guidance", () => {
  const client = { table: "guidance", endpoint: "" };
  const keys = Array.from({ length: 5 }, makeKey) as [TestKey, TestKey, TestKey, TestKey, TestKey];
  const MNEMONIC = "void modify wave begin earn van culture morning dose state merit reject";
  let guidanceArn: string;

  /** A row as the guidance's key generator writes it. */
  const rowOf = async (key: TestKey, change: Record<string, unknown> = {}, secrets: object = {}) => {
    const folder = bed.folder();
    await writeKeystore(folder, "one", { key, password: PASSWORD });
    const plaintext = JSON.stringify({
      keystore_b64: readFileSync(join(folder, "one.json")).toString("base64"),
      password_b64: Buffer.from(PASSWORD).toString("base64"),
      mnemonic_b64: Buffer.from(MNEMONIC).toString("base64"),
      ...secrets,
    });
    const { CiphertextBlob } = await sdk.send(
      new EncryptCommand({ KeyId: guidanceArn, Plaintext: Buffer.from(plaintext) }),
    );
    return {
      web3signer_uuid: { S: "none" },
      pubkey: { S: key.pubkey.slice(2) },
      active: { BOOL: true },
      chain: { S: "hoodi" },
      encrypted_key_password_mnemonic_b64: { S: Buffer.from(CiphertextBlob as Uint8Array).toString("base64") },
      ...change,
    } as Record<string, AttributeValue>;
  };
  let sdk: KMSClient;

  beforeAll(async () => {
    guidanceArn = kms.createKey({ Statement: [{ Effect: "Allow", Principal: "*", Action: "kms:*", Resource: "*" }] });
    sdk = new KMSClient({ region: kms.region, endpoint: kms.url, requestHandler: { httpsAgent: { ca: kms.caPem } } });
    const session = openTestDynamo({ ...client, endpoint: dynamo.url });
    await session.client.send(
      new CreateTableCommand({
        TableName: client.table,
        KeySchema: [
          { AttributeName: "web3signer_uuid", KeyType: "HASH" },
          { AttributeName: "pubkey", KeyType: "RANGE" },
        ],
        AttributeDefinitions: [
          { AttributeName: "web3signer_uuid", AttributeType: "S" },
          { AttributeName: "pubkey", AttributeType: "S" },
        ],
        BillingMode: "PAY_PER_REQUEST",
      }),
    );
    await createTable(session); // it is there; waits until it can be used
    const rows = [
      await rowOf(keys[0]),
      await rowOf(keys[1]),
      await rowOf(keys[2], { active: { BOOL: false } }),
      await rowOf(keys[3], {}, { password_b64: Buffer.from("another").toString("base64") }),
      await rowOf(keys[0], { pubkey: { S: keys[4].pubkey.slice(2) } }),
      await rowOf(makeKey(), { pubkey: { S: "nonsense" } }),
      await rowOf(keys[4], { web3signer_uuid: { S: "somebody else" } }),
    ];
    for (const Item of rows) await session.client.send(new PutItemCommand({ TableName: client.table, Item }));
    session.close();
  });
  afterAll(() => sdk.destroy());

  it("gives its active keys to attested enclaves; what is wrong is named; nothing of a mnemonic is seen", async () => {
    const operator = await newOperator();
    await operator.seal({}, "--create-table");
    const args = [
      ...["keys", "migrate-guidance", "--guidance-table", client.table, "--guidance-uuid", "none"],
      ...["--guidance-kms-key", guidanceArn],
      ...operator.importArgs("unused").slice(6),
    ];
    const migrated = await bed.run(...args);
    expect(migrated.code).toBe(1);
    expectNoSecret(migrated, keys);
    expect(migrated.stdout + migrated.stderr).not.toContain("void modify");
    expect(migrated.stdout).toContain("imported 2 keys in 1 bundles");
    expect(migrated.stderr).toContain("1 rows are not active and were left out");
    expect(migrated.stderr).toContain(`failed: ${keys[3].pubkey.slice(2)}: keystore: the password does not open it`);
    expect(migrated.stderr).toContain(`expected the keystore of ${keys[4].pubkey}, got that of ${keys[0].pubkey}`);
    expect(migrated.stderr).toContain("failed: nonsense: pubkey: expected 48 bytes of hex");
    const got = await openAsEnclave(operator.table, operator.authority);
    expect(got.keys).toEqual(asMap([keys[0], keys[1]]));

    // Again, with the inactive one: what is there is not decrypted a second time.
    const before = kms.calls("Decrypt");
    const again = await bed.run(...args, "--inactive");
    expect(again.stdout).toContain("imported 1 keys in 1 bundles");
    expect(again.stdout).toContain("2 were there already, 3 failed");
    expect(kms.calls("Decrypt") - before).toBe(3);
  });

  it("is refused without the right to decrypt, and nothing is taken", async () => {
    const operator = await newOperator();
    await operator.seal({}, "--create-table");
    const args = operator.importArgs("unused").slice(6);
    // A policy as the guidance has it: its own enclave alone.
    const locked = kms.createKey(POLICY);
    const ended = await bed.run(
      ...["keys", "migrate-guidance", "--guidance-table", client.table, "--guidance-uuid", "none"],
      ...["--guidance-kms-key", locked, ...args],
    );
    expect(ended.code).not.toBe(0);
    expect((await operator.keys("list")).stderr).toBe("0 keys, 0 removed\n");
    const nobody = await bed.run(
      ...["keys", "migrate-guidance", "--guidance-table", client.table, "--guidance-uuid", "nobody"],
      ...["--guidance-kms-key", guidanceArn, ...args],
    );
    expect(nobody).toMatchObject({ code: 2, stderr: expect.stringContaining('there is no web3signer_uuid "nobody"') });
  });
});

describe("what does not fit is refused with a word that helps", () => {
  let operator: Awaited<ReturnType<typeof newOperator>>;
  let keystores: string;
  beforeAll(async () => {
    operator = await newOperator();
    keystores = await writeKeystores([makeKey()]);
    expect(await operator.seal({}, "--create-table")).toMatchObject({ code: 0 });
  });
  const importWith = (...args: string[]): Promise<Ended> => bed.run(...operator.importArgs(keystores, ...args));

  it.each<[string, string[], RegExp]>([
    ["another authority", ["--authority", `0x${"11".repeat(32)}`], /authority/],
    ["another store", ["--store-id", `0x${"11".repeat(16)}`], /bundle: store id: the configuration has 0x/],
    ["a generation to come", ["--generation", "2"], /generation.*which is newer/],
    ["an alias", ["--kms-key", "alias/testudo"], /--kms-key: expected arn:aws:kms/],
    ["no keystores", ["--keystores", "cli"], /--keystores cli: expected a folder with keystores/],
    ["no password", ["--password-file", "/nonexistent"], /--password-file \/nonexistent: expected a readable file/],
    ["no such table", ["--table", "nowhere"], /no such table.*--create-table/],
    ["a wrong group", ["--group", "Main!"], /--group: expected 1\.\.64 of a-z/],
  ])("%s", async (_what, args, text) => {
    const ended = await importWith(...args);
    expect(ended).toMatchObject({ code: 2, stdout: "" });
    expect(ended.stderr).toMatch(text);
    expect((await operator.keys("list")).stderr).toBe("0 keys, 0 removed\n");
  });

  it.each<[string, Record<string, unknown>, RegExp]>([
    ["a misspelt member", { signingtypes: [] }, /document: expected only version, group/],
    ["an unknown network", { network: "goerli" }, /network: expected mainnet, hoodi/],
    ["a chain without a root", { network: "minimal" }, /genesisValidatorsRoot/],
    ["no version", { version: 0 }, /version: expected a whole number 1\.\./],
    [
      "a store that is not durable",
      {
        store: {
          kind: "redis",
          database: 0,
          keyPrefix: "t",
          route: { topology: "single", addresses: [{ host: "a", port: 1 }], seeds: 1 },
          durability: "replicated:2",
        },
      },
      /document\.store: /,
    ],
    ["a type twice", { signingTypes: ["BLOCK_V2", "BLOCK_V2"] }, /signingTypes/],
  ])("a document with %s", async (_what, change, text) => {
    const ended = await operator.seal({ version: 9, ...change });
    expect(ended).toMatchObject({ code: 2, stdout: "" });
    expect(ended.stderr).toMatch(text);
  });

  it("KMS that denies, and KMS that throttles at first", async () => {
    kms.faults.set("deny", Number.POSITIVE_INFINITY);
    const denied = await importWith();
    expect(denied).toMatchObject({ code: 2, stderr: expect.stringMatching(/KMS: AccessDeniedException.*key policy/) });
    kms.faults.set("deny", 0);
    expect((await operator.keys("list")).stderr).toBe("0 keys, 0 removed\n");
    kms.faults.set("throttle", 2);
    expect(await importWith()).toMatchObject({ code: 0, stdout: expect.stringContaining("imported 1 keys") });
  });

  it("secrets that others can read", async () => {
    const open = bed.file("password.txt", STORE_PASSWORD);
    writeFileSync(open, STORE_PASSWORD, { mode: 0o644 });
    const ended = await operator.seal({ version: 9 }, "--store-password-file", open);
    expect(ended).toMatchObject({ code: 2, stderr: expect.stringContaining("expected mode 600, got 644") });
  });

  it("commands that say too little", async () => {
    expect(await bed.run("keys", "list", "--from", "aws")).toMatchObject({
      code: 2,
      stderr: expect.stringContaining("required option '--table <name>' not specified"),
    });
    expect(await bed.run("config", "seal")).toMatchObject({
      code: 2,
      stderr: expect.stringContaining("required option '--authority-key <file>' not specified"),
    });
    expect(await bed.run("keys", "remove", "--pubkeys", "0x12")).toMatchObject({
      code: 2,
      stderr: expect.stringContaining("required option '--from <where>' not specified"),
    });
    expect(readFileSync(operator.path("mac-keys.bin")).length).toBeGreaterThan(0);
  });
});

/** The whole path as processes: an operator seals and imports, `up --keys-from aws` opens by attestation, signs and reloads. */

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, it } from "vitest";
import { type LocalDynamo, startLocalDynamo } from "#infra/local/dynamodb.ts";
import { createDocumentVerifier } from "#infra/local/kms/document-verifier.ts";
import type { KeyPolicy } from "#infra/local/kms/policy.ts";
import { type LocalKms, startLocalKms } from "#infra/local/kms/start.ts";
import { openDevelopmentAuthority } from "#infra/local/nsm/authority.ts";
import { measureWorker } from "#infra/local/nsm/measure.ts";
import { ROOT_FOLDER } from "../helpers/attested.ts";
import { useAwsEnvironment } from "../helpers/aws-local.ts";
import { attestation, randao, sign, signVerified } from "../helpers/duties.ts";
import { makeKey, type TestKey, writeKeystore } from "../helpers/key-files.ts";
import { CREDENTIALS } from "../helpers/kms.ts";
import { createTestbed, type Ended } from "../helpers/testudo.ts";

const PASSWORD = "keystore password of this test";
const APPLIED_MS = 20_000;

useAwsEnvironment();
const bed = createTestbed();
const nsmFolder = bed.folder();
let dynamo: LocalDynamo;
let kms: LocalKms;

/** Operators make data keys; an enclave with this PCR0 alone opens them. */
const policyFor = (pcr0: Uint8Array): KeyPolicy => ({
  Statement: [
    { Effect: "Allow", Principal: "*", Action: "kms:GenerateDataKey", Resource: "*" },
    {
      Effect: "Allow",
      Principal: "*",
      Action: "kms:Decrypt",
      Resource: "*",
      Condition: { StringEqualsIgnoreCase: { "kms:RecipientAttestation:PCR0": Buffer.from(pcr0).toString("hex") } },
    },
  ],
});

beforeAll(async () => {
  dynamo = await startLocalDynamo();
  kms = await startLocalKms({
    credentials: [CREDENTIALS],
    keyPolicy: policyFor(measureWorker(ROOT_FOLDER).pcr0),
    verifyAttestation: createDocumentVerifier(openDevelopmentAuthority(nsmFolder, Date.now()).root),
  });
});
afterAll(async () => {
  await bed.close();
  await kms.close();
  await dynamo.close();
});

/** An operator with a sealed configuration in the table. */
const newFleet = async () => {
  const folder = bed.folder();
  const path = (name: string): string => join(folder, name);
  writeFileSync(path("ca.pem"), kms.caPem);
  writeFileSync(path("password.txt"), `${PASSWORD}\n`);
  const table = ["--table", "testudo-keys", "--region", "eu-central-1", "--dynamodb-endpoint", dynamo.url];
  const at = [...table, "--kms-endpoint", kms.url, "--kms-ca", path("ca.pem")];
  const run = async (...args: string[]): Promise<Ended> => {
    const ended = await bed.run(...args);
    if (ended.code !== 0) throw new Error(`${args.join(" ")}: ${ended.stderr}`);
    return ended;
  };
  await run("operator", "init", path("authority.pem"));
  const template = await run(
    ...["config", "seal", "--print-template", "--network", "mainnet", "--group", "fleet-1", "--kms-key", kms.keyArn],
  );
  const draft = { ...JSON.parse(template.stdout), store: { kind: "sqlite" }, clockBoundEpochs: "off" };
  writeFileSync(path("config.json"), JSON.stringify(draft));
  await run(
    ...["config", "seal", "--document", path("config.json"), "--authority-key", path("authority.pem")],
    ...["--mac-keys-file", path("mac-keys.bin"), "--create-table", ...at],
  );
  let batches = 0;
  return {
    authorityPath: path("authority.pem"),
    group: ["--keys-from", "aws", "--group", "fleet-1", ...at],
    add: async (keys: readonly TestKey[]): Promise<void> => {
      batches += 1;
      const keystores = bed.folder();
      for (const [index, key] of keys.entries()) {
        await writeKeystore(keystores, `keystore-${batches}-${index}`, { key, password: PASSWORD });
      }
      await run(
        ...["keys", "import", "--keystores", keystores, "--password-file", path("password.txt"), "--threads", "1"],
        ...["--authority", path("authority.pem"), "--group", "fleet-1", ...at],
      );
    },
    remove: ({ pubkey }: TestKey) =>
      run("keys", "remove", "--from", "aws", "--group", "fleet-1", ...table, "--pubkeys", pubkey),
  };
};

const listed = async (url: string): Promise<string[]> =>
  ((await (await fetch(`${url}/api/v1/eth2/publicKeys`)).json()) as string[]).sort();

const expectListed = async (url: string, keys: readonly TestKey[]): Promise<void> => {
  const expected = keys.map(({ pubkey }) => pubkey).sort();
  const patience = performance.now() + APPLIED_MS;
  while ((await listed(url)).join() !== expected.join() && performance.now() < patience) await sleep(50);
  expect(await listed(url)).toEqual(expected);
};

it("opens keys for the measured program, signs, and takes one key out and one in by reload; another program gets nothing", async () => {
  const fleet = await newFleet();
  const [first, second, third] = [makeKey(), makeKey(), makeKey()];
  await fleet.add([first, second]);
  const up = await bed.up([...fleet.group, "--software-nsm", nsmFolder, "--enclaves", "2"]);
  expect(up.command.stdout()).toContain("Attested mode");
  await expectListed(up.url, [first, second]);
  await signVerified(up.url, first.pubkey, attestation({ source: 3, target: 4 }));
  await signVerified(up.url, second.pubkey, randao(4));

  const { enclaves } = up.processes();
  await fleet.remove(first);
  await fleet.add([third]);
  expect((await fetch(`${up.url}/reload`, { method: "POST" })).ok).toBe(true);
  await expectListed(up.url, [second, third]);
  await signVerified(up.url, third.pubkey, attestation({ source: 3, target: 4 }));
  expect((await sign(up.url, first.pubkey, randao(5).body)).status).toBe(404);
  expect(up.processes().enclaves).toEqual(enclaves);
  expect(enclaves.size).toBe(2);
  for (const secret of [CREDENTIALS.secretAccessKey, CREDENTIALS.sessionToken as string]) {
    expect(up.command.stderr()).not.toContain(secret);
  }

  // The authority is the operator; MAC keys are not the pool-manager's to make.
  const operate = (...args: string[]): Promise<Ended> =>
    bed.run("slashing", ...args, "--data", up.dataPath, "--operator-key", fleet.authorityPath);
  expect(await operate("recover", "--epoch", "100")).toMatchObject({ code: 0 });
  const vote = attestation({ source: 4, target: 5 });
  expect((await sign(up.url, third.pubkey, vote.body)).status).toBe(412);
  await signVerified(up.url, third.pubkey, attestation({ source: 100, target: 101 }));
  expect((await operate("rotate-mac")).stderr).toMatch(/MAC keys are sealed.*config seal/);
  await up.stop();

  // The key now belongs to another program than this one.
  kms.putKeyPolicy(kms.keyArn, policyFor(new Uint8Array(48).fill(7)));
  const refused = bed.start(
    ...["pool", "--data", bed.folder(), ...fleet.group, "--software-nsm", nsmFolder, "--enclaves", "1"],
  );
  const [line] = await refused.waitFor(/enclave lost.*AccessDeniedException.*PCR conditions.*/, { stream: "stderr" });
  expect(line).not.toContain("ready");
  expect(refused.stderr()).not.toContain("enclave ready");
  refused.signal("SIGTERM");
  await refused.ended;
}, 180_000);

it.each([
  ["--keys-from aws alone", ["--keys-from", "aws"], /expected --group, --table and --region/],
  [
    "an option of it without it",
    ["--kms-endpoint", "https://localhost:1"],
    /--kms-endpoint: belongs to --keys-from aws/,
  ],
  [
    "a setting that the authority signs",
    ["--keys-from", "aws", "--group", "a", "--table", "abc", "--region", "eu-central-1", "--network", "hoodi"],
    /--network: comes with the sealed configuration/,
  ],
  [
    "KMS without TLS",
    ["--keys-from", "aws", "--group", "a", "--table", "abc", "--region", "x", "--kms-endpoint", "http://localhost:1"],
    /--kms-endpoint: expected https/,
  ],
])("refuses %s before anything is started", async (_, args, text) => {
  const ended = await bed.run("up", "--data", bed.folder(), ...args);
  expect(ended.code).not.toBe(0);
  expect(ended.stderr).toMatch(text);
});

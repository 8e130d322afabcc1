/**
 * `npm run demo:aws`: keys that only an attested enclave can open, from generation to rotation, on one machine and without
 * an AWS account. KMS, DynamoDB and the security module are local stand-ins; the commands, the enclaves, the AWS SDK and all
 * cryptography are what a fleet runs. Every step checks what it says; the first that fails ends it with exit code 1.
 */

import { randomBytes } from "node:crypto";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { measureWorker } from "#infra/local/nsm/measure.ts";
import { readAttestation } from "#protocol/attestation/verify.ts";
import { bytesEqual, toHex } from "#protocol/bytes.ts";
import { loadNetwork } from "#protocol/signing/load-network.ts";
import { type Commands, createCommands, type Running } from "./demo/commands.ts";
import { type LocalAws, startLocalAws } from "./demo/local-aws.ts";
import { writeOtherProgram } from "./demo/other-program.ts";
import { createStory, type Say, type Story } from "./demo/story.ts";
import { askForAttestation, epochAt, signVerified } from "./demo/validator.ts";
import { generateKeys } from "./keygen/generate.ts";
import { newMnemonic } from "./keygen/mnemonic.ts";
import { untilStopped } from "./lifetime.ts";

const ROOT_FOLDER = dirname(dirname(fileURLToPath(import.meta.url)));
const GROUP = "demo-fleet";
const KEYS = 100;
const ENCLAVES = 2;
/** Some 15 s on two cores; with 10 s for the way down it is over within a minute. */
const SECONDS_MAX = 45;
const SECONDS_ASKED_MAX = 600;
/** EIP-2335's own cost is 2^18: a second a keystore. */
const CHEAP_SCRYPT = { n: 1024, r: 8, p: 1 } as const;
const POLL_MS = 100;

/** What all steps share. */
interface Stage {
  readonly story: Story;
  readonly commands: Commands;
  readonly aws: LocalAws;
  readonly path: (name: string) => string;
  readonly signal: AbortSignal;
  readonly pcr0: Uint8Array;
  readonly mnemonic: string;
}

/** The enclaves that sign. */
interface Fleet {
  readonly up: Running;
  readonly url: string;
}

const fleetOptions = ({ aws, path }: Stage): string[] => [
  ...["--keys-from", "aws", "--group", GROUP, ...aws.tableOptions, ...aws.kmsOptions],
  ...["--software-nsm", path("nsm")],
];

const seal = ({ story, commands, aws, path, pcr0 }: Stage): Promise<void> =>
  story.step({
    title: "An operator seals a configuration",
    proves: "what the fleet may sign is signed by the operator; its secrets are sealed for enclaves with this PCR0",
    work: async (say) => {
      say(`KMS at ${aws.kms.url}, DynamoDB at ${aws.dynamoUrl}: both of this machine`);
      say(`key policy: kms:Decrypt only for an attested enclave with PCR0 ${short(toHex(pcr0))}`);
      await commands.run(["operator", "init", path("authority.pem")]);
      const template = await commands.run([
        ...["config", "seal", "--print-template", "--network", "mainnet", "--group", GROUP],
        ...["--kms-key", aws.kms.keyArn],
      ]);
      const document = { ...JSON.parse(template.stdout), store: { kind: "sqlite" } };
      writeFileSync(path("config.json"), JSON.stringify(document));
      const { stdout } = await commands.run([
        ...["config", "seal", "--document", path("config.json"), "--authority-key", path("authority.pem")],
        ...["--mac-keys-file", path("mac-keys.bin"), "--create-table", ...aws.tableOptions, ...aws.kmsOptions],
      ]);
      for (const line of stdout.split("\n").slice(0, 3)) say(line);
    },
  });

/** Makes keystores of consecutive keys in a new folder and imports them. @returns their public keys, 0x-hex */
const generateAndImport = async (
  { commands, aws, path, mnemonic }: Stage,
  { firstIndex, count }: { readonly firstIndex: number; readonly count: number },
  say: Say,
): Promise<string[]> => {
  const out = path(`keys-${firstIndex}`);
  const password = new Uint8Array(
    randomBytes(24)
      .toString("base64url")
      .split("")
      .map((it) => it.charCodeAt(0)),
  );
  writeFileSync(path(`password-${firstIndex}.txt`), password, { mode: 0o600 });
  const { pubkeys } = await generateKeys(
    {
      ...{ firstIndex, count, out, password, amountGwei: 32e9, withdrawal: { kind: "bls" } },
      mnemonic: { isNew: true, get: () => mnemonic },
      network: loadNetwork({ network: "mainnet", readFile: (file) => readFileSync(file, "utf8") }),
    },
    { now: Date.now, onProgress: () => undefined, cost: CHEAP_SCRYPT },
  );
  const { stdout } = await commands.run([
    ...["keys", "import", "--keystores", out, "--password-file", path(`password-${firstIndex}.txt`)],
    ...["--authority", path("authority.pem"), "--group", GROUP, ...aws.tableOptions, ...aws.kmsOptions],
  ]);
  say(stdout.split("\n")[0] ?? "");
  return pubkeys.map((pubkey) => `0x${pubkey}`);
};

const importKeys = (stage: Stage): Promise<string[]> =>
  stage.story.step({
    title: `${KEYS} validator keys are generated and sealed into DynamoDB`,
    proves: "each secret lies in the table encrypted, under a data key that KMS alone can unwrap",
    work: (say) => {
      say("keystores as `testudo keys generate` makes them, except for their password hash: scrypt with n=1024");
      say("instead of 262144, so that you need not wait 100 s. Never do that with keys that count.");
      return generateAndImport(stage, { firstIndex: 0, count: KEYS }, say);
    },
  });

const startFleet = (stage: Stage, pubkeys: readonly string[]): Promise<Fleet> =>
  stage.story.step({
    title: `${ENCLAVES} enclaves start, prove what they run, and open the keys`,
    proves: "KMS gave the data keys to attested enclaves only, encrypted to a key that never leaves the enclave",
    work: async (say) => {
      const { commands, aws, path, signal } = stage;
      const up = commands.start([
        ...["up", "--data", path("data"), "--port", "0", "--no-metrics", "--enclaves", String(ENCLAVES)],
        ...["--threads", "1", ...fleetOptions(stage)],
      ]);
      const [, url = ""] = await up.waitFor(
        /Web3Signer API\s+(http:\/\/\S+)[\s\S]*Ctrl-C drains and stops\./,
        "stdout",
      );
      await untilListed(url, { expected: pubkeys, signal });
      say(`${pubkeys.length} keys are listed at ${url}/api/v1/eth2/publicKeys`);
      say(`KMS was asked ${aws.kms.calls("Decrypt")} times: each enclave, once for its secrets and once for all keys`);
      return { up, url };
    },
  });

const signOnce = ({ story, signal }: Stage, { url }: Fleet, pubkey: string): Promise<void> =>
  story.step({
    title: "A validator attests",
    proves: "the key signs, and the enclaves refuse the double vote that would get it slashed",
    work: async (say) => {
      const target = epochAt(Date.now());
      const signature = await signVerified({ url, pubkey, signal }, { target, head: 0xaa });
      say(`${short(pubkey)} signed the attestation of epoch ${target}: ${short(signature)}, verified here`);
      const double = await askForAttestation({ url, pubkey, signal }, { target, head: 0xbb });
      expect(double.status === 412, `expected 412 for another attestation of the same epoch, got ${double.status}`);
      say(`another attestation of the same epoch: refused with ${double.status}`);
    },
  });

const rotate = (stage: Stage, { up, url }: Fleet, pubkeys: readonly string[]): Promise<void> =>
  stage.story.step({
    title: "One key goes out and one comes in, by reload",
    proves: "the table decides which keys sign, and nothing was restarted",
    work: async (say) => {
      const { commands, aws, signal } = stage;
      const [gone = "", ...staying] = pubkeys;
      const { stdout } = await commands.run([
        ...["keys", "remove", "--from", "aws", "--group", GROUP, ...aws.tableOptions, "--pubkeys", gone],
      ]);
      say(stdout.trim());
      const added = await generateAndImport(stage, { firstIndex: KEYS, count: 1 }, say);
      const answer = await fetch(`${url}/reload`, { method: "POST", signal });
      expect(answer.ok, `POST /reload: expected 202, got ${answer.status}`);
      await untilListed(url, { expected: [...staying, ...added], signal });
      const target = epochAt(Date.now());
      await signVerified({ url, pubkey: added[0] ?? "", signal }, { target, head: 0xaa });
      say(`${short(added[0] ?? "")} signs`);
      const refused = await askForAttestation({ url, pubkey: gone, signal }, { target: target + 1, head: 0xaa });
      expect(refused.status === 404, `the removed key: expected 404, got ${refused.status}: ${refused.body}`);
      say(`${short(gone)} is not known any more (404)`);
      const starts = up.stderr().match(/enclave ready/g)?.length;
      expect(starts === ENCLAVES, `expected ${ENCLAVES} starts of enclaves, got ${starts}`);
    },
  });

const attest = ({ story, commands, aws, path, pcr0 }: Stage, { url }: Fleet): Promise<void> =>
  story.step({
    title: "An attestation document is shown and verified, and all enclaves prove which keys they hold",
    proves:
      "anybody can check what runs in an enclave and which keys it holds; here by this machine's root, on AWS by AWS's",
    work: async (say) => {
      const file = path("attestation.bin");
      writeFileSync(file, aws.lastDocument());
      say("what one of them showed to KMS when the new key came:");
      const { stdout } = await commands.run(["attest", "show", file]);
      for (const line of stdout.trimEnd().split("\n")) say(line.length > 110 ? `${line.slice(0, 110)}…` : line);
      const trusting = ["--root", path("nsm/nsm-root.pem")];
      const verified = await commands.run(["attest", "verify", file, "--pcr0", toHex(pcr0), ...trusting]);
      say(verified.stdout.split("\n")[0] ?? "");
      const live = await commands.run(["attest", "verify", "--url", url, "--pcr0", toHex(pcr0), ...trusting]);
      for (const line of live.stdout.trimEnd().split("\n")) say(line);
      const asAws = await commands.run(["attest", "verify", file, "--pcr0", toHex(pcr0)], 1);
      say(`with AWS's root in the place of this machine's own: ${asAws.stderr.split("\n")[0]}`);
      const asOther = await commands.run(["attest", "verify", file, "--pcr0", toHex(otherThan(pcr0)), ...trusting], 1);
      say(`with another PCR0 expected: ${asOther.stderr.split("\n")[0]}`);
    },
  });

const refuseOther = (stage: Stage): Promise<void> =>
  stage.story.step({
    title: "A changed program asks for the same keys",
    proves: "another program has another PCR0, and gets nothing, whoever starts it",
    work: async (say) => {
      const { commands, aws, path, pcr0 } = stage;
      const folder = path("other");
      mkdirSync(folder);
      const main = writeOtherProgram(ROOT_FOLDER, folder);
      const other = measureWorker(folder).pcr0;
      say(`one line more in enclave-worker/policy.ts: PCR0 ${short(toHex(other))} instead of ${short(toHex(pcr0))}`);
      const pool = commands.start(
        ["pool", "--data", path("other-data"), "--enclaves", "1", "--threads", "1", ...fleetOptions(stage)],
        main,
      );
      const [line] = await pool.waitFor(/.*enclave lost.*AccessDeniedException.*/, "stderr");
      const { stderr } = await pool.stop();
      expect(!stderr.includes("enclave ready"), "an enclave with another PCR0 became ready");
      const asked = readAttestation(aws.lastDocument());
      const shown = asked.ok ? asked.document.pcrs.get(0) : undefined;
      expect(shown !== undefined && bytesEqual(shown, other), "KMS was not shown the changed program's PCR0");
      say(
        `its document is genuine, with this PCR0; KMS: ${/AccessDeniedException.*? is not authorized/.exec(line)?.[0]}`,
      );
    },
  });

/** Waits until the gateway lists exactly these keys; the caller's signal bounds it. */
const untilListed = async (
  url: string,
  { expected, signal }: { readonly expected: readonly string[]; readonly signal: AbortSignal },
): Promise<void> => {
  const wanted = [...expected].sort().join();
  for (;;) {
    const answer = await fetch(`${url}/api/v1/eth2/publicKeys`, { signal });
    if (answer.ok && ((await answer.json()) as string[]).sort().join() === wanted) return;
    await sleep(POLL_MS, undefined, { signal });
  }
};

const expect = (holds: boolean, otherwise: string): void => {
  if (!holds) throw new Error(otherwise);
};

const short = (hex: string): string => `${hex.slice(0, 12)}…`;

const otherThan = (pcr: Uint8Array): Uint8Array => pcr.map((byte) => byte ^ 0xff);

const play = async (stage: Stage): Promise<void> => {
  await seal(stage);
  const pubkeys = await importKeys(stage);
  const fleet = await startFleet(stage, pubkeys);
  await signOnce(stage, fleet, pubkeys[1] ?? "");
  await rotate(stage, fleet, pubkeys);
  await attest(stage, fleet);
  await refuseOther(stage);
};

const write = (text: string): void => void process.stdout.write(text);

/** Prepares, plays and cleans up; whatever it started is gone afterwards. */
const main = async (): Promise<void> => {
  process.umask(0o077);
  const { values } = parseArgs({ options: { seconds: { type: "string", default: String(SECONDS_MAX) } } });
  const seconds = Number(values.seconds);
  expect(
    Number.isInteger(seconds) && seconds > 0 && seconds <= SECONDS_ASKED_MAX,
    `--seconds: expected 1..${SECONDS_ASKED_MAX}`,
  );
  const stopped = new AbortController();
  void untilStopped().then((reason) => stopped.abort(new Error(reason)));
  const tooLong = new Error(`not done within ${seconds} s; on a slow machine: npm run demo:aws -- --seconds 300`);
  const timer = setTimeout(() => stopped.abort(tooLong), seconds * 1000);
  const folder = mkdtempSync(join(tmpdir(), "td-"));
  const path = (name: string): string => join(folder, name);
  const startedMs = performance.now();
  let aws: LocalAws | undefined;
  let commands: Commands | undefined;
  try {
    write("Keys that only an attested enclave can open, on this machine and without an AWS account.\n");
    const { pcr0 } = measureWorker(ROOT_FOLDER);
    aws = await startLocalAws({ folder, nsmFolder: path("nsm"), group: GROUP, pcr0 });
    const { signal } = stopped;
    commands = createCommands({ main: join(ROOT_FOLDER, "cli/main.ts"), environment: aws.environment, signal });
    const story = createStory(write, () => performance.now());
    await play({ story, commands, aws, path, signal, pcr0, mnemonic: newMnemonic() });
    write(
      `\nAll of it held, in ${((performance.now() - startedMs) / 1000).toFixed(0)} s. What differs from AWS: this machine ` +
        "vouches for its own enclaves\n(a software NSM, local processes), and KMS and DynamoDB are stand-ins. With AWS: docs/keys.md, section 4.\n",
    );
  } finally {
    clearTimeout(timer);
    await commands?.close();
    await aws?.close();
    rmSync(folder, { recursive: true, force: true });
  }
};

try {
  await main();
  process.exit(0);
} catch (error) {
  process.stderr.write(`\ndemo: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exit(1);
}

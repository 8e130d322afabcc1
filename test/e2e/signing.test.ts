/** Every type of the Web3Signer API, signed by a running Testudo and verified against roots computed by hand. */

import { execFileSync } from "node:child_process";
import { afterAll, beforeAll, describe, expect, it, test } from "vitest";
import { loadNativeSigner } from "#enclave/native/signer.ts";
import { isSlashable } from "#protocol/signing/types.ts";
import { isSignatureOf, registration, rootOf, sign, signatureOf } from "../helpers/duties.ts";
import * as naive from "../helpers/naive-ssz.ts";
import { createTestbed, type Testudo } from "../helpers/testudo.ts";
import { FORK_INFO, HUGE, SAMPLES, withMember } from "../unit/protocol/signing/samples.ts";

const bed = createTestbed();
let testudo: Testudo;
const upWith = (...args: string[]) =>
  bed.up(["--enclaves", "2", "--genesis-validators-root", FORK_INFO.genesis_validators_root, ...args]);
afterAll(() => bed.close());

const isNativeBuilt = loadNativeSigner().kind === "loaded";

const TEXT = { "content-type": "application/json", accept: "text/plain" };

/** An exit as clients of today send it: with the fork of today, signed for ever with Capella's version (EIP-7044). */
const exitWithCurrentFork = () => {
  const forkInfo = {
    fork: { previous_version: "0x04000000", current_version: "0x05000000", epoch: "5" },
    genesis_validators_root: FORK_INFO.genesis_validators_root,
  };
  const body = {
    type: "VOLUNTARY_EXIT",
    fork_info: forkInfo,
    voluntary_exit: { epoch: "300", validator_index: HUGE },
  };
  const object = naive.container(naive.uint64(300), naive.uint64(HUGE));
  const root = naive.signingRoot(object, {
    domainType: "0x04000000",
    version: "0x03000000",
    genesisValidatorsRoot: FORK_INFO.genesis_validators_root,
  });
  return { name: "VOLUNTARY_EXIT with the current fork", type: "VOLUNTARY_EXIT" as const, body, signingRoot: root };
};

// Slashable samples share slots and targets: each gets a key of its own. Registrations must name the key that signs.
const ROWS = [...SAMPLES.filter(({ type }) => type !== "VALIDATOR_REGISTRATION"), exitWithCurrentFork()];
const SLASHABLE = ROWS.filter(({ type }) => isSlashable(type));
const keyOf = (row: (typeof ROWS)[number]): string => testudo.publicKeys[SLASHABLE.indexOf(row) + 1] as string;

describe.each([
  ["the native signer", "--require-native"],
  ["@chainsafe/blst", "--no-native"],
])("every type with %s", (_signer, option) => {
  const it = option === "--require-native" && !isNativeBuilt ? test.skip : test;
  beforeAll(async () => {
    if (it === test) testudo = await upWith(option);
  });
  afterAll(() => testudo?.stop());

  it("says in /healthcheck what it signs with", async () => {
    const signer = async () => /"signer":"(\w+)"/.exec(await (await fetch(`${testudo.url}/healthcheck`)).text())?.[1];
    await expect.poll(signer).toBe(option === "--no-native" ? "portable" : "native");
  });

  it.each(ROWS.map((row) => [row.name, row] as const))("%s", async (_name, row) => {
    const pubkey = keyOf(row);
    await expectSigned({ pubkey, body: row.body, root: row.signingRoot });
  });

  it("VALIDATOR_REGISTRATION", async () => {
    const pubkey = testudo.publicKeys[0] as string;
    const { body, root } = registration(pubkey);
    await expectSigned({ pubkey, body, root });
  });
});

/** The whole contract of one request: JSON and text, twice the same, with the right root sent along; the wrong root is refused. */
const expectSigned = async ({ pubkey, body, root }: { pubkey: string; body: unknown; root: string }): Promise<void> => {
  const { url } = testudo;
  // First, so that nothing is recorded yet: a wrong root must not be signed, and must leave nothing behind.
  for (const name of ["signingRoot", "signing_root"]) {
    const wrong = await sign(url, pubkey, withMember(body, name, rootOf(0x0f)));
    expect(wrong).toMatchObject({ status: 400, headers: { "content-type": "application/json; charset=utf-8" } });
    expect(JSON.parse(wrong.body).message).toBe(`${name}: expected ${root} for this body, got ${rootOf(0x0f)}`);
  }
  const json = await sign(url, pubkey, body);
  expect(json.headers["content-type"]).toBe("application/json; charset=utf-8");
  const signature = signatureOf(json);
  expect(isSignatureOf(signature, { pubkey, root })).toBe(true);
  expect(Object.keys(JSON.parse(json.body))).toEqual(["signature"]);

  for (const headers of [TEXT, { "content-type": "application/json" }]) {
    const text = await sign(url, pubkey, body, headers);
    expect(text).toMatchObject({
      status: 200,
      body: signature,
      headers: { "content-type": "text/plain; charset=utf-8" },
    });
  }
  for (const name of ["signingRoot", "signing_root"]) {
    expect(signatureOf(await sign(url, pubkey, withMember(body, name, root)))).toBe(signature);
  }
  const bare = pubkey.slice(2).toUpperCase();
  expect(signatureOf(await sign(url, bare, body, { accept: "*/*" }))).toBe(signature);
};

describe("what the command line printed", () => {
  beforeAll(async () => {
    testudo = await upWith();
  });
  afterAll(() => testudo.stop());

  it("is a request that works in a shell as it stands", () => {
    const line = /^curl .*$/m.exec(testudo.command.stdout())?.[0] ?? "";
    const output = execFileSync("sh", ["-c", line], { encoding: "utf8" });
    const { signature } = JSON.parse(output) as { signature: string };
    const root = naive.signingRoot(naive.uint64(0), {
      domainType: "0x02000000",
      version: "0x00000000",
      genesisValidatorsRoot: FORK_INFO.genesis_validators_root,
    });
    expect(isSignatureOf(signature, { pubkey: testudo.publicKeys[0] as string, root })).toBe(true);
  });

  it("names the addresses, the folder, the store, the chain and the keys", async () => {
    const text = testudo.command.stdout();
    for (const part of [
      testudo.url,
      `${testudo.metricsUrl}/metrics`,
      testudo.dataPath,
      FORK_INFO.genesis_validators_root,
      "16 development keys, made here",
      testudo.publicKeys[0] as string,
      "CID 16, 17 ",
      "now + 1 epochs",
    ]) {
      expect(text).toContain(part);
    }
    for (const path of ["/upcheck", "/healthcheck", "/api/v1/eth2/publicKeys"]) {
      expect((await fetch(testudo.url + path)).status, path).toBe(200);
    }
    expect((await fetch(`${testudo.metricsUrl}/metrics`)).status).toBe(200);
  });
});

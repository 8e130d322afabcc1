/** `attest verify --url`: against a gateway that lies in every way it can, and one in development mode. What holds: demo-aws.test.ts. */

import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { makeDevelopmentAuthority } from "#infra/local/nsm/authority.ts";
import { createSoftwareNsm } from "#infra/local/nsm/software-nsm.ts";
import { heldKeysDigest } from "#protocol/attestation/held-keys.ts";
import {
  type AttestationRequest,
  decodeAttestationResponse,
  encodeAttestationRequest,
} from "#protocol/attestation/nsm-messages.ts";
import { createTestbed, type Ended } from "../helpers/testudo.ts";
import { sendTo } from "../unit/gateway/running-gateway.ts";

const [FIRST, SECOND] = ["0x".padEnd(98, "a1"), "0x".padEnd(98, "b2")] as const;
const PCR0 = new Uint8Array(48).fill(5);

const bed = createTestbed();
const authority = makeDevelopmentAuthority(Date.now());
const attested = (request: AttestationRequest, by = authority): Uint8Array => {
  const pcrs = new Map([0, 1, 2].map((index) => [index, PCR0] as const));
  const nsm = createSoftwareNsm({ authority: by, moduleId: "i-test-enc16", pcrs, now: Date.now });
  return decodeAttestationResponse(nsm.answer(encodeAttestationRequest(request)));
};

/** What the gateway answers; each test changes some of it. */
interface Answers {
  enclaves: string;
  keys: readonly string[];
  status: number;
  document: (nonce: Uint8Array) => Uint8Array;
}
let answers: Answers;
let server: Server;
let url: string;
let rootFile: string;

beforeAll(async () => {
  rootFile = bed.file("root.pem", authority.rootPem);
  server = createServer((request, response) => {
    const { pathname, searchParams } = new URL(request.url ?? "/", "http://localhost");
    if (pathname === "/api/v1/enclaves") return response.end(answers.enclaves);
    if (pathname === "/api/v1/eth2/publicKeys") return response.end(JSON.stringify(answers.keys));
    const nonce = new Uint8Array(Buffer.from((searchParams.get("nonce") ?? "").slice(2), "hex"));
    response.statusCode = answers.status;
    return response.end(answers.document(nonce));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterAll(async () => {
  server.closeAllConnections();
  server.close();
  await bed.close();
});
beforeEach(() => {
  answers = {
    enclaves: '[{"cid":16,"state":"ready","keys":2},{"cid":17,"state":"launching","keys":0}]',
    keys: [FIRST, SECOND],
    status: 200,
    document: (nonce) => attested({ nonce, userData: heldKeysDigest([SECOND, FIRST]) }),
  };
});

const verify = (...args: string[]): Promise<Ended> =>
  bed.run("attest", "verify", "--url", url, "--root", rootFile, "--pcr0", Buffer.from(PCR0).toString("hex"), ...args);

describe("a gateway's enclaves", () => {
  it("are believed when each document is of the image, fresh, and of the keys that are listed", async () => {
    const { code, stdout, stderr } = await verify();
    expect([code, stderr]).toEqual([0, ""]);
    expect(stdout).toMatch(/^genuine: enclave 16\nnot asked: enclave 17, launching\neach holds exactly the 2 keys of /);
  });

  it.each<[string, Partial<Answers>, RegExp]>([
    ["a key listed that the enclave has not", { keys: [FIRST, SECOND, "0x".padEnd(98, "c3")] }, /wrong_user_data/],
    ["a key hidden", { keys: [FIRST] }, /wrong_user_data/],
    [
      "an old document",
      { document: () => attested({ nonce: new Uint8Array(32), userData: new Uint8Array(32) }) },
      /wrong_nonce/,
    ],
    [
      "a document that was made for KMS",
      { document: (nonce) => attested({ nonce, publicKey: new Uint8Array(4) }) },
      /wrong_user_data/,
    ],
    [
      "another root",
      { document: (nonce) => attested({ nonce }, makeDevelopmentAuthority(Date.now())) },
      /untrusted_root/,
    ],
    ["no ready enclave", { enclaves: "[]" }, /no enclave is ready/],
    [
      "no document",
      { status: 501, document: () => Buffer.from("development mode") },
      /the gateway answers 501.*development mode/,
    ],
    ["bytes without end", { document: () => new Uint8Array(100_000) }, /expected at most 12288 bytes/],
  ])("are refused with %s", async (_, changes, text) => {
    Object.assign(answers, changes);
    const { code, stdout } = await verify();
    expect(stdout).toMatch(text);
    expect(stdout).toMatch(/^refused: /);
    expect(code).toBe(1);
  });

  it.each([
    ["both a file and a URL", ["document.bin"], /either a file with a document or --url/],
    ["a nonce of the caller's", ["--nonce", "00"], /belong to a file/],
    ["a URL with a path", ["--url", "http://127.0.0.1:1/x"], /--url: expected http:\/\/host\[:port\]/],
  ])("are not asked for with %s", async (_, args, text) => {
    const { code, stderr } = await verify(...args);
    expect(code).toBe(2);
    expect(stderr).toMatch(text);
  });

  it("that do not answer are an error", async () => {
    const { code, stderr } = await verify("--url", "http://127.0.0.1:1");
    expect(code).toBe(1);
    expect(stderr).toMatch(/http:\/\/127\.0\.0\.1:1\/api\/v1\/enclaves: no answer/);
  });
});

describe("a Testudo in development mode", () => {
  it("has enclaves that attest nothing", async () => {
    const up = await bed.up(["--enclaves", "1", "--threads", "1"]);
    const list = JSON.parse((await sendTo(`${up.url}/api/v1/enclaves`)).body);
    expect(list).toEqual([{ cid: 16, state: "ready", keys: expect.any(Number) }]);
    const nonce = `0x${"01".repeat(32)}`;
    const { status, body } = await sendTo(`${up.url}/api/v1/enclaves/16/attestation?nonce=${nonce}`);
    expect([status, JSON.parse(body).message]).toEqual([501, expect.stringContaining("development mode")]);
    await up.stop();
  });
});

/** What must not be signed is refused with the right status and a usable text, and right beside it the valid is signed. */

import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { FRAME_PAYLOAD_BYTES_MAX } from "#protocol/limits.ts";
import { encodeSignCommand, OPERATION_SIGN } from "#protocol/messages/sign.ts";
import {
  attestation,
  block,
  isSignatureOf,
  randao,
  registration,
  rootOf,
  sign,
  signVerified,
} from "../helpers/duties.ts";
import { encodeFrame } from "../helpers/encode-frame.ts";
import { connectRaw } from "../helpers/raw-enclave.ts";
import { createTestbed, type Testudo } from "../helpers/testudo.ts";
import { type Answer, sendTo } from "../unit/gateway/running-gateway.ts";
import { withMember } from "../unit/protocol/signing/samples.ts";

const SECONDS_PER_EPOCH = 32 * 12;
/** The epoch in which these tests run; its end is more than five minutes away. */
const NOW_EPOCH = 1000;
const CHAIN = rootOf(0x77);
const CONFIG = `
PRESET_BASE: 'mainnet'
CONFIG_NAME: 'faultnet'
GENESIS_FORK_VERSION: 0x10000099
ALTAIR_FORK_VERSION: 0x20000099
BELLATRIX_FORK_VERSION: 0x30000099
CAPELLA_FORK_VERSION: 0x40000099
DENEB_FORK_VERSION: 0x04000000
SECONDS_PER_SLOT: 12
`;
const vote = (source: number, target: number, options: { head?: number; slot?: number } = {}) =>
  attestation({ source, target }, { chain: CHAIN, ...options });
const proposal = (slot: number, body?: number) => block(slot, { chain: CHAIN, ...(body !== undefined && { body }) });

const bed = createTestbed();
let testudo: Testudo;
let unused: string[];
/** A key that no test has used yet. */
const freshKey = (): string => {
  const key = unused.pop();
  if (key === undefined) throw new Error("no unused key is left");
  return key;
};
beforeAll(async () => {
  const genesis = Math.floor(Date.now() / 1000) - NOW_EPOCH * SECONDS_PER_EPOCH - 30;
  const network = bed.file("config.yaml", CONFIG);
  testudo = await bed.up([
    ...["--enclaves", "2", "--network", network, "--genesis-validators-root", CHAIN],
    ...["--genesis-time", String(genesis)],
  ]);
  unused = [...testudo.publicKeys];
});
afterAll(() => bed.close(testudo));

/** A refusal as every client can read it. */
const expectRefusal = (answer: Answer, { status, text }: { status: number; text: string | RegExp }): void => {
  expect({ status: answer.status, body: answer.body }).toMatchObject({ status });
  expect(answer.headers["content-type"]).toBe("application/json; charset=utf-8");
  const body = JSON.parse(answer.body) as { code: number; message: string; error: string };
  expect(body).toEqual({ code: status, message: body.error, error: expect.any(String) });
  expect(body.message).toMatch(text);
};

describe("bodies that are no request (400)", () => {
  const valid = vote(1, 2).body;
  const ROWS: [what: string, body: unknown, text: string | RegExp][] = [
    ["nothing", "", "body: expected JSON, got nothing"],
    ["no JSON", '{"type":"ATTESTATION",', "body: expected JSON in UTF-8"],
    ["broken UTF-8", Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x7d]), "body: expected JSON in UTF-8"],
    ["an array", "[]", "body: expected an object, got an array of 0"],
    ["null", "null", "body: expected an object, got null"],
    ["no type", withMember(valid, "type", undefined), /^type: expected .*got nothing/],
    ["an unknown type", { ...valid, type: "ATTESTATIONS" }, /^type: expected .*"ATTESTATIONS"/],
    ["a type of another type", { ...valid, type: 1 }, /^type: /],
    ["a bare root", { type: "GENERIC", data: rootOf(1), fork_info: valid.fork_info }, /^type: .*"GENERIC"/],
    ["a bare root without type", { signingRoot: rootOf(1) }, /^type: /],
    ["no message", withMember(valid, "attestation", undefined), "attestation: expected an object, got nothing"],
    ["no fork_info", withMember(valid, "fork_info", undefined), "fork_info: expected an object, got nothing"],
    ["no fork", withMember(valid, "fork_info.fork", undefined), "fork_info.fork: expected an object"],
    [
      "no chain",
      withMember(valid, "fork_info.genesis_validators_root", undefined),
      "genesis_validators_root: expected 32",
    ],
    ["no slot", withMember(valid, "attestation.slot", undefined), "attestation.slot: expected"],
    ["a slot of text", withMember(valid, "attestation.slot", "12abc"), 'attestation.slot: expected .*"12abc"'],
    ["a slot of an object", withMember(valid, "attestation.slot", {}), "attestation.slot: expected .*an object"],
    ["a negative slot", withMember(valid, "attestation.slot", "-1"), "attestation.slot: "],
    ["a slot beyond uint64", withMember(valid, "attestation.slot", "18446744073709551616"), "attestation.slot: "],
    ["a slot beyond 2^53", withMember(valid, "attestation.slot", "9007199254740992"), "attestation.slot: "],
    ["a fraction", withMember(valid, "attestation.target.epoch", 1.5), "attestation.target.epoch: "],
    ["a short root", withMember(valid, "attestation.beacon_block_root", "0x00"), "attestation.beacon_block_root: "],
    ["a root without 0x", withMember(valid, "attestation.source.root", "00".repeat(32)), "attestation.source.root: "],
    [
      "a short fork version",
      withMember(valid, "fork_info.fork.current_version", "0x01"),
      "fork_info.fork.current_version",
    ],
    [
      "an unknown version",
      withMember(proposal(7).body, "beacon_block.version", "OSAKA"),
      'beacon_block.version: .*"OSAKA"',
    ],
    [
      "a full block where a header is due",
      { ...proposal(7).body, beacon_block: { version: "DENEB", block: {} } },
      "beacon_block.block_header: ",
    ],
    [
      "a header where a full block is due",
      withMember(proposal(7).body, "beacon_block.version", "PHASE0"),
      "beacon_block.block: ",
    ],
    [
      "a wrong signingRoot",
      { ...valid, signingRoot: rootOf(9) },
      "signingRoot: expected 0x.* for this body, got 0x0909",
    ],
    ["a wrong signing_root", { ...valid, signing_root: rootOf(9) }, "signing_root: expected 0x.* for this body"],
    ["a signingRoot that is none", { ...valid, signingRoot: "yes" }, "signingRoot: expected 32 bytes"],
  ];

  it.each(ROWS)("%s", async (_what, body, text) => {
    const key = testudo.publicKeys[0] as string;
    expectRefusal(await sign(testudo.url, key, body), { status: 400, text: new RegExp(text) });
  });

  it("leave nothing behind: the valid neighbour is signed", async () => {
    const key = testudo.publicKeys[0] as string;
    await signVerified(testudo.url, key, vote(1, 2));
    await signVerified(testudo.url, key, proposal(7));
    const numbers = withMember(vote(1, 2).body, "attestation.slot", 64);
    expect((await sign(testudo.url, key, { ...numbers, unknown_member: [1] })).status).toBe(200);
  });
});

describe("identifiers", () => {
  const ask = (identifier: string) => sign(testudo.url, identifier, randao(1, { chain: CHAIN }).body);

  it("that are unknown are 404, malformed ones 400, and a bad body comes before an unknown key", async () => {
    const known = testudo.publicKeys[0] as string;
    expect((await ask(known)).status).toBe(200);
    const unknown = `${known.slice(0, -2)}${known.endsWith("00") ? "01" : "00"}`;
    expectRefusal(await ask(unknown), { status: 404, text: "no such key is loaded" });
    for (const malformed of ["0x12", `${known}00`, known.slice(0, -1), "0xzz", "alice", `0x${"g".repeat(96)}`]) {
      expectRefusal(await ask(malformed), { status: 400, text: "identifier: expected 48 bytes of hex, got" });
    }
    expectRefusal(await ask("a".repeat(300)), { status: 414, text: "" });
    expectRefusal(await sign(testudo.url, unknown, "{}"), { status: 400, text: /^type: / });
  });
});

describe("slashable requests (412)", () => {
  const denied = async (key: string, body: unknown, rule: string, detail: RegExp): Promise<void> => {
    const answer = await sign(testudo.url, key, body);
    expectRefusal(answer, { status: 412, text: `Signing refused by rule ${rule}: ` });
    expect(answer.body).toMatch(detail);
  };

  it("votes: double, surrounding, surrounded; the honest next one is signed", async () => {
    const key = freshKey();
    const first = await signVerified(testudo.url, key, vote(10, 20));
    await denied(key, vote(10, 20, { head: 0xab }).body, "double_vote", /target epoch 20/);
    await denied(key, vote(11, 20).body, "double_vote", /target epoch 20/);
    await denied(key, vote(9, 21).body, "source_below_watermark", /source epoch 9 .* 10/);
    await denied(key, vote(11, 19).body, "target_below_watermark", /target epoch 19 .* 20/);
    await denied(key, vote(22, 21).body, "source_after_target", /source epoch 22 .* 21/);
    expect(await signVerified(testudo.url, key, vote(10, 20))).toBe(first);
    await signVerified(testudo.url, key, vote(20, 21));
    await denied(key, vote(10, 20).body, "source_below_watermark", /source epoch 10 .* 20/);
  });

  it("proposals: double, earlier slot; the next slot is signed", async () => {
    const key = freshKey();
    const first = await signVerified(testudo.url, key, proposal(500));
    await denied(key, proposal(500, 0xbc).body, "double_block_proposal", /slot 500/);
    await denied(key, proposal(499).body, "block_slot_below_watermark", /slot 499 .* 500/);
    expect(await signVerified(testudo.url, key, proposal(500))).toBe(first);
    await signVerified(testudo.url, key, proposal(501));
  });

  it("twenty conflicting votes at once: one is signed", async () => {
    const key = freshKey();
    const answers = await Promise.all(
      Array.from({ length: 20 }, (_, head) => sign(testudo.url, key, vote(30, 40, { head }).body)),
    );
    const statuses = answers.map(({ status }) => status).sort();
    expect(statuses).toEqual([200, ...Array.from({ length: 19 }, () => 412)]);
  });

  it("another chain, also for what no slashing rule knows", async () => {
    const key = freshKey();
    const other = rootOf(0x78);
    for (const body of [
      attestation({ source: 1, target: 2 }, { chain: other }).body,
      randao(1, { chain: other }).body,
    ]) {
      await denied(key, body, "genesis_validators_root_mismatch", /expected 0x7777.* got 0x7878/);
    }
    await signVerified(testudo.url, key, vote(1, 2));
    await signVerified(testudo.url, key, randao(1, { chain: CHAIN }));
  });

  it("later than now + 1 epoch; up to it is signed", async () => {
    const key = freshKey();
    const lastSlot = (NOW_EPOCH + 2) * 32 - 1;
    await denied(key, vote(1, NOW_EPOCH + 2).body, "beyond_clock_bound", /epoch 1002 is later than 1001/);
    await denied(key, vote(1, 5, { slot: lastSlot + 1 }).body, "beyond_clock_bound", /epoch 1002/);
    await denied(key, proposal(lastSlot + 1).body, "beyond_clock_bound", /epoch 1002/);
    await signVerified(testudo.url, key, vote(1, NOW_EPOCH + 1, { slot: lastSlot }));
    await signVerified(testudo.url, key, proposal(lastSlot));
    await signVerified(testudo.url, key, randao(NOW_EPOCH + 50, { chain: CHAIN }));
  });
});

describe("HTTP's own limits", () => {
  const key = () => testudo.publicKeys[0] as string;

  it("a body over 1 MiB is 413, one just below is read", async () => {
    const bodyOf = (bytes: number) => {
      const body = { ...randao(3, { chain: CHAIN }).body, padding: "" };
      return JSON.stringify({ ...body, padding: "x".repeat(bytes - JSON.stringify(body).length) });
    };
    const limit = 1024 * 1024;
    expectRefusal(await sign(testudo.url, key(), bodyOf(limit + 1)), { status: 413, text: "" });
    expect((await sign(testudo.url, key(), bodyOf(limit))).status).toBe(200);
  });

  it("other methods are 405, other paths 404, other hosts and browsers 403", async () => {
    const path = `${testudo.url}/api/v1/eth2/sign/${key()}`;
    expectRefusal(await sendTo(path), { status: 405, text: "Method" });
    expectRefusal(await sendTo(`${testudo.url}/api/v1/eth1/publicKeys`), { status: 404, text: "No such path" });
    for (const headers of [{ host: "evil.example" }, { origin: "http://evil.example" }]) {
      const answer = await sign(
        testudo.url,
        key(),
        randao(1, { chain: CHAIN }).body,
        headers as Record<string, string>,
      );
      expectRefusal(answer, { status: 403, text: "not authorized" });
    }
  });
});

describe("hostile peers of an enclave's socket", () => {
  const CID = 16;
  const socketPath = () => `${testudo.dataPath}/run/enclave-${CID}.sock`;
  const frame = (change: (bytes: Buffer) => void): Buffer => {
    const pubkey = Buffer.from((testudo.publicKeys[0] as string).slice(2), "hex");
    const body = Buffer.from(JSON.stringify(randao(4, { chain: CHAIN }).body));
    const payload = encodeSignCommand({ pubkey, timeoutMs: 5_000, body });
    const bytes = Buffer.from(encodeFrame({ kind: "request", operation: OPERATION_SIGN, requestId: 7, payload }));
    change(bytes);
    return bytes;
  };
  const rejected = async (): Promise<number> => {
    const text = await (await fetch(`${testudo.metricsUrl}/metrics`)).text();
    const match = new RegExp(`^testudo_enclave_rejected_frames_total\\{cid="${CID}"\\} (\\d+)$`, "m").exec(text);
    return Number(match?.[1]);
  };
  const expectSignedOver = async (bytes: Buffer): Promise<void> => {
    const peer = await connectRaw(socketPath(), 5000);
    peer.write(bytes);
    const answer = await peer.receive(12 + 1 + 96);
    expect(answer.readUInt8(5)).toBe(1); // an answer, and no failure
    const signature = `0x${answer.subarray(13).toString("hex")}`;
    const { root } = randao(4, { chain: CHAIN });
    expect(isSignatureOf(signature, { pubkey: testudo.publicKeys[0] as string, root })).toBe(true);
    peer.destroy();
  };

  const BROKEN: [what: string, change: (bytes: Buffer) => void][] = [
    ["version 0", (bytes) => void bytes.writeUInt8(0, 4)],
    ["version 2", (bytes) => void bytes.writeUInt8(2, 4)],
    ["kind 4", (bytes) => void bytes.writeUInt8(4, 5)],
    ["an answer from a client", (bytes) => void bytes.writeUInt8(1, 5)],
    ["an event from a client", (bytes) => void bytes.writeUInt8(3, 5)],
    ["a length of 7", (bytes) => void bytes.writeUInt32BE(7, 0)],
    ["a length over the limit", (bytes) => void bytes.writeUInt32BE(8 + FRAME_PAYLOAD_BYTES_MAX + 1, 0)],
    ["a length of 4 GiB", (bytes) => void bytes.writeUInt32BE(0xffff_ffff, 0)],
  ];

  it("broken frames close the connection and are counted; the enclave lives and signs", async () => {
    const pid = testudo.processes().enclaves.get(CID);
    const before = await rejected();
    await expectSignedOver(frame(() => undefined));
    for (const [, change] of BROKEN) {
      const peer = await connectRaw(socketPath(), 5000);
      peer.write(frame(change));
      await peer.closed();
      expect(peer.received().length).toBe(0);
    }
    const whole = frame(() => undefined);
    for (const cut of [1, 4, 11, 12, whole.length - 1]) {
      const peer = await connectRaw(socketPath(), 5000);
      peer.write(whole.subarray(0, cut));
      await sleep(20);
      expect(peer.isClosed).toBe(false);
      peer.end();
      await peer.closed();
    }
    await expect.poll(rejected, { timeout: 10_000 }).toBe(before + BROKEN.length + 5);
    await expectSignedOver(frame(() => undefined));
    expect(testudo.processes().enclaves.get(CID)).toBe(pid);
  });

  it("frames in one-byte pieces and many in one piece are answered", async () => {
    const whole = frame(() => undefined);
    const peer = await connectRaw(socketPath(), 5000);
    for (const byte of whole) peer.write(Uint8Array.of(byte));
    await peer.receive(12 + 97);
    peer.write(Buffer.concat([whole, whole, whole]));
    expect((await peer.receive(4 * (12 + 97))).length).toBe(4 * (12 + 97));
    peer.destroy();
  });

  it("payloads that make no sense fail alone, and the connection goes on", async () => {
    const peer = await connectRaw(socketPath(), 5000);
    const ask = async (operation: number, payload: Uint8Array): Promise<Buffer> => {
      const before = peer.received().length;
      peer.write(encodeFrame({ kind: "request", operation, requestId: 9, payload }));
      return (await peer.receive(before + 13)).subarray(before);
    };
    for (const [operation, payload] of [
      [2, new Uint8Array(200)],
      [OPERATION_SIGN, new Uint8Array()],
      [OPERATION_SIGN, new Uint8Array(49)],
      [OPERATION_SIGN, Buffer.concat([Buffer.of(0xff, 0xff), Buffer.alloc(100)])],
      [OPERATION_SIGN, Buffer.concat([Buffer.of(0x10, 0x00), Buffer.alloc(48), Buffer.from("{}")])],
    ] as const) {
      const answer = await ask(operation, payload);
      expect(answer.readUInt8(5)).toBe(2); // a failure
    }
    expect(peer.isClosed).toBe(false);
    peer.write(frame(() => undefined));
    await expect.poll(() => peer.received().length).toBeGreaterThan(5 * 13 + 96);
    peer.destroy();
  });

  it("bad handshakes are cut off", async () => {
    for (const line of [
      "CONNECT 22\n",
      "CONNECT\n",
      "GET / HTTP/1.1\r\n",
      `CONNECT ${"1".repeat(500)}`,
      "\n",
      "CONNECT -1\n",
    ]) {
      const peer = await connectRaw(socketPath());
      peer.write(line);
      await peer.closed();
      expect(peer.received().toString(), JSON.stringify(line)).toBe("");
    }
    await expectSignedOver(frame(() => undefined));
  });

  it("the control port takes no second configuration", async () => {
    const peer = await connectRaw(socketPath(), 5001);
    peer.write(encodeFrame({ kind: "request", operation: 1, requestId: 1, payload: Buffer.from("{}") }));
    const answer = await peer.receive(13);
    expect(answer.readUInt8(5)).toBe(2);
    expect(answer.toString("latin1")).toContain("not accepted while ready");
    peer.destroy();
    await signVerified(testudo.url, testudo.publicKeys[0] as string, randao(5, { chain: CHAIN }));
  });
});

it("a registration's root follows from the genesis fork version of the config.yaml", async () => {
  const key = testudo.publicKeys[0] as string;
  const { body, root: mainnetRoot } = registration(key);
  const { root } = registration(key, "0x10000099");
  const answer = await sign(testudo.url, key, { ...body, signingRoot: mainnetRoot });
  expectRefusal(answer, { status: 400, text: `signingRoot: expected ${root} for this body` });
  expect((await sign(testudo.url, key, { ...body, signingRoot: root })).status).toBe(200);
});

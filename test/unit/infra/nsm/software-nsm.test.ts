/** The software NSM: documents that differ from AWS's in their root alone, and answers to everything else. */

import { X509Certificate } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it, onTestFinished } from "vitest";
import { createSoftwareNsmClient } from "../../../../enclave-worker/kms/software-nsm-client.ts";
import { makeDevelopmentAuthority, openDevelopmentAuthority } from "../../../../infra/local/nsm/authority.ts";
import { createSoftwareNsm, type SoftwareNsm, serveSoftwareNsm } from "../../../../infra/local/nsm/software-nsm.ts";
import { decodeCbor, encodeCbor } from "../../../../protocol/attestation/cbor.ts";
import {
  type AttestationRequest,
  decodeAttestationResponse,
  encodeAttestationRequest,
} from "../../../../protocol/attestation/nsm-messages.ts";
import { createPcrPolicy } from "../../../../protocol/attestation/policy.ts";
import { readAttestation, verifyAttestation } from "../../../../protocol/attestation/verify.ts";
import { SignerError } from "../../../../protocol/errors.ts";
import { createRpcClient } from "../../../../protocol/rpc.ts";
import { connectHost, listenHost } from "../../../../protocol/transport/hybrid.ts";
import { makeSocketFolder } from "../../../helpers/socket-folder.ts";
import { realDocument, realDocumentText, withRealDocument } from "../../protocol/attestation/real-document.ts";

const NOW_MS = Date.parse("2026-06-01T12:00:00Z");
const HOUR_MS = 3_600_000;
const authority = makeDevelopmentAuthority(NOW_MS);
const pcr0 = new Uint8Array(48).fill(1);
const moduleId = "i-development-enc16";
const pcrs = new Map([0, 1, 2].map((index) => [index, new Uint8Array(48).fill(index + 1)]));

const makeNsm = (now = () => NOW_MS): SoftwareNsm => createSoftwareNsm({ authority, moduleId, pcrs, now });

const attest = (nsm: SoftwareNsm, request: AttestationRequest = {}): Uint8Array =>
  decodeAttestationResponse(nsm.answer(encodeAttestationRequest(request)));

const verify = (document: Uint8Array, atMs = NOW_MS, root = authority.root) =>
  verifyAttestation(document, { atMs, roots: [root], pcrs: createPcrPolicy([[0, [pcr0]]]) });

describe("its documents", () => {
  it("are genuine to those who trust its root, and to nobody else", () => {
    const document = attest(makeNsm());
    expect(verify(document)).toMatchObject({ ok: true, document: { moduleId, timestampMs: NOW_MS } });
    expect(verify(document, NOW_MS, makeDevelopmentAuthority(NOW_MS).root)).toMatchObject({ reason: "untrusted_root" });
    const policy = createPcrPolicy([[0, [pcr0]]]);
    expect(verifyAttestation(document, { atMs: NOW_MS, pcrs: policy })).toMatchObject({ reason: "untrusted_root" });
  });

  it("carry what was asked for", () => {
    const request = { nonce: Uint8Array.of(1), userData: Uint8Array.of(2, 2), publicKey: Uint8Array.of(3, 3, 3) };
    expect(verify(attest(makeNsm(), request))).toMatchObject({ ok: true, document: request });
    const longest = { nonce: new Uint8Array(512), userData: new Uint8Array(512), publicKey: new Uint8Array(1024) };
    expect(verify(attest(makeNsm(), longest))).toMatchObject({ ok: true, document: longest });
  });

  it("hold for three hours, however long the NSM runs", () => {
    let nowMs = NOW_MS;
    const nsm = makeNsm(() => nowMs);
    for (const hours of [0, 1, 1.4, 1.6, 3, 100, 24 * 30]) {
      nowMs = NOW_MS + hours * HOUR_MS;
      const document = attest(nsm);
      expect(verify(document, nowMs)).toMatchObject({ ok: true });
      expect(verify(document, nowMs + 1.4 * HOUR_MS)).toMatchObject({ ok: true });
      expect(verify(document, nowMs + 3.1 * HOUR_MS)).toMatchObject({ reason: "certificate_expired" });
    }
  });

  it("are signed with one leaf as long as it does", () => {
    const nsm = makeNsm();
    const leafOf = (document: Uint8Array) => {
      const read = readAttestation(document);
      return read.ok ? read.document.certificate : undefined;
    };
    expect(leafOf(attest(nsm))).toEqual(leafOf(attest(nsm)));
  });

  it.skipIf(realDocumentText === undefined)(withRealDocument("have the layout of AWS's"), () => {
    expect(skeletonOf(attest(makeNsm(), { userData: new Uint8Array(20) }))).toEqual(skeletonOf(realDocument));
  });
});

/** Everything of a document but values: order, forms and types. */
const skeletonOf = (document: Uint8Array): unknown => {
  const [header, unprotectedHeader, payload, signature] = decodeCbor(document) as Uint8Array[];
  const fields = decodeCbor(payload as Uint8Array, "outermost") as Map<string, unknown>;
  return {
    first: document[0],
    header: Buffer.from(header as Uint8Array).toString("hex"),
    unprotectedHeader,
    signature: signature?.length,
    edges: [payload?.at(0), payload?.at(-1)],
    fields: [...fields].map(([name, value]) => [name, shapeOf(value)]),
  };
};

const shapeOf = (value: unknown): unknown => {
  if (value instanceof Map) return [...value].map(([index, pcr]) => [index, (pcr as Uint8Array).length]);
  if (Array.isArray(value)) return "list";
  return value instanceof Uint8Array ? "bytes" : value === null ? null : typeof value;
};

describe("its answers", () => {
  const ask = (request: unknown): unknown => decodeCbor(makeNsm().answer(encodeCbor(request as never)));
  const named = (name: string, members: Record<string, unknown>) => new Map([[name, new Map(Object.entries(members))]]);
  const error = (code: string) => new Map([["Error", code]]);
  const zeros = new Uint8Array(48);

  it.each<[name: string, request: unknown, expected: unknown]>([
    ["PCR0", named("DescribePCR", { index: 0 }), named("DescribePCR", { lock: true, data: pcr0 })],
    ["PCR15", named("DescribePCR", { index: 15 }), named("DescribePCR", { lock: true, data: zeros })],
    ["PCR16", named("DescribePCR", { index: 16 }), named("DescribePCR", { lock: false, data: zeros })],
    ["PCR32", named("DescribePCR", { index: 32 }), error("InvalidIndex")],
    ["PCR-1", named("DescribePCR", { index: -1 }), error("InvalidIndex")],
    ["a PCR by name", named("DescribePCR", { index: "0" }), error("InvalidArgument")],
    ["a PCR without an index", named("DescribePCR", {}), error("InvalidArgument")],
    ["too long a nonce", named("Attestation", { nonce: new Uint8Array(513) }), error("InputTooLarge")],
    ["too long user data", named("Attestation", { user_data: new Uint8Array(513) }), error("InputTooLarge")],
    ["too long a public key", named("Attestation", { public_key: new Uint8Array(1025) }), error("InputTooLarge")],
    ["an empty public key", named("Attestation", { public_key: new Uint8Array() }), error("InvalidArgument")],
    ["a nonce of text", named("Attestation", { nonce: "1" }), error("InvalidArgument")],
    ["an unknown member", named("Attestation", { name: null }), error("InvalidArgument")],
    ["something that it does not do", named("LockPCR", { index: 0 }), error("InvalidOperation")],
    ["an unknown word", "Attestation", error("InvalidOperation")],
    ["a number", 1, error("InvalidOperation")],
  ])("to %s", (_name, request, expected) => {
    expect(ask(request)).toEqual(expected);
  });

  it("to no CBOR and to too much are errors, too", () => {
    expect(decodeCbor(makeNsm().answer(Uint8Array.of(0xff)))).toEqual(error("InvalidArgument"));
    expect(decodeCbor(makeNsm().answer(new Uint8Array(0x1001)))).toEqual(error("InputTooLarge"));
  });

  it("describe it, and give randomness", () => {
    const description = (ask("DescribeNSM") as Map<string, Map<string, unknown>>).get("DescribeNSM");
    expect(Object.fromEntries(description ?? [])).toMatchObject({
      module_id: moduleId,
      max_pcrs: 32,
      digest: "SHA384",
    });
    const random = () => (ask("GetRandom") as Map<string, Map<string, Uint8Array>>).get("GetRandom")?.get("random");
    expect(random()).toHaveLength(256);
    expect(random()).not.toEqual(random());
  });

  it.each<[index: number, length: number]>([
    [16, 48],
    [-1, 48],
    [0, 32],
  ])("with PCR%d of %d bytes there are none: it is not made", (index, length) => {
    const wrong = new Map([[index, new Uint8Array(length)]]);
    expect(() => createSoftwareNsm({ authority, moduleId, pcrs: wrong, now: () => NOW_MS })).toThrow(SignerError);
  });
});

describe("its port on the parent", () => {
  const PORT = 8500;

  const serve = async (): Promise<string> => {
    const folder = makeSocketFolder();
    const path = folder.path("enclave");
    const listener = await listenHost(path, PORT, serveSoftwareNsm(makeNsm()));
    onTestFinished(async () => {
      await listener.close();
      folder.remove();
    });
    return path;
  };

  it("gives documents to enclaves", async () => {
    const path = await serve();
    const nsm = createSoftwareNsmClient({ connect: () => connectHost(path, PORT, { timeoutMs: 1000 }) });
    const nonces = Array.from({ length: 20 }, (_, index) => Uint8Array.of(index));
    const documents = await Promise.all(nonces.map((nonce) => nsm.attest({ nonce })));
    for (const [index, document] of documents.entries()) {
      expect(verify(document)).toMatchObject({ ok: true, document: { nonce: nonces[index] } });
    }
    await expect(nsm.attest({ nonce: new Uint8Array(513) })).rejects.toMatchObject({
      code: "unavailable",
      detail: "the NSM refused to attest: InputTooLarge",
    });
  });

  it("knows no other operation", async () => {
    const client = createRpcClient(await connectHost(await serve(), PORT, { timeoutMs: 1000 }));
    onTestFinished(() => client.close());
    await expect(client.request(2, new Uint8Array(), { timeoutMs: 1000 })).rejects.toMatchObject({
      code: "bad_request",
    });
  });

  it("that nobody serves, or that says nothing, is a named failure", async () => {
    const folder = makeSocketFolder();
    onTestFinished(() => folder.remove());
    const path = folder.path("enclave");
    const nsm = createSoftwareNsmClient({ connect: () => connectHost(path, PORT, { timeoutMs: 1000 }), timeoutMs: 50 });
    await expect(nsm.attest({})).rejects.toMatchObject({ code: "unavailable" });
    const listener = await listenHost(path, PORT, () => undefined);
    onTestFinished(() => listener.close());
    await expect(nsm.attest({})).rejects.toMatchObject({ code: "deadline_exceeded" });
  });
});

describe("the development authority", () => {
  const makeFolder = (): string => {
    const folder = mkdtempSync(join(tmpdir(), "testudo-nsm-"));
    onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
    return join(folder, "nsm");
  };

  it("is made once for a folder, and its key is for its user alone", () => {
    const folder = makeFolder();
    const first = openDevelopmentAuthority(folder, NOW_MS);
    const second = openDevelopmentAuthority(folder, NOW_MS + HOUR_MS);
    expect(second.root).toEqual(first.root);
    expect(statSync(join(folder, "nsm-root.key")).mode & 0o777).toBe(0o600);
    const nsm = createSoftwareNsm({ authority: second, moduleId, pcrs, now: () => NOW_MS });
    expect(verify(attest(nsm), NOW_MS, first.root)).toMatchObject({ ok: true });
    expect(new X509Certificate(readFileSync(join(folder, "nsm-root.pem"))).raw).toEqual(Buffer.from(first.root));
  });

  it("calls itself what it is", () => {
    expect(new X509Certificate(authority.root).subject).toBe(
      "O=Testudo\nOU=development\nCN=testudo.development.nitro-enclaves",
    );
  });

  it("whose files do not belong together is refused", () => {
    const folder = makeFolder();
    openDevelopmentAuthority(folder, NOW_MS);
    const other = makeFolder();
    openDevelopmentAuthority(other, NOW_MS);
    writeFileSync(join(folder, "nsm-root.key"), readFileSync(join(other, "nsm-root.key")));
    expect(() => openDevelopmentAuthority(folder, NOW_MS)).toThrow(/nsm-root\.key is not the key of nsm-root\.pem/);
    rmSync(join(folder, "nsm-root.key"));
    expect(() => openDevelopmentAuthority(folder, NOW_MS)).toThrow(/cannot be read; remove both/);
  });
});

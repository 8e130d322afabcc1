/**
 * `testudo attest verify --url`: asks a running gateway for a document of each of its enclaves, with a fresh nonce, and
 * verifies them. The gateway is not believed: its list of keys counts only where the documents bind it.
 */

import { randomBytes } from "node:crypto";
import { styleText } from "node:util";
import { heldKeysDigest } from "#protocol/attestation/held-keys.ts";
import type { PcrPolicy } from "#protocol/attestation/policy.ts";
import { verifyAttestation } from "#protocol/attestation/verify.ts";
import { quote, toHex } from "#protocol/bytes.ts";
import { SignerError } from "#protocol/errors.ts";
import { ATTEST_DOCUMENT_BYTES_MAX } from "#protocol/messages/attest.ts";
import { ADVICE } from "./attestation-text.ts";
import { fetchPublicKeys } from "./gateway-address.ts";

/** What must hold of every enclave. */
export interface LiveExpectation {
  readonly pcrs: PcrPolicy;
  /** DER of the trusted root certificate. */
  readonly root: Uint8Array;
}

/** What became of the check. */
export interface LiveReport {
  /** One line for each enclave, and one for the keys. */
  readonly lines: readonly string[];
  /** Whether every enclave that signs is genuine and holds exactly the keys that the gateway lists. */
  readonly ok: boolean;
}

const NONCE_BYTES = 32;
const TIMEOUT_MS = 10_000;
const LIST_BYTES_MAX = 64 * 1024;
const PUBKEY = /^0x[0-9a-f]{96}$/;
/** Keys change in one enclave after the other during a reload: asked again, a second later, they agree. */
const KEYS_DIFFER = "it does not hold exactly the keys that the gateway lists; during a reload, ask again";

/** @throws SignerError `bad_request` for a URL that is none, `unavailable` when the gateway does not answer as it should */
export const verifyLive = async (url: string, expected: LiveExpectation): Promise<LiveReport> => {
  const base = parseUrl(url);
  const enclaves = parseEnclaves(await get(`${base}/api/v1/enclaves`, LIST_BYTES_MAX));
  const ready = enclaves.filter(({ state }) => state === "ready");
  const pubkeys = await fetchPublicKeys(base, { hostAllowlist: [new URL(base).hostname], timeoutMs: TIMEOUT_MS });
  const stray = pubkeys.find((pubkey) => !PUBKEY.test(pubkey));
  if (stray !== undefined) throw new SignerError("unavailable", `${base}: expected public keys, got ${quote(stray)}`);
  const userData = heldKeysDigest(pubkeys);
  const lines: string[] = [];
  let ok = ready.length > 0;
  if (!ok) lines.push(`${styleText("red", "refused")}: no enclave is ready`);
  for (const { cid } of ready) {
    const problem = await verifyOne({ base, cid }, { ...expected, userData });
    if (problem !== undefined) ok = false;
    lines.push(
      problem === undefined
        ? `${styleText("green", "genuine")}: enclave ${cid}`
        : `${styleText("red", "refused")}: enclave ${cid}: ${problem}`,
    );
  }
  for (const { cid, state } of enclaves) if (state !== "ready") lines.push(`not asked: enclave ${cid}, ${state}`);
  if (ok)
    lines.push(`each holds exactly the ${pubkeys.length} keys of ${base}/api/v1/eth2/publicKeys: ${toHex(userData)}`);
  return { lines, ok };
};

/** @returns the reason against it, in words */
const verifyOne = async (
  { base, cid }: { readonly base: string; readonly cid: number },
  { pcrs, root, userData }: LiveExpectation & { readonly userData: Uint8Array },
): Promise<string | undefined> => {
  const nonce = new Uint8Array(randomBytes(NONCE_BYTES));
  let document: Uint8Array;
  try {
    document = await get(`${base}/api/v1/enclaves/${cid}/attestation?nonce=${toHex(nonce)}`, ATTEST_DOCUMENT_BYTES_MAX);
  } catch (error) {
    if (error instanceof SignerError) return error.detail;
    throw error;
  }
  const verdict = verifyAttestation(document, { atMs: Date.now(), roots: [root], pcrs, nonce, userData });
  if (verdict.ok) return undefined;
  const advice = verdict.reason === "wrong_user_data" ? KEYS_DIFFER : ADVICE[verdict.reason];
  return `${verdict.reason}\n  ${verdict.detail}\n  ${advice}`;
};

const parseUrl = (text: string): string => {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  const isBase = url?.pathname === "/" && url.search === "" && url.username === "";
  if (url !== undefined && isBase && /^https?:$/.test(url.protocol)) return url.origin;
  throw new SignerError("bad_request", `--url: expected http://host[:port], got ${quote(text)}`);
};

const parseEnclaves = (bytes: Uint8Array): { cid: number; state: string }[] => {
  try {
    const list = JSON.parse(Buffer.from(bytes).toString("utf8")) as { cid: unknown; state: unknown }[];
    return list.map(({ cid, state }) => {
      if (!Number.isSafeInteger(cid) || typeof state !== "string") throw new Error("not an enclave");
      return { cid: cid as number, state };
    });
  } catch (cause) {
    throw new SignerError("unavailable", "the gateway's list of enclaves cannot be read", { cause });
  }
};

/** A bounded answer. @throws SignerError `unavailable` */
const get = async (url: string, bytesMax: number): Promise<Uint8Array> => {
  try {
    const answer = await fetch(url, { signal: AbortSignal.timeout(TIMEOUT_MS), redirect: "error" });
    const chunks: Uint8Array[] = [];
    let length = 0;
    for await (const chunk of answer.body ?? []) {
      length += chunk.length;
      if (length > bytesMax) throw new SignerError("unavailable", `${url}: expected at most ${bytesMax} bytes`);
      chunks.push(chunk);
    }
    const bytes = new Uint8Array(Buffer.concat(chunks));
    if (answer.ok) return bytes;
    const text = Buffer.from(bytes).toString("utf8").slice(0, 300);
    throw new SignerError("unavailable", `the gateway answers ${answer.status}: ${quote(text)}`);
  } catch (cause) {
    if (cause instanceof SignerError) throw cause;
    throw new SignerError("unavailable", `${url}: no answer`, { cause });
  }
};

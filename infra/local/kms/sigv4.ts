/**
 * Verifies the signature of a request (AWS IAM user guide, Signature Version 4). Everything that AWS would refuse is
 * refused with AWS's own error: unknown key, wrong token, expired token, stale date, wrong signature.
 */

import { createHash, createHmac, timingSafeEqual } from "node:crypto";
import { KmsFault } from "./errors.ts";

/** Credentials that the simulator knows. */
export interface LocalCredentials {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly sessionToken?: string;
  /** End of the session token in ms since 1970. */
  readonly expiresAtMs?: number;
  /** ARN of the caller, for key policies. */
  readonly principal: string;
}

/** A request as it came. */
export interface SignedRequest {
  readonly method: string;
  /** Path with query. */
  readonly url: string;
  /** Names in lower case. */
  readonly headers: Readonly<Record<string, string | readonly string[] | undefined>>;
  readonly body: Uint8Array;
}

/** What signatures are checked against. */
export interface SignatureOptions {
  readonly credentials: readonly LocalCredentials[];
  readonly region: string;
  readonly nowMs: number;
}

const ALGORITHM = "AWS4-HMAC-SHA256";
const SERVICE = "kms";
/** A signature holds five minutes, either way. */
const SKEW_MS_MAX = 5 * 60_000;
const AUTHORIZATION =
  /^AWS4-HMAC-SHA256 Credential=([A-Za-z0-9]{1,128})\/(\d{8})\/([a-z0-9-]{1,32})\/([a-z0-9]{1,32})\/aws4_request, ?SignedHeaders=([a-z0-9;-]{1,1024}), ?Signature=([0-9a-f]{64})$/;
const AMZ_DATE = /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/;

const refuse = (type: string, message: string): KmsFault => new KmsFault(type, message);

/**
 * The credentials that signed a request.
 * @throws KmsFault
 */
export const verifySignature = (request: SignedRequest, options: SignatureOptions): LocalCredentials => {
  const header = textOf(request, "authorization");
  if (header === undefined) throw refuse("MissingAuthenticationTokenException", "Missing Authentication Token");
  const match = AUTHORIZATION.exec(header);
  if (match === null) throw refuse("IncompleteSignatureException", "Authorization header cannot be read.");
  const [, accessKeyId, day = "", region, service, signedHeaders = "", signature = ""] = match;

  const known = options.credentials.find((candidate) => candidate.accessKeyId === accessKeyId);
  if (known === undefined || textOf(request, "x-amz-security-token") !== known.sessionToken) {
    throw refuse("UnrecognizedClientException", "The security token included in the request is invalid.");
  }
  if (known.expiresAtMs !== undefined && options.nowMs >= known.expiresAtMs) {
    throw refuse("ExpiredTokenException", "The security token included in the request is expired");
  }
  if (region !== options.region || service !== SERVICE) {
    throw refuse("InvalidSignatureException", "Credential should be scoped to a valid region and to service kms.");
  }
  const date = textOf(request, "x-amz-date") ?? "";
  checkDate(date, { day, nowMs: options.nowMs });
  checkSignedHeaders(request, signedHeaders.split(";"));

  const scope = `${day}/${region}/${SERVICE}/aws4_request`;
  const toSign = [ALGORITHM, date, scope, sha256(canonicalRequest(request, signedHeaders.split(";")))].join("\n");
  let key: string | Buffer = `AWS4${known.secretAccessKey}`;
  for (const part of scope.split("/")) key = hmac(key, part);
  if (!timingSafeEqual(hmac(key, toSign), Buffer.from(signature, "hex"))) {
    throw refuse(
      "InvalidSignatureException",
      "The request signature we calculated does not match the signature you provided.",
    );
  }
  return known;
};

const checkDate = (date: string, { day, nowMs }: { readonly day: string; readonly nowMs: number }): void => {
  const match = AMZ_DATE.exec(date);
  if (match === null || !date.startsWith(day)) {
    throw refuse("IncompleteSignatureException", "X-Amz-Date is missing or is not the credential's day.");
  }
  const [, year, month, dayOfMonth, hour, minute, second] = match.map(Number);
  const signedAtMs = Date.UTC(year ?? 0, (month ?? 0) - 1, dayOfMonth, hour, minute, second);
  if (Math.abs(nowMs - signedAtMs) > SKEW_MS_MAX) {
    const side = signedAtMs < nowMs ? "Signature expired" : "Signature not yet current";
    throw refuse("InvalidSignatureException", `${side}: ${date} is not within five minutes of now.`);
  }
};

/** The host, and every header that AWS reads, must be under the signature. */
const checkSignedHeaders = (request: SignedRequest, signed: readonly string[]): void => {
  const needed = Object.keys(request.headers).filter((name) => name === "host" || name.startsWith("x-amz-"));
  const missing = ["host", ...needed].filter((name) => !signed.includes(name));
  if (missing.length > 0) {
    throw refuse("InvalidSignatureException", `Headers must be signed: ${[...new Set(missing)].join(", ")}`);
  }
};

const canonicalRequest = (request: SignedRequest, signed: readonly string[]): string => {
  const [path = "/", query = ""] = request.url.split("?", 2);
  const headers = signed.map((name) => `${name}:${(textOf(request, name) ?? "").trim().replace(/ +/g, " ")}\n`);
  return [request.method, path, query, headers.join(""), signed.join(";"), sha256(request.body)].join("\n");
};

const textOf = ({ headers }: SignedRequest, name: string): string | undefined => {
  const value = headers[name];
  return typeof value === "string" ? value : value?.join(",");
};

const sha256 = (data: string | Uint8Array): string => createHash("sha256").update(data).digest("hex");

const hmac = (key: string | Uint8Array, text: string): Buffer => createHmac("sha256", key).update(text).digest();

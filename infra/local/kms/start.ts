/**
 * A KMS of one's own for development and tests: AWS KMS's JSON protocol (`x-amz-json-1.1`) over HTTPS with the real
 * cryptography, real signatures (SigV4) and key policies that are followed, so that the unmodified AWS SDK works with it.
 * It listens on loopback unless told otherwise, and is not for production: its keys lie in a file.
 */

import { randomUUID } from "node:crypto";
import {
  createServer as createHttp,
  type IncomingMessage,
  type RequestListener,
  type Server,
  type ServerResponse,
} from "node:http";
import { createServer as createHttps } from "node:https";
import type { AddressInfo } from "node:net";
import type { AttestationVerifier } from "./attestation.ts";
import { issueServer } from "./certificates.ts";
import { faultBody, KmsFault } from "./errors.ts";
import { Faults, faultOf } from "./faults.ts";
import { readInput } from "./input.ts";
import { type LocalKey, LocalKeys } from "./keys.ts";
import { type Answer, OPERATIONS, type Operation, type OperationModules, operate } from "./operations.ts";
import { assertPolicy, type KeyPolicy } from "./policy.ts";
import { type LocalCredentials, verifySignature } from "./sigv4.ts";
import { loadState, saveState } from "./state.ts";

/** Settings of the simulator. */
export interface LocalKmsOptions {
  /** Who may call. */
  readonly credentials: readonly LocalCredentials[];
  /** Policy of the first key when there is none yet. */
  readonly keyPolicy: KeyPolicy;
  /** Verifies attestation documents; undefined: requests with `Recipient` are refused. */
  readonly verifyAttestation?: AttestationVerifier | undefined;
  /** Keys and TLS authority are kept here; undefined: in memory. */
  readonly folder?: string | undefined;
  /** Default `eu-central-1`. */
  readonly region?: string | undefined;
  /** Twelve digits; default `000000000000`. */
  readonly account?: string | undefined;
  /** Default `https`. */
  readonly scheme?: "https" | "http" | undefined;
  /** Default 127.0.0.1. */
  readonly host?: string | undefined;
  /** Default: a free one. */
  readonly port?: number | undefined;
  /** Further names for the certificate, beside `localhost` and 127.0.0.1. */
  readonly names?: readonly string[] | undefined;
  /** Wall clock in ms since 1970; default the system's. */
  readonly wallClock?: (() => number) | undefined;
  /** Hears of defects of the simulator itself; callers see status 500. */
  readonly onDefect?: ((error: unknown) => void) | undefined;
}

/** A running simulator. */
export interface LocalKms {
  /** `https://localhost:<port>`. */
  readonly url: string;
  readonly port: number;
  /** The certificate that clients have to trust; the same as long as the folder is. */
  readonly caPem: string;
  /** The first key. */
  readonly keyArn: string;
  readonly region: string;
  readonly faults: Faults;
  /** Requests so far that named an operation, refused and failed ones included. */
  calls(operation: Operation): number;
  /** Makes another key and gives its ARN. */
  createKey(policy: KeyPolicy): string;
  putKeyPolicy(keyArn: string, policy: KeyPolicy): void;
  setKeyEnabled(keyArn: string, enabled: boolean): void;
  close(): Promise<void>;
}

/** A document of 262,144 bytes and a ciphertext of 6144 in Base64, and the names around them. */
const BODY_BYTES_MAX = 384 * 1024;
const REQUEST_TIMEOUT_MS = 10_000;
const CONNECTIONS_MAX = 256;
const CONTENT_TYPE = "application/x-amz-json-1.1";
const TARGET_PREFIX = "TrentService.";

/** Starts the simulator. */
export const startLocalKms = async (options: LocalKmsOptions): Promise<LocalKms> => {
  const { region = "eu-central-1", account = "000000000000", scheme = "https", folder } = options;
  const wallClock = options.wallClock ?? Date.now;
  const owner = { region, account };
  const state = loadState(folder, { ...owner, nowMs: wallClock() });
  const keys = new LocalKeys(owner, state.keys);
  const save = (): void => saveState(folder, owner, { authority: state.authority, keys: keys.all() });
  const first = keys.all()[0] ?? keys.create(options.keyPolicy, wallClock());
  save();

  const faults = new Faults();
  const counts = new Map<Operation, number>();
  const modules = { keys, account, verify: options.verifyAttestation, wallClock };
  const service = { options: { ...options, region }, modules, faults, counts };
  const listener: RequestListener = (request, response) => void serve(request, response, service);
  const server =
    scheme === "http" ? createHttp(listener) : createHttps(tlsOf(options, state.authority, wallClock()), listener);
  server.requestTimeout = REQUEST_TIMEOUT_MS;
  server.maxConnections = CONNECTIONS_MAX;
  const port = await listen(server, options);

  const change = (arn: string, work: (key: LocalKey) => void): void => {
    work(keys.find(arn));
    save();
  };
  return {
    url: `${scheme}://localhost:${port}`,
    port,
    caPem: state.authority.certPem,
    keyArn: first.arn,
    region,
    faults,
    calls: (operation) => counts.get(operation) ?? 0,
    createKey: (policy) => {
      const { arn } = keys.create(policy, wallClock());
      save();
      return arn;
    },
    putKeyPolicy: (arn, policy) => {
      assertPolicy(policy);
      change(arn, (key) => {
        key.policy = policy;
      });
    },
    setKeyEnabled: (arn, enabled) =>
      change(arn, (key) => {
        key.enabled = enabled;
      }),
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
};

const tlsOf = (
  { names = [] }: LocalKmsOptions,
  authority: { readonly certPem: string; readonly keyPem: string },
  nowMs: number,
): { readonly key: string; readonly cert: string } => {
  const { keyPem, certPem } = issueServer(authority, { names: ["localhost", "127.0.0.1", ...names], nowMs });
  return { key: keyPem, cert: certPem };
};

const listen = (server: Server, { host = "127.0.0.1", port = 0 }: LocalKmsOptions): Promise<number> =>
  new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, host, () => {
      server.off("error", reject);
      resolve((server.address() as AddressInfo).port);
    });
  });

interface Service {
  readonly options: LocalKmsOptions & { readonly region: string };
  readonly modules: OperationModules;
  readonly faults: Faults;
  readonly counts: Map<Operation, number>;
}

const serve = async (request: IncomingMessage, response: ServerResponse, service: Service): Promise<void> => {
  const nowMs = service.modules.wallClock;
  try {
    const answer = await answerTo(request, service);
    if (answer !== undefined) send(response, { status: 200, body: JSON.stringify(answer), nowMs: nowMs() });
  } catch (error) {
    if (response.destroyed) return;
    if (!(error instanceof KmsFault)) service.options.onDefect?.(error);
    const fault = error instanceof KmsFault ? error : new KmsFault("KMSInternalException", "", 500);
    send(response, { status: fault.status, body: faultBody(fault), nowMs: nowMs() });
  }
};

/** undefined: no answer, ever. */
const answerTo = async (request: IncomingMessage, service: Service): Promise<Answer | undefined> => {
  const body = await readBody(request);
  const operation = operationOf(request);
  service.counts.set(operation, (service.counts.get(operation) ?? 0) + 1);
  const fault = service.faults.take();
  if (fault === "hang") return undefined;
  if (fault !== undefined) throw faultOf(fault);
  const { credentials, region } = service.options;
  const { method = "", url = "/", headers } = request;
  const nowMs = service.modules.wallClock();
  const { principal } = verifySignature({ method, url, headers, body }, { credentials, region, nowMs });
  const answer = await operate(operation, { input: readInput(body), principal }, service.modules);
  return service.faults.rewrite(operation, answer);
};

const operationOf = ({ method, headers }: IncomingMessage): Operation => {
  const target = headers["x-amz-target"];
  const name = typeof target === "string" && target.startsWith(TARGET_PREFIX) ? target.slice(TARGET_PREFIX.length) : "";
  const operation = OPERATIONS.find((candidate) => candidate === name);
  if (method !== "POST" || operation === undefined) throw new KmsFault("UnknownOperationException", "");
  return operation;
};

const readBody = async (request: IncomingMessage): Promise<Buffer> => {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length > BODY_BYTES_MAX) throw new KmsFault("RequestEntityTooLargeException", "", 413);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks, length);
};

const send = (
  response: ServerResponse,
  { status, body, nowMs }: { readonly status: number; readonly body: string; readonly nowMs: number },
): void => {
  response.writeHead(status, {
    // By this clients learn how far off their clock is.
    date: new Date(nowMs).toUTCString(),
    "content-type": CONTENT_TYPE,
    "content-length": Buffer.byteLength(body),
    "x-amzn-requestid": randomUUID(),
  });
  response.end(body);
};

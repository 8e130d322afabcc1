/** The enclave's KMS client knows what it was handed: no environment, no profile files, no instance metadata, no proxy. */

import { execFile } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type LocalKms, startLocalKms } from "#infra/local/kms/start.ts";
import { CREDENTIALS, OPEN_POLICY } from "../helpers/kms.ts";
import type { IsolationReport, IsolationTask } from "../helpers/kms-isolation-child.ts";

const CHILD = join(dirname(dirname(fileURLToPath(import.meta.url))), "helpers", "kms-isolation-child.ts");

let kms: LocalKms;
let trap: Server;
let trapped = 0;
let home: string;
let environment: Record<string, string>;

beforeAll(async () => {
  kms = await startLocalKms({ credentials: [CREDENTIALS], keyPolicy: OPEN_POLICY });
  trap = createServer((socket) => {
    trapped += 1;
    socket.destroy();
  });
  await new Promise<void>((resolve) => trap.listen(0, "127.0.0.1", resolve));
  const url = `http://127.0.0.1:${(trap.address() as { port: number }).port}`;
  home = mkdtempSync(join(tmpdir(), "testudo-kms-home-"));
  mkdirSync(join(home, ".aws"));
  const profile = `[default]\nregion = us-west-2\nendpoint_url = ${url}\nmax_attempts = 9\nretry_mode = adaptive\n`;
  writeFileSync(join(home, ".aws", "config"), profile);
  writeFileSync(join(home, ".aws", "credentials"), "[default]\naws_access_key_id = A\naws_secret_access_key = B\n");
  environment = {
    PATH: process.env.PATH ?? "",
    HOME: home,
    AWS_REGION: "us-west-2",
    AWS_ENDPOINT_URL: url,
    AWS_ENDPOINT_URL_KMS: url,
    AWS_MAX_ATTEMPTS: "9",
    AWS_RETRY_MODE: "adaptive",
    AWS_USE_FIPS_ENDPOINT: "true",
    AWS_USE_DUALSTACK_ENDPOINT: "true",
    AWS_ACCESS_KEY_ID: "AKIAENVIRONMENT",
    AWS_SECRET_ACCESS_KEY: "environment",
    AWS_SDK_UA_APP_ID: "environment",
    AWS_EC2_METADATA_SERVICE_ENDPOINT: url,
    AWS_LAMBDA_FUNCTION_NAME: "function",
    _X_AMZN_TRACE_ID: "trace",
    NODE_USE_ENV_PROXY: "1",
    NODE_TLS_REJECT_UNAUTHORIZED: "0",
    HTTPS_PROXY: url,
    HTTP_PROXY: url,
    ALL_PROXY: url,
  };
});

afterAll(async () => {
  await kms.close();
  await new Promise((resolve) => trap.close(resolve));
  rmSync(home, { recursive: true, force: true });
});

const run = async (
  mode: IsolationTask["mode"],
  { ca, env }: { ca?: string | undefined; env?: Record<string, string> } = { ca: kms.caPem },
): Promise<IsolationReport> => {
  const wrappedBase64 = Buffer.alloc(100).toString("base64");
  const task: IsolationTask = { mode, keyArn: kms.keyArn, port: kms.port, ca, wrappedBase64 };
  const options = { env: { ...environment, ...env }, timeout: 20_000 };
  const { stdout } = await promisify(execFile)(process.execPath, [CHILD, JSON.stringify(task)], options);
  return JSON.parse(stdout) as IsolationReport;
};

/** Neither decides anything: whether the SDK warns of an old Node, and a default of Node's that the client overrides. */
const HARMLESS = ["AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED", "NODE_TLS_REJECT_UNAUTHORIZED"];

test("the enclave's client reads no variable and no file, and goes where it was told", async () => {
  const report = await run("enclave");
  // The request came through, signed by the credentials that were handed in, and was judged: there is no attestation.
  expect(report.failure).toMatch(/ValidationException \(HTTP 400\)/);
  expect(kms.calls("Decrypt")).toBe(1);
  expect(report.variables.filter((name) => !HARMLESS.includes(name))).toEqual([]);
  expect(report.files).toEqual([]);
  expect(trapped).toBe(0);
});

test("a variable that tells Node to believe any certificate is not obeyed", async () => {
  const report = await run("enclave", { ca: undefined });
  expect(report.failure).toMatch(/did not prove to be localhost/);
});

test("the SDK as it comes reads both and walks into the trap: the recorder records", async () => {
  const report = await run("plain", { env: { AWS_USE_FIPS_ENDPOINT: "false", AWS_USE_DUALSTACK_ENDPOINT: "false" } });
  expect(report.failure).toBeDefined();
  expect(report.variables).toEqual(expect.arrayContaining(["AWS_REGION", "AWS_ENDPOINT_URL_KMS"]));
  expect(report.files).toEqual(expect.arrayContaining([join(home, ".aws", "config")]));
  expect(trapped).toBeGreaterThan(0);
});

/**
 * Makes one call of KMS in a process of its own and reports what was read on the way: variables of the environment and
 * files. `enclave`: with the enclave's client; `plain`: with the SDK as it comes, which shows that the recorder records.
 */

import fs from "node:fs";
import { syncBuiltinESMExports } from "node:module";
import type { AttestationAuthority } from "./kms.ts";

/** What the parent process tells. */
export interface IsolationTask {
  readonly mode: "enclave" | "plain";
  readonly keyArn: string;
  readonly port: number;
  /** undefined: Node's roots. */
  readonly ca?: string | undefined;
  readonly wrappedBase64: string;
}

/** What this process tells. */
export interface IsolationReport {
  readonly variables: readonly string[];
  readonly files: readonly string[];
  readonly failure: string | undefined;
}

const task = JSON.parse(process.argv[2] ?? "{}") as IsolationTask;
const variables = new Set<string>();
const files = new Set<string>();

const record =
  <A extends unknown[], R>(work: (...args: A) => R) =>
  (...args: A): R => {
    files.add(String(args[0]));
    return work(...args);
  };
for (const name of ["readFile", "readFileSync", "open", "openSync", "createReadStream"] as const) {
  Object.assign(fs, { [name]: record(fs[name] as (...args: unknown[]) => unknown) });
}
for (const name of ["readFile", "open"] as const) {
  Object.assign(fs.promises, { [name]: record(fs.promises[name] as (...args: unknown[]) => unknown) });
}
syncBuiltinESMExports();
const environment = new Proxy(process.env, {
  get: (target, name) => {
    if (typeof name === "string") variables.add(name);
    return Reflect.get(target, name);
  },
  has: (target, name) => {
    if (typeof name === "string") variables.add(name);
    return Reflect.has(target, name);
  },
});
Object.defineProperty(process, "env", { value: environment });

const { createKmsClient } = await import("#enclave/kms/kms-client.ts");
const { createRecipient } = await import("#enclave/kms/recipient.ts");
const { DecryptCommand, KMSClient } = await import("@aws-sdk/client-kms");
const { CREDENTIALS, connectLocal } = await import("./kms.ts");

const callFromEnclave = async (): Promise<void> => {
  // The answer is for nobody's key here: how far the call comes is seen by the simulator.
  const attest: ReturnType<AttestationAuthority["module"]>["attest"] = async () => new Uint8Array(100);
  const recipient = await createRecipient({ attest });
  const options = { keyArn: task.keyArn, endpoint: `https://localhost:${task.port}`, ca: task.ca };
  const modules = {
    recipient,
    connect: () => connectLocal(task.port),
    now: () => performance.now(),
    random: Math.random,
  };
  const session = createKmsClient(options, modules).session(CREDENTIALS);
  await session.decryptDataKey(Buffer.from(task.wrappedBase64, "base64"), {}).finally(() => session.close());
};

const callPlainly = async (): Promise<void> => {
  const client = new KMSClient({ maxAttempts: 1 });
  await client.send(new DecryptCommand({ CiphertextBlob: Buffer.from(task.wrappedBase64, "base64") }));
};

// What loading the packages reads is the packages' own files; from here on nothing may be read.
variables.clear();
files.clear();
let failure: string | undefined;
try {
  await (task.mode === "enclave" ? callFromEnclave() : callPlainly());
} catch (error) {
  failure = String(error);
}
const report: IsolationReport = { variables: [...variables], files: [...files], failure };
process.stdout.write(`${JSON.stringify(report)}\n`);

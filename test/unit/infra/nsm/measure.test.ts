/** Measurements of local workers: they follow the code, and nothing else. */

import { createHash } from "node:crypto";
import { cpSync, mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeEach, describe, expect, it } from "vitest";
import { measureWorker, pcrsOfWorker } from "../../../../infra/local/nsm/measure.ts";
import { toHex } from "../../../../protocol/bytes.ts";

const ROOT = fileURLToPath(new URL("../../../../", import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "testudo-measure-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const FILES = {
  "package-lock.json": "{}",
  "protocol/a.ts": "export const a = 1;",
  "protocol/deep/b.ts": "export const b = 2;",
  "enclave-worker/main.ts": "main();",
  "enclave-worker/native/src/sign.c": "int sign;",
} as const;

const write = (name: string, content: string): void => {
  mkdirSync(join(folder, name, ".."), { recursive: true });
  writeFileSync(join(folder, name), content);
};

/** Which of PCR0, 1 and 2 a change of the folder changes. */
const changedBy = (change: () => void): string => {
  const values = () => Object.values(measureWorker(folder)).map(toHex);
  const before = values();
  change();
  return values()
    .flatMap((value, index) => (value === before[index] ? [] : [index]))
    .join(",");
};

beforeEach(() => {
  rmSync(folder, { recursive: true, force: true });
  for (const [name, content] of Object.entries(FILES)) write(name, content);
});

describe("a measurement", () => {
  it.each<[name: string, expected: string, change: () => void]>([
    ["a byte of the protocol", "0,2", () => write("protocol/deep/b.ts", "export const b = 3;")],
    ["a byte of the worker", "0,2", () => write("enclave-worker/main.ts", "main( );")],
    ["a byte of its C sources", "0,2", () => write("enclave-worker/native/src/sign.c", "int sign2;")],
    ["a new file", "0,2", () => write("protocol/c.ts", "")],
    ["a removed file", "0,2", () => rmSync(join(folder, "protocol/a.ts"))],
    ["a renamed file", "0,2", () => renameSync(join(folder, "protocol/a.ts"), join(folder, "protocol/z.ts"))],
    ["a package", "0,1", () => write("package-lock.json", '{"a":1}')],
    ["nothing", "", () => undefined],
    ["the same content again", "", () => write("protocol/a.ts", FILES["protocol/a.ts"])],
    ["what the build leaves", "", () => write("enclave-worker/native/build/testudo-signer.node", "ELF")],
    ["a text for people", "", () => write("enclave-worker/native/README.md", "read me")],
    ["an editor's hidden file", "", () => write("protocol/.a.ts.swp", "x")],
    ["the gateway", "", () => write("gateway/server.ts", "serve();")],
  ])("is changed by %s in PCRs [%s]", (_name, expected, change) => {
    expect(changedBy(change)).toBe(expected);
  });

  it("does not depend on where the sources lie", () => {
    const other = join(folder, "elsewhere");
    const before = measureWorker(folder);
    for (const name of ["package-lock.json", "protocol", "enclave-worker"])
      cpSync(join(folder, name), join(other, name), { recursive: true });
    expect(measureWorker(other)).toEqual(before);
  });

  it("is SHA-384 of zeros and of the hash over hashes and names, in the order of the names", () => {
    const sha384 = (...data: (string | Uint8Array)[]) =>
      data.reduce((hash, part) => hash.update(part), createHash("sha384")).digest();
    const list = Object.entries(FILES)
      .toSorted(([a], [b]) => (a < b ? -1 : 1))
      .map(([name, content]) => `${sha384(content).toString("hex")} ${name}\n`)
      .join("");
    expect(Buffer.from(measureWorker(folder).pcr0)).toEqual(sha384(new Uint8Array(48), sha384(list)));
  });

  it("of this very worker has three different values, none of zeros", () => {
    const values = Object.values(measureWorker(ROOT)).map(toHex);
    expect(new Set(values).size).toBe(3);
    for (const value of values) expect(value).toMatch(/^0x(?!0{96})[0-9a-f]{96}$/);
  });

  it("becomes PCR0, 1, 2 and, of the instance's name, 4", () => {
    const measurement = measureWorker(folder);
    const pcrs = pcrsOfWorker(measurement, { instanceId: "i-one" });
    expect([...pcrs.keys()]).toEqual([0, 1, 2, 4]);
    expect(pcrs.get(0)).toEqual(measurement.pcr0);
    expect(pcrs.get(4)).not.toEqual(pcrsOfWorker(measurement, { instanceId: "i-two" }).get(4));
  });
});

/**
 * Measurements of a local enclave worker: what stands in the PCRs that a real enclave has of its image. They change with
 * the code, so that "another PCR0" means another program here, too. What they cannot do: prove that the measured files
 * are the ones that run.
 */

import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { PCR_BYTES } from "#protocol/attestation/document.ts";

/** The measurements, 48 bytes each. In a real image they cover the same things as they are packed there. */
export interface WorkerMeasurement {
  /** The whole image: everything that PCR1 and PCR2 cover. */
  readonly pcr0: Uint8Array;
  /** What the program stands on (kernel and boot in a real image): `package-lock.json`, which names every package's hash. */
  readonly pcr1: Uint8Array;
  /** The program: the sources in `protocol/` and `enclave-worker/`. */
  readonly pcr2: Uint8Array;
}

const FOUNDATION = ["package-lock.json"] as const;
const PROGRAM_FOLDERS = ["protocol", "enclave-worker"] as const;
/** What a build leaves among the sources (`enclave-worker/native/build`); its inputs are measured. */
const BUILD_FOLDER = /(?:^|\/)build\//;
/** Not part of a program: files that editors and systems hide, and texts for people. */
const NOT_MEASURED = /(?:^|\/)\.|\.md$/;

/** Measures the worker whose sources lie below `rootFolder`; about 200 files, some 10 ms. */
export const measureWorker = (rootFolder: string): WorkerMeasurement => {
  const program = PROGRAM_FOLDERS.flatMap((folder) => filesBelow(rootFolder, folder));
  return {
    pcr0: measure(rootFolder, [...FOUNDATION, ...program]),
    pcr1: measure(rootFolder, FOUNDATION),
    pcr2: measure(rootFolder, program),
  };
};

/** PCRs of a software NSM for a worker; PCR4 is of the instance's name, as in a real one (user guide, "Where to get an enclave's measurements"). */
export const pcrsOfWorker = (
  { pcr0, pcr1, pcr2 }: WorkerMeasurement,
  { instanceId }: { readonly instanceId: string },
): ReadonlyMap<number, Uint8Array> =>
  new Map([
    [0, pcr0],
    [1, pcr1],
    [2, pcr2],
    [4, extendZeros(sha384(instanceId))],
  ]);

const filesBelow = (rootFolder: string, folder: string): string[] =>
  readdirSync(join(rootFolder, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => `${folder}${entry.parentPath.slice(join(rootFolder, folder).length)}/${entry.name}`)
    .filter((path) => !BUILD_FOLDER.test(path) && !NOT_MEASURED.test(path));

/** A PCR over files: their hashes and names in the order of the names. */
const measure = (rootFolder: string, paths: readonly string[]): Uint8Array => {
  const list = createHash("sha384");
  for (const path of paths.toSorted())
    list.update(`${sha384(readFileSync(join(rootFolder, path))).toString("hex")} ${path}\n`);
  return extendZeros(list.digest());
};

/** A PCR starts as zeros and is extended once: SHA-384 of the old value and the new digest. */
const extendZeros = (digest: Uint8Array): Uint8Array =>
  new Uint8Array(createHash("sha384").update(new Uint8Array(PCR_BYTES)).update(digest).digest());

const sha384 = (data: Uint8Array | string): Buffer => createHash("sha384").update(data).digest();

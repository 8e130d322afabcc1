/** A production document of AWS, with what is known of it. */

import { existsSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

const PATH = ["../../../vectors/nitro", "../../../../../shared/vectors/nitro"]
  .map((folder) => fileURLToPath(new URL(`${folder}/attestation-production.b64`, import.meta.url)))
  .find(existsSync);

/** Base64 as it lies there; undefined where the vectors are not. */
export const realDocumentText = PATH === undefined ? undefined : readFileSync(PATH, "utf8");

/** Says in a test's name why it was skipped. */
export const withRealDocument = (name: string): string =>
  realDocumentText === undefined ? `${name} (skipped: ../shared not there)` : name;

/** The signed document's bytes. */
export const realDocument = new Uint8Array(Buffer.from(realDocumentText ?? "", "base64"));

/** A time at which it holds; its leaf is valid from 20:40:25 to 23:40:28. */
export const REAL_DOCUMENT_MS = Date.parse("2026-01-03T21:00:00Z");

/** Its PCR0. */
export const REAL_PCR0 =
  "4b8d4cf2a99e05ce1b5bddaf9d21cb446eb0e606c5bebd1ebf02b473a22165f7b68b0bb0d1ac5a90f0311e493522cfab";

/**
 * The smallest parts of reading JSON strictly: own members only, one error text for every misfit. No SSZ code in here,
 * so that the command line can read a network with it.
 */

import { fromHex, quote } from "../bytes.ts";
import { SignerError } from "../errors.ts";

/** Reads one JSON value; `path` (like `attestation.source.epoch`) is for the error. Throws SignerError `bad_request`. */
export type JsonReader<V> = (json: unknown, path: string) => V;

/** A JSON object as `JSON.parse` gives it: own members of unknown type. */
export type JsonObject = Readonly<Record<string, unknown>>;

/** Throws the `bad_request` that says what was expected at `path` and what came. */
export const refuse = (path: string, expected: string, value: unknown): never => {
  throw new SignerError("bad_request", `${path}: expected ${expected}, got ${describe(value)}`);
};

/** Reads a JSON object (not null, not an array). */
export const readObject: JsonReader<JsonObject> = (json, path) =>
  typeof json === "object" && json !== null && !Array.isArray(json)
    ? (json as JsonObject)
    : refuse(path, "an object", json);

/** The own member `key`, or undefined (which no JSON value is, so every reader refuses it as missing). */
export const ownMember = (object: JsonObject, key: string): unknown =>
  Object.hasOwn(object, key) ? object[key] : undefined;

/** Reads exactly `length` bytes of hex in either case; the `0x` is required. */
export const readBytes = (json: unknown, path: string, length: number): Uint8Array =>
  typeof json === "string" && json.startsWith("0x")
    ? fromHex(json, length, path)
    : refuse(path, `${length} bytes of 0x-hex`, json);

/** What came, in a few characters, whatever its size and depth. */
const describe = (value: unknown): string => {
  if (value === undefined) return "nothing";
  if (Array.isArray(value)) return `an array of ${value.length}`;
  if (typeof value === "object" && value !== null) return "an object";
  return quote(value);
};

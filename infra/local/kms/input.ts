/** Reads the JSON bodies of requests: each field once, into its type, within KMS's bounds. */

import { invalid, KmsFault } from "./errors.ts";
import type { Context } from "./keys.ts";

/** A request's body. */
export type Input = Readonly<Record<string, unknown>>;

const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;
/** AWS KMS developer guide, encryption context: at most 8192 characters in all. */
const CONTEXT_CHARACTERS_MAX = 8192;

/** The object in a body. @throws KmsFault `SerializationException` */
export const readInput = (body: Uint8Array): Input => {
  let value: unknown;
  try {
    value = JSON.parse(Buffer.from(body).toString("utf8"));
  } catch {
    throw new KmsFault("SerializationException", "");
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new KmsFault("SerializationException", "");
  }
  return value as Input;
};

/** A text; undefined where it is absent. */
export const optionalText = (input: Input, name: string): string | undefined => {
  const value = input[name];
  if (value === undefined || value === null) return undefined;
  if (typeof value !== "string") throw new KmsFault("SerializationException", `${name}: expected a text`);
  return value;
};

/** A text that has to be there. */
export const requiredText = (input: Input, name: string): string => {
  const value = optionalText(input, name);
  if (value === undefined || value === "") throw invalid(`Value null at '${name}' failed to satisfy constraint`);
  return value;
};

/** Bytes in Base64, 1 to `bytesMax` of them. */
export const requiredBytes = (input: Input, name: string, bytesMax: number): Buffer => {
  const text = requiredText(input, name);
  if (!BASE64.test(text)) throw new KmsFault("SerializationException", `${name}: expected Base64`);
  const bytes = Buffer.from(text, "base64");
  if (bytes.length > bytesMax) throw invalid(`${name}: expected at most ${bytesMax} bytes, got ${bytes.length}`);
  return bytes;
};

/** A whole number; undefined where it is absent. */
export const optionalNumber = (
  input: Input,
  name: string,
  { min, max }: { readonly min: number; readonly max: number },
): number | undefined => {
  const value = input[name];
  if (value === undefined || value === null) return undefined;
  if (typeof value !== "number" || !Number.isInteger(value) || value < min || value > max) {
    throw invalid(`${name}: expected a whole number from ${min} to ${max}`);
  }
  return value;
};

/** The encryption context; absent is empty. */
export const readContext = (input: Input): Context => {
  const value = input.EncryptionContext ?? {};
  if (typeof value !== "object" || Array.isArray(value)) {
    throw new KmsFault("SerializationException", "EncryptionContext: expected an object");
  }
  const pairs = Object.entries(value);
  if (!pairs.every(([name, text]) => name !== "" && typeof text === "string")) {
    throw new KmsFault("SerializationException", "EncryptionContext: expected texts");
  }
  if (JSON.stringify(value).length > CONTEXT_CHARACTERS_MAX) throw invalid("EncryptionContext: too long");
  return Object.fromEntries(pairs) as Context;
};

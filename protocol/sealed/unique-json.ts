/**
 * JSON in which every member has one meaning (RFC 8259 in strict UTF-8). `JSON.parse` takes the last of two members of
 * one name; another reader of the same signed bytes may take the first. So a document with such a pair is refused.
 */

import { quote } from "../bytes.ts";
import { SignerError } from "../errors.ts";
import { createJsonScanner } from "../slashing/json-scanner.ts";

/**
 * Parses a whole document. Total.
 * @throws SignerError `bad_request`: not JSON, not UTF-8, a byte order mark, or a name twice in one object
 */
export const parseUniqueJson = (bytes: Uint8Array, { what }: { what: string }): unknown => {
  refuseDuplicates(bytes, what);
  try {
    // `ignoreBOM` keeps a byte order mark in the text, where JSON.parse refuses it.
    return JSON.parse(new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes));
  } catch (cause) {
    throw new SignerError("bad_request", `${what}: expected JSON in UTF-8 without a byte order mark`, { cause });
  }
};

const refuseDuplicates = (bytes: Uint8Array, what: string): void => {
  /** Names of each container that is open, the innermost last; arrays have none. */
  const names: Set<string>[] = [];
  const scanner = createJsonScanner(
    {
      begin: (kind) => {
        if (kind !== "object" && kind !== "array") return "skip";
        names.push(new Set());
        return "enter";
      },
      key: (name) => {
        const seen = names.at(-1) as Set<string>;
        if (seen.has(name))
          throw new SignerError("bad_request", `${what}: expected each member once, got ${quote(name)} twice`);
        seen.add(name);
      },
      value: () => undefined,
      end: () => void names.pop(),
    },
    { what },
  );
  scanner.write(bytes);
  scanner.end();
};

/** The MAC keys file: private, bound to its store, never replaced, and refused when it is not whole. */

import { chmodSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beforeEach, describe, expect, onTestFinished, test } from "vitest";
import type { MacKeys } from "#protocol/slashing/mac.ts";
import { newMacKeys, readMacKeysFile, writeMacKeysFile } from "../../../../cli/sealing/mac-keys-file.ts";

const STORE_ID = new Uint8Array(16).fill(7);
let path: string;

beforeEach(() => {
  const folder = mkdtempSync(join(tmpdir(), "mac-keys-"));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  path = join(folder, "mac-keys.bin");
});

test("keys come back, and the file is its owner's alone", () => {
  const keys: MacKeys = {
    macKeys: new Map([
      [1, new Uint8Array(32).fill(1)],
      [9, new Uint8Array(32).fill(9)],
    ]),
    writingKeyId: 9,
  };
  expect(readMacKeysFile(path, STORE_ID)).toBeUndefined();
  writeMacKeysFile(path, STORE_ID, keys);
  expect(statSync(path).mode & 0o777).toBe(0o600);
  expect(readMacKeysFile(path, STORE_ID)).toEqual(keys);
});

test("new keys are new each time", () => {
  expect(newMacKeys()).not.toEqual(newMacKeys());
});

test("an existing file is never replaced", () => {
  const keys = newMacKeys();
  writeMacKeysFile(path, STORE_ID, keys);
  expect(() => writeMacKeysFile(path, STORE_ID, newMacKeys())).toThrow(/never replaced/);
  expect(readMacKeysFile(path, STORE_ID)).toEqual(keys);
});

describe("is refused", () => {
  const rewrite = (change: (bytes: Buffer) => Buffer): void => {
    writeMacKeysFile(path, STORE_ID, newMacKeys());
    writeFileSync(path, change(readFileSync(path)));
  };
  test.each<[string, (bytes: Buffer) => Buffer, RegExp]>([
    ["something else", () => Buffer.from("{}"), /expected a file of MAC keys/],
    ["nothing", () => Buffer.alloc(0), /expected a file of MAC keys/],
    ["a file that is cut short", (bytes) => bytes.subarray(0, -1), /cut short or altered/],
    ["a file with more", (bytes) => Buffer.concat([bytes, Buffer.from([0])]), /cut short or altered/],
    [
      "a key that writes and is not there",
      (bytes) => {
        bytes.writeUInt16BE(2, bytes.length - 2);
        return bytes;
      },
      /it is altered/,
    ],
    ["a huge file", () => Buffer.alloc(100_000), /expected at most \d+ bytes, got 100000/],
  ])("%s", (_what, change, text) => {
    rewrite(change);
    expect(() => readMacKeysFile(path, STORE_ID)).toThrow(text);
  });

  test("the file of another store", () => {
    writeMacKeysFile(path, STORE_ID, newMacKeys());
    expect(() => readMacKeysFile(path, new Uint8Array(16))).toThrow(/expected the keys of store 0x00/);
  });

  test("a file that others can read", () => {
    writeMacKeysFile(path, STORE_ID, newMacKeys());
    chmodSync(path, 0o640);
    expect(() => readMacKeysFile(path, STORE_ID)).toThrow(/expected mode 600, got 640/);
  });
});

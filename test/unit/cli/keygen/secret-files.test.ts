/** Files with a password or a mnemonic. */

import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { newMnemonic } from "../../../../cli/keygen/mnemonic.ts";
import {
  readMnemonicFile,
  readPasswordFile,
  refuseExisting,
  writeMnemonicFile,
} from "../../../../cli/keygen/secret-files.ts";
import { refusal } from "../../protocol/sealed/bundles.ts";

const folder = mkdtempSync(join(tmpdir(), "tt-"));
afterAll(() => rmSync(folder, { recursive: true }));
let files = 0;
const file = (content: string | Uint8Array, mode = 0o600): string => {
  files += 1;
  const path = join(folder, `f${files}`);
  writeFileSync(path, content);
  chmodSync(path, mode);
  return path;
};

describe("a password file", () => {
  it.each(["correct horse\n", "12345678", "пароль–пароль", "1234567\u00e9"])("with %j is read as it is", (text) => {
    expect(Buffer.from(readPasswordFile(file(text))).toString()).toBe(text);
  });

  it.each([
    ["too short", "1234567", /at least 8 characters, got 7/],
    ["too short but for control characters", "1234567\r\n\t\u007f", /at least 8 characters, got 7/],
    ["empty", "", /got 0/],
    ["too long", "x".repeat(1025), /at most 1024 bytes, got 1025/],
    ["no text", Uint8Array.of(0xff, 0xfe, 1, 2, 3, 4, 5, 6, 7, 8), /expected text in UTF-8/],
  ])("that is %s is refused, and not repeated", (_what, content, text) => {
    const detail = refusal(() => readPasswordFile(file(content)));
    expect(detail).toMatch(text);
    expect(detail).not.toContain("1234567\n");
  });

  it("that is not there, or is a folder, is refused by its name", () => {
    expect(refusal(() => readPasswordFile(join(folder, "none")))).toMatch(
      /^--password-file .*none: cannot be read: ENOENT/,
    );
    expect(refusal(() => readPasswordFile(folder))).toMatch(/expected a file/);
  });
});

describe("a mnemonic file", () => {
  it("comes back as it was written, for its owner alone", () => {
    const path = join(folder, "deep", "mnemonic.txt");
    const mnemonic = newMnemonic();
    writeMnemonicFile(path, mnemonic);
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(statSync(join(folder, "deep")).mode & 0o777).toBe(0o700);
    expect(readMnemonicFile(path)).toBe(mnemonic);
  });

  it("is never replaced, not even a link to nowhere", () => {
    const path = file("something");
    const link = join(folder, "link");
    symlinkSync(join(folder, "nowhere"), link);
    for (const taken of [path, link]) {
      expect(refusal(() => writeMnemonicFile(taken, newMnemonic()))).toMatch(
        /never replaced; go on .* --mnemonic-file/,
      );
      expect(refusal(() => refuseExisting(taken))).toMatch(/never replaced/);
    }
    expect(readFileSync(path, "utf8")).toBe("something");
    expect(existsSync(join(folder, "nowhere"))).toBe(false);
    expect(refuseExisting(join(folder, "free"))).toBeUndefined();
  });

  it("that cannot be written says why", () => {
    mkdirSync(join(folder, "d"));
    const path = join(file("a file, no folder"), "mnemonic.txt");
    expect(refusal(() => writeMnemonicFile(path, newMnemonic()))).toMatch(/cannot be written: (ENOTDIR|EEXIST)/);
  });

  it.each([
    [0o640, /expected mode 600, got 640: others may have read it; chmod 600/],
    [0o604, /expected mode 600, got 604/],
    [0o400, undefined],
  ])("of mode %o", (mode, text) => {
    const mnemonic = newMnemonic();
    const path = file(mnemonic, mode);
    if (text === undefined) expect(readMnemonicFile(path)).toBe(mnemonic);
    else expect(refusal(() => readMnemonicFile(path))).toMatch(text);
  });

  it("that holds no mnemonic is refused without quoting it", () => {
    const detail = refusal(() => readMnemonicFile(file("hunter2 ".repeat(12))));
    expect(detail).toMatch(/^--mnemonic-file .*: not in the English word list: word 1, 2/);
    expect(detail).not.toContain("hunter2");
    expect(refusal(() => readMnemonicFile(file("x".repeat(5000))))).toMatch(/at most 4096 bytes/);
  });
});

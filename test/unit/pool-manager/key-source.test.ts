import { chmodSync, mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { listSourceKeys, type SourceKey } from "#pool-manager/keys/key-source.ts";
import { SignerError } from "#protocol/errors.ts";
import { KEYSTORE_BYTES_MAX, PASSWORD_BYTES_MAX } from "#protocol/limits.ts";
import { CONTROL_OPERATIONS, decodeOpenKeystore } from "#protocol/messages/control.ts";
import { makeSocketFolder } from "../../helpers/socket-folder.ts";

const SEALING_KEY = new Uint8Array(32).fill(1);
const ONE = `0x${"11".repeat(32)}`;
const TWO = "22".repeat(32);

let folder: ReturnType<typeof makeSocketFolder>;
beforeEach(() => {
  folder = makeSocketFolder();
});
afterEach(() => folder.remove());

const write = (name: string, content: string | Uint8Array): string => {
  writeFileSync(folder.path(name), content);
  return folder.path(name);
};
const makeFolder = (name: string): string => {
  mkdirSync(folder.path(name));
  return folder.path(name);
};
const list = (path: string, passwordPath?: string, sealingKey = SEALING_KEY): SourceKey[] =>
  listSourceKeys({ path, passwordPath, sealingKey });
const outcome = (action: () => unknown): string => {
  try {
    action();
    return "done";
  } catch (error) {
    return error instanceof SignerError ? `${error.code}: ${error.detail}` : `defect: ${String(error)}`;
  }
};
/** What an enclave would get: keystore and password, or the line. */
const opened = (key: SourceKey | undefined): string[] => {
  const { operation, payload } = key?.request() ?? { operation: 0, payload: new Uint8Array() };
  if (operation === CONTROL_OPERATIONS.openSecret) return [Buffer.from(payload).toString()];
  const { keystore, password } = decodeOpenKeystore(payload);
  return [Buffer.from(keystore).toString(), Buffer.from(password).toString()];
};
const digests = (keys: readonly SourceKey[]): string[] => keys.map((key) => Buffer.from(key.digest).toString("hex"));

describe("a text file", () => {
  it.each([
    ["line feeds", `${ONE}\n${TWO}\n`],
    ["no last line feed", `${ONE}\n${TWO}`],
    ["carriage returns", `${ONE}\r\n${TWO}\r\n`],
    ["blanks around", `  ${ONE}\t\n \t${TWO} \n`],
  ])("gives one key a line: %s", (_name, text) => {
    const keys = list(write("keys.txt", text));
    expect(keys.map((key) => key.name)).toEqual(["line 1", "line 2"]);
    expect(keys.flatMap(opened)).toEqual([ONE, TWO]);
  });

  it("skips comments and empty lines, and still counts them", () => {
    const keys = list(write("keys.txt", `# mine\r\n\r\n${ONE}\n   \n  # indented\n${TWO}\n\n`));
    expect(keys.map((key) => key.name)).toEqual(["line 3", "line 6"]);
    expect(keys.flatMap(opened)).toEqual([ONE, TWO]);
  });

  it("passes on a line that is no key: the enclave says so by name", () => {
    expect(opened(list(write("keys.txt", "garbage\n"))[0])).toEqual(["garbage"]);
  });

  it("identifies a line by its content under the folder's key, wherever it stands", () => {
    const [one, two] = digests(list(write("a.txt", `${ONE}\n${TWO}\n`)));
    expect(digests(list(write("b.txt", `# new\n${TWO}\r\n${ONE}`)))).toEqual([two, one]);
    expect(one).not.toBe(two);
    expect(digests(list(folder.path("a.txt"), undefined, new Uint8Array(32).fill(2)))).not.toContain(one);
    expect(one).toMatch(/^[0-9a-f]{64}$/);
  });

  it.each([
    ["is empty", ""],
    ["has comments only", "# nothing\n\n  \r\n"],
  ])("is refused when it %s", (_name, text) => {
    expect(outcome(() => list(write("keys.txt", text)))).toMatch(/^bad_request: --keys .*expected keystore files/);
  });
});

describe("a folder of keystores", () => {
  const keystores = (): string => {
    const path = makeFolder("keystores");
    for (const name of ["b.json", "a.json", "deposit_data-1700000000.json", "notes.txt", "c.JSON.bak"]) {
      write(`keystores/${name}`, `content of ${name}`);
    }
    return path;
  };

  it("gives its *.json files by name, without deposit data", () => {
    const keys = list(keystores(), write("password.txt", "secret"));
    expect(keys.map((key) => key.name)).toEqual(["a.json", "b.json"]);
    expect(keys.map(opened)).toEqual([
      ["content of a.json", "secret"],
      ["content of b.json", "secret"],
    ]);
  });

  it("takes each password from a folder of <keystore>.txt", () => {
    const path = keystores();
    const passwords = makeFolder("passwords");
    write("passwords/a.txt", "for a\n");
    write("passwords/b.txt", "für b");
    expect(list(path, passwords).map(opened)).toEqual([
      ["content of a.json", "for a\n"],
      ["content of b.json", "für b"],
    ]);
  });

  it("misses a password only when the keystore must be opened", () => {
    const path = keystores();
    const passwords = makeFolder("passwords");
    write("passwords/b.txt", "for b");
    const [a, b] = list(path, passwords);
    expect(outcome(() => a?.request())).toMatch(/^bad_request: a\.json: expected its password in .*passwords\/a\.txt/);
    expect(opened(b)).toEqual(["content of b.json", "for b"]);
  });

  it("reads a password anew each time: it may have been corrected", () => {
    const password = write("password.txt", "wrong");
    const [a] = list(keystores(), password);
    write("password.txt", "right");
    expect(opened(a)[1]).toBe("right");
  });

  it.each<[string, () => [path: string, passwordPath?: string], RegExp]>([
    ["no password path is given", () => [keystores()], /say --keys-password-file too/],
    [
      "the password path does not exist",
      () => [keystores(), folder.path("no")],
      /--keys-password-file .*expected a readable/,
    ],
    ["it holds no keystore", () => [makeFolder("empty"), write("p", "x")], /expected keystore files/],
    [
      "it does not exist",
      () => [folder.path("nowhere"), write("p", "x")],
      /--keys .*expected a readable file or folder/,
    ],
  ])("is refused when %s", (_name, make, reason) => {
    const [path, passwordPath] = make();
    const refused = outcome(() => list(path, passwordPath));
    expect(refused).toMatch(/^bad_request: /);
    expect(refused).toMatch(reason);
  });

  it("takes a keystore and a password up to their limits, and names what is larger", () => {
    const path = makeFolder("keystores");
    write("keystores/a.json", Buffer.alloc(KEYSTORE_BYTES_MAX, "k"));
    const password = write("password.txt", Buffer.alloc(PASSWORD_BYTES_MAX, "p"));
    expect(opened(list(path, password)[0]).map((text) => text.length)).toEqual([
      KEYSTORE_BYTES_MAX,
      PASSWORD_BYTES_MAX,
    ]);
    write("password.txt", Buffer.alloc(PASSWORD_BYTES_MAX + 1, "p"));
    const [key] = list(path, password);
    expect(outcome(() => key?.request())).toMatch(
      /^bad_request: .*password\.txt: expected at most 1024 bytes, got 1025/,
    );
    write("keystores/b.json", Buffer.alloc(KEYSTORE_BYTES_MAX + 1, "k"));
    expect(outcome(() => list(path, password))).toMatch(
      /^bad_request: .*b\.json: expected at most 16384 bytes, got 16385/,
    );
  });

  it("says which file cannot be read", () => {
    const path = makeFolder("keystores");
    symlinkSync(folder.path("gone"), folder.path("keystores/a.json"));
    expect(outcome(() => list(path, write("p", "x")))).toMatch(/^bad_request: .*a\.json/);
    const other = makeFolder("other");
    makeFolder("other/a.json");
    expect(outcome(() => list(other, folder.path("p")))).toMatch(/^bad_request: .*a\.json: cannot be read/);
  });

  it.skipIf(process.getuid?.() === 0)("says when it may not be listed", () => {
    const path = keystores();
    chmodSync(path, 0o000);
    try {
      expect(outcome(() => list(path, write("p", "x")))).toMatch(/^bad_request: /);
    } finally {
      chmodSync(path, 0o700);
    }
  });
});

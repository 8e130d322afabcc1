import { execFileSync } from "node:child_process";
import { chmodSync, mkdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { listSourceKeys, type SourceKey, type SourceListing } from "#pool-manager/keys/key-source.ts";
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
const listing = (path: string, passwordPath?: string): Promise<SourceListing> =>
  listSourceKeys({ path, passwordPath, sealingKey: SEALING_KEY });
const list = async (path: string, passwordPath?: string, sealingKey = SEALING_KEY): Promise<readonly SourceKey[]> =>
  (await listSourceKeys({ path, passwordPath, sealingKey })).keys;
const outcome = async (action: () => unknown): Promise<string> => {
  try {
    await action();
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
  ])("gives one key a line: %s", async (_name, text) => {
    const keys = await list(write("keys.txt", text));
    expect(keys.map((key) => key.name)).toEqual(["line 1", "line 2"]);
    expect(keys.flatMap(opened)).toEqual([ONE, TWO]);
  });

  it("skips comments and empty lines, and still counts them", async () => {
    const keys = await list(write("keys.txt", `# mine\r\n\r\n${ONE}\n   \n  # indented\n${TWO}\n\n`));
    expect(keys.map((key) => key.name)).toEqual(["line 3", "line 6"]);
    expect(keys.flatMap(opened)).toEqual([ONE, TWO]);
  });

  it("passes on a line that is no key: the enclave says so by name", async () => {
    expect(opened((await list(write("keys.txt", "garbage\n")))[0])).toEqual(["garbage"]);
  });

  it("identifies a line by its content under the folder's key, wherever it stands", async () => {
    const [one, two] = digests(await list(write("a.txt", `${ONE}\n${TWO}\n`)));
    expect(digests(await list(write("b.txt", `# new\n${TWO}\r\n${ONE}`)))).toEqual([two, one]);
    expect(one).not.toBe(two);
    expect(digests(await list(folder.path("a.txt"), undefined, new Uint8Array(32).fill(2)))).not.toContain(one);
    expect(one).toMatch(/^[0-9a-f]{64}$/);
  });

  it.each([
    ["is empty", ""],
    ["has comments only", "# nothing\n\n  \r\n"],
  ])("is refused when it %s", async (_name, text) => {
    expect(await outcome(() => list(write("keys.txt", text)))).toMatch(
      /^bad_request: --keys .*expected keystore files/,
    );
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

  it("gives its *.json files by name, without deposit data", async () => {
    const keys = await list(keystores(), write("password.txt", "secret"));
    expect(keys.map((key) => key.name)).toEqual(["a.json", "b.json"]);
    expect(keys.map(opened)).toEqual([
      ["content of a.json", "secret"],
      ["content of b.json", "secret"],
    ]);
  });

  it("takes each password from a folder of <keystore>.txt", async () => {
    const path = keystores();
    const passwords = makeFolder("passwords");
    write("passwords/a.txt", "for a\n");
    write("passwords/b.txt", "für b");
    expect((await list(path, passwords)).map(opened)).toEqual([
      ["content of a.json", "for a\n"],
      ["content of b.json", "für b"],
    ]);
  });

  it("misses a password only when the keystore must be opened", async () => {
    const path = keystores();
    const passwords = makeFolder("passwords");
    write("passwords/b.txt", "for b");
    const [a, b] = await list(path, passwords);
    expect(await outcome(() => a?.request())).toMatch(
      /^bad_request: a\.json: expected its password in .*passwords\/a\.txt/,
    );
    expect(opened(b)).toEqual(["content of b.json", "for b"]);
  });

  it("reads a password anew each time: it may have been corrected", async () => {
    const password = write("password.txt", "wrong");
    const [a] = await list(keystores(), password);
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
  ])("is refused when %s", async (_name, make, reason) => {
    const [path, passwordPath] = make();
    const refused = await outcome(() => list(path, passwordPath));
    expect(refused).toMatch(/^bad_request: /);
    expect(refused).toMatch(reason);
  });

  it("takes a keystore and a password up to their limits, and names what is larger", async () => {
    const path = makeFolder("keystores");
    write("keystores/a.json", Buffer.alloc(KEYSTORE_BYTES_MAX, "k"));
    const password = write("password.txt", Buffer.alloc(PASSWORD_BYTES_MAX, "p"));
    expect(opened((await list(path, password))[0]).map((text) => text.length)).toEqual([
      KEYSTORE_BYTES_MAX,
      PASSWORD_BYTES_MAX,
    ]);
    write("password.txt", Buffer.alloc(PASSWORD_BYTES_MAX + 1, "p"));
    const [key] = await list(path, password);
    expect(await outcome(() => key?.request())).toMatch(
      /^bad_request: .*password\.txt: expected at most 1024 bytes, got 1025/,
    );
    write("keystores/b.json", Buffer.alloc(KEYSTORE_BYTES_MAX + 1, "k"));
    const { keys, failures } = await listing(path, password);
    expect(keys.map(({ name }) => name)).toEqual(["a.json"]);
    expect(failures).toEqual([
      { name: "b.json", reason: expect.stringMatching(/b\.json: expected at most 16384 bytes, got 16385/) },
    ]);
  });

  it("names each file that cannot be read, and lists the rest", async () => {
    const path = keystores();
    makeFolder("keystores/folder.json");
    symlinkSync(folder.path("gone"), folder.path("keystores/link.json"));
    write("keystores/notes.json", Buffer.alloc(20_000, "n"));
    execFileSync("mkfifo", [folder.path("keystores/pipe.json")]);
    const odd = ["folder.json", "link.json", "notes.json", "pipe.json"];
    if (process.getuid?.() !== 0) {
      chmodSync(write("keystores/secret.json", "x"), 0o000);
      odd.push("secret.json");
    }
    const { keys, failures } = await listing(path, write("p", "x"));
    expect(keys.map(({ name }) => name)).toEqual(["a.json", "b.json"]);
    expect(failures.map(({ name }) => name)).toEqual(odd);
    for (const { name, reason } of failures) expect(reason).toContain(name);
  });

  it("does not open what is another file by now, or gone", async () => {
    const path = keystores();
    const [a, b] = await list(path, write("p", "x"));
    write("keystores/a.json", "another");
    rmSync(folder.path("keystores/b.json"));
    expect(await outcome(() => a?.request())).toMatch(/^bad_request: a\.json: changed/);
    expect(await outcome(() => b?.request())).toMatch(/^bad_request: .*b\.json: cannot be read/);
    const [line] = await list(write("keys.txt", `${ONE}\n`));
    write("keys.txt", `#\n${ONE}\n`);
    expect(await outcome(() => line?.request())).toMatch(/^bad_request: .*line 1: changed/);
  });

  it("lets others have their turn while it lists many", async () => {
    const path = makeFolder("keystores");
    for (let index = 0; index < 200; index += 1) write(`keystores/${index}.json`, "k");
    let turns = 0;
    const count = (): void => {
      turns += 1;
      if (turns < 1000) setImmediate(count);
    };
    setImmediate(count);
    const { keys } = await listing(path, write("p", "x"));
    const seen = turns;
    turns = 1000;
    expect(keys).toHaveLength(200);
    expect(seen).toBeGreaterThanOrEqual(3);
  });

  it.skipIf(process.getuid?.() === 0)("says when it may not be listed", async () => {
    const path = keystores();
    chmodSync(path, 0o000);
    try {
      expect(await outcome(() => list(path, write("p", "x")))).toMatch(/^bad_request: /);
    } finally {
      chmodSync(path, 0o700);
    }
  });
});

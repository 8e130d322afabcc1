import { chmodSync, chownSync, existsSync, mkdirSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { checkPrivateFolder, ensurePrivateFolder, type FolderKind } from "#pool-manager/private-folder.ts";
import { SignerError } from "#protocol/errors.ts";
import { makeSocketFolder } from "../../helpers/socket-folder.ts";

const KINDS: readonly FolderKind[] = ["data folder", "run folder"];
const NOBODY = 65_534;

let base: ReturnType<typeof makeSocketFolder>;
let path: string;
beforeEach(() => {
  base = makeSocketFolder();
  path = base.path("folder");
});
afterEach(() => base.remove());

const outcome = (action: () => void): string => {
  try {
    action();
    return "done";
  } catch (error) {
    return error instanceof SignerError ? `${error.code}: ${error.detail}` : `defect: ${String(error)}`;
  }
};
const modeOf = (folder: string): string => (statSync(folder).mode & 0o777).toString(8);
const make = (mode: number): void => {
  mkdirSync(path);
  chmodSync(path, mode);
};
/** A folder of another user: one that we give away, or, for want of rights, one of the system. */
const foreignFolder = (): string => {
  if (process.getuid?.() !== 0) return "/usr";
  make(0o700);
  chownSync(path, NOBODY, NOBODY);
  return path;
};

describe.each(KINDS)("a %s", (kind) => {
  it("is made with mode 700, whatever the umask, with the folders above it", () => {
    const before = process.umask(0);
    try {
      ensurePrivateFolder(base.path("a/b"), kind);
    } finally {
      process.umask(before);
    }
    expect([modeOf(base.path("a")), modeOf(base.path("a/b"))]).toEqual(["700", "700"]);
    expect(outcome(() => ensurePrivateFolder(base.path("a/b"), kind))).toBe("done");
  });

  it("of another user is refused, with its path and what to do", () => {
    const foreign = foreignFolder();
    for (const action of [ensurePrivateFolder, checkPrivateFolder]) {
      const refused = outcome(() => action(foreign, kind));
      expect(refused).toMatch(new RegExp(`^bad_request: ${kind} ${foreign}: expected user id .*--data`));
    }
  });

  it("that is a file, or cannot be made, is refused", () => {
    writeFileSync(path, "");
    expect(outcome(() => ensurePrivateFolder(path, kind))).toMatch(/^bad_request: .*cannot be made/);
    expect(outcome(() => checkPrivateFolder(path, kind))).toMatch(/^bad_request: .*expected a folder/);
    expect(outcome(() => ensurePrivateFolder(`${path}/below`, kind))).toMatch(/^bad_request: .*cannot be made/);
  });

  it("is not made by looking at it", () => {
    expect(outcome(() => checkPrivateFolder(path, kind))).toMatch(/^bad_request: .*cannot be looked at/);
    expect(existsSync(path)).toBe(false);
  });

  it("with rights for others is not changed by looking at it", () => {
    make(0o750);
    expect(outcome(() => checkPrivateFolder(path, kind))).toMatch(/^bad_request: .*expected mode 700, got 750/);
    expect(modeOf(path)).toBe("750");
  });
});

it("a data folder of ours loses the rights of others", () => {
  make(0o755);
  ensurePrivateFolder(path, "data folder");
  expect(modeOf(path)).toBe("700");
});

it.each([0o701, 0o710, 0o777])(
  "a run folder of ours with mode %o is refused: others may have put sockets there",
  (mode) => {
    make(mode);
    expect(outcome(() => ensurePrivateFolder(path, "run folder"))).toMatch(/^bad_request: .*mode 700.*remove it/);
  },
);

it("a link to a data folder is followed, one in the place of a run folder is not", () => {
  make(0o700);
  symlinkSync(path, base.path("link"));
  expect(outcome(() => ensurePrivateFolder(base.path("link"), "data folder"))).toBe("done");
  expect(outcome(() => ensurePrivateFolder(base.path("link"), "run folder"))).toMatch(/^bad_request: .*no link/);
});

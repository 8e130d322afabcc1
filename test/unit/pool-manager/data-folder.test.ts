import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { chmodSync, existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type DataFolder, type DataFolderOptions, openDataFolder, readDataFolder } from "#pool-manager/data-folder.ts";
import { SignerError } from "#protocol/errors.ts";
import { makeSocketFolder } from "../../helpers/socket-folder.ts";

const HOLDER = fileURLToPath(new URL("../../helpers/folder-holder.ts", import.meta.url));
const ROOT = new Uint8Array(32).fill(0x22);
const ROOT_HEX = `0x${"22".repeat(32)}`;
const OTHER_ROOT = new Uint8Array(32).fill(0x23);

let base: ReturnType<typeof makeSocketFolder>;
let path: string;
let open: DataFolder[];
let children: ChildProcess[];

beforeEach(() => {
  base = makeSocketFolder();
  path = base.path("data");
  open = [];
  children = [];
});
afterEach(async () => {
  closeAll();
  for (const child of children) await kill(child);
  base.remove();
});

const openFolder = (options: Partial<DataFolderOptions> = {}): DataFolder => {
  const folder = openDataFolder({ path, store: "sqlite", ...options });
  open.push(folder);
  return folder;
};
const closeAll = (): void => {
  for (const folder of open.splice(0)) folder.close();
};
const outcome = (action: () => unknown): string => {
  try {
    action();
    return "done";
  } catch (error) {
    return error instanceof SignerError ? `${error.code}: ${error.detail}` : `defect: ${String(error)}`;
  }
};
const holdElsewhere = async (): Promise<ChildProcess> => {
  const child = spawn(process.execPath, [HOLDER, path], { stdio: ["ignore", "pipe", "inherit"] });
  children.push(child);
  await once(child.stdout as NodeJS.EventEmitter, "data");
  return child;
};
const kill = async (child: ChildProcess): Promise<void> => {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exited = once(child, "exit");
  child.kill("SIGKILL");
  await exited;
};
const modeOf = (...names: string[]): string => (statSync(join(path, ...names)).mode & 0o777).toString(8);

describe("a data folder", () => {
  it("gets an identity at its first opening and keeps it", () => {
    const first = openFolder({ genesisValidatorsRoot: ROOT });
    expect(first.isNew).toBe(true);
    expect(first.installation).toEqual({
      storeIdHex: expect.stringMatching(/^0x[0-9a-f]{32}$/),
      store: "sqlite",
      storeInitialised: false,
      genesisValidatorsRootHex: ROOT_HEX,
    });
    expect(first.secrets.macKey.length).toBe(32);
    expect(first.secrets.sealingKey.length).toBe(32);
    expect(Buffer.from(first.secrets.macKey).equals(first.secrets.sealingKey)).toBe(false);
    closeAll();
    const second = openFolder({ genesisValidatorsRoot: ROOT });
    expect(second.isNew).toBe(false);
    expect(second.installation).toEqual(first.installation);
    expect(second.secrets).toEqual(first.secrets);
  });

  it("is another one elsewhere", () => {
    const first = openFolder();
    const second = openFolder({ path: base.path("other") });
    expect(second.installation.storeIdHex).not.toBe(first.installation.storeIdHex);
    expect(Buffer.from(first.secrets.macKey).equals(second.secrets.macKey)).toBe(false);
  });

  it("lets nobody else in: folders 700, files 600", () => {
    const before = process.umask(0);
    try {
      openFolder().recordInitialised(ROOT_HEX);
    } finally {
      process.umask(before);
    }
    expect(modeOf()).toBe("700");
    expect(modeOf("secrets")).toBe("700");
    for (const names of [["installation.json"], ["secrets", "sealing.key"], ["secrets", "mac.key"]]) {
      expect([names, modeOf(...names)]).toEqual([names, "600"]);
    }
  });

  it("takes back the rights of others on its secrets", () => {
    openFolder();
    closeAll();
    chmodSync(join(path, "secrets", "mac.key"), 0o644);
    openFolder();
    expect(modeOf("secrets", "mac.key")).toBe("600");
  });

  it("remembers the store's first use and the chain, once", () => {
    const folder = openFolder();
    folder.recordInitialised(ROOT_HEX);
    folder.recordInitialised(`0x${"99".repeat(32)}`);
    const { installation } = folder;
    expect(installation).toMatchObject({ storeInitialised: true, genesisValidatorsRootHex: ROOT_HEX });
    closeAll();
    expect(openFolder().installation).toEqual(installation);
  });

  it("says where it cannot be made", () => {
    writeFileSync(base.path("file"), "");
    expect(outcome(() => openFolder({ path: base.path("file/data") }))).toMatch(/^bad_request: .*choose another/);
  });
});

describe("the lock", () => {
  it("refuses a second opening in the same process, and is free after closing", () => {
    openFolder();
    expect(outcome(() => openFolder())).toMatch(/^unavailable: .*in use by another Testudo/);
    closeAll();
    expect(outcome(() => openFolder())).toBe("done");
  });

  it("refuses an opening while another process holds it, and is free as soon as that was killed", async () => {
    const holder = await holdElsewhere();
    expect(outcome(() => openFolder())).toMatch(/^unavailable: .*in use by another Testudo/);
    expect(outcome(() => openFolder())).toMatch(/^unavailable/);
    await kill(holder);
    expect(outcome(() => openFolder())).toBe("done");
    expect(existsSync(join(path, "lock"))).toBe(true);
  });

  it("holds against another process while this one does", async () => {
    openFolder();
    const child = spawn(process.execPath, [HOLDER, path], { stdio: "ignore" });
    children.push(child);
    const [code] = await once(child, "exit");
    expect(code).toBe(1);
  });

  it("is given back when the folder turns out to be another one", () => {
    openFolder();
    closeAll();
    expect(outcome(() => openFolder({ store: "redis://elsewhere:6379/0" }))).toMatch(/^bad_request/);
    expect(outcome(() => openFolder())).toBe("done");
  });

  it("does not keep readers out", async () => {
    await holdElsewhere();
    expect(readDataFolder({ path, store: "sqlite" }).installation.store).toBe("sqlite");
  });
});

describe("a folder that does not fit", () => {
  const openers = {
    openDataFolder: openFolder,
    readDataFolder: (options: object) => readDataFolder({ path, store: "sqlite", ...options }),
  };

  it.each(["openDataFolder", "readDataFolder"] as const)("is refused for another store: %s", (opener) => {
    openFolder();
    closeAll();
    const refused = outcome(() => openers[opener]({ store: "redis://10.0.0.1:6379/0" }));
    expect(refused).toMatch(
      /^bad_request: .*keeps its slashing protection in sqlite, not in redis:\/\/10\.0\.0\.1:6379\/0/,
    );
    expect(refused).toContain("slashing export");
    expect(outcome(() => openers[opener]({}))).toBe("done");
  });

  it.each(["openDataFolder", "readDataFolder"] as const)("is refused for another chain: %s", (opener) => {
    openFolder({ genesisValidatorsRoot: ROOT });
    closeAll();
    expect(outcome(() => openers[opener]({ genesisValidatorsRoot: OTHER_ROOT }))).toMatch(
      /^bad_request: .*one data folder a network/,
    );
    expect(outcome(() => openers[opener]({ genesisValidatorsRoot: ROOT }))).toBe("done");
    closeAll();
    expect(outcome(() => openers[opener]({}))).toBe("done");
  });

  it("is refused for another chain than the one that was pinned later", () => {
    const folder = openFolder();
    folder.recordInitialised(ROOT_HEX);
    closeAll();
    expect(outcome(() => openFolder({ genesisValidatorsRoot: OTHER_ROOT }))).toMatch(/^bad_request/);
    expect(outcome(() => openFolder({ genesisValidatorsRoot: ROOT }))).toBe("done");
  });

  const whole = JSON.stringify({ storeIdHex: "ab".repeat(16), store: "sqlite", storeInitialised: true });
  it.each([
    ["empty", ""],
    ["torn", whole.slice(0, 40)],
    ["no object", "null"],
    ["without a store id", JSON.stringify({ store: "sqlite", storeInitialised: true })],
    ["with a short store id", whole.replace("abab", "")],
    ["without a store", JSON.stringify({ storeIdHex: "ab".repeat(16), storeInitialised: true })],
    ["without the mark of first use", JSON.stringify({ storeIdHex: "ab".repeat(16), store: "sqlite" })],
    ["with a chain that is none", whole.replace("}", ',"genesisValidatorsRootHex":"0x12"}')],
  ])("because installation.json is %s, is refused and left as it is", (_name, content) => {
    openFolder();
    closeAll();
    const file = join(path, "installation.json");
    writeFileSync(file, content);
    expect(outcome(() => openFolder())).toMatch(/^bad_request: .*restore it from a backup/);
    expect(outcome(() => readDataFolder({ path, store: "sqlite" }))).toMatch(/^bad_request/);
    expect(readFileSync(file, "utf8")).toBe(content);
    writeFileSync(file, whole);
    expect(outcome(() => openFolder())).toBe("done");
  });

  it("opens after a crash while installation.json was being replaced", () => {
    openFolder();
    closeAll();
    writeFileSync(join(path, "installation.json.new"), whole.slice(0, 20));
    const folder = openFolder();
    folder.recordInitialised(ROOT_HEX);
    closeAll();
    expect(openFolder().installation.storeInitialised).toBe(true);
  });

  it.each(["sealing.key", "mac.key"])("because secrets/%s is gone or cut, is refused and gets no new one", (name) => {
    openFolder();
    closeAll();
    const file = join(path, "secrets", name);
    writeFileSync(file, new Uint8Array(31));
    expect(outcome(() => openFolder())).toMatch(/^bad_request: .*expected 32 bytes, got 31/);
    rmSync(file);
    expect(outcome(() => openFolder())).toMatch(/^bad_request: .*restore it from a backup/);
    expect(outcome(() => readDataFolder({ path, store: "sqlite" }))).toMatch(/^bad_request/);
    expect(existsSync(file)).toBe(false);
  });

  it("that is none is not made by reading", () => {
    expect(outcome(() => readDataFolder({ path, store: "sqlite" }))).toMatch(/^bad_request/);
    expect(existsSync(path)).toBe(false);
    mkdirSync(path);
    expect(outcome(() => readDataFolder({ path, store: "sqlite" }))).toMatch(/^bad_request/);
  });

  it("takes up the secrets of a first start that did not get as far as its identity", () => {
    const first = openFolder();
    closeAll();
    rmSync(join(path, "installation.json"));
    const second = openFolder();
    expect(second.isNew).toBe(true);
    expect(second.secrets).toEqual(first.secrets);
    expect(second.installation.storeIdHex).not.toBe(first.installation.storeIdHex);
  });
});

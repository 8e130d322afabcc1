import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import {
  type DataFolder,
  type DataFolderOptions,
  openDataFolder,
  readDataFolder,
  recordInitialised,
} from "#pool-manager/data-folder.ts";
import { openKeyStore } from "#pool-manager/keys/key-store.ts";
import { openSqliteStore } from "#pool-manager/store/sqlite-store.ts";
import { fromHex } from "#protocol/bytes.ts";
import { SignerError } from "#protocol/errors.ts";
import { NAMED_NETWORKS } from "#protocol/signing/named-networks.ts";
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

const macKeyOf = ({ secrets }: Pick<DataFolder, "secrets">): Uint8Array => secrets.macKeys.macKeys.get(1) as Uint8Array;

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
    expect(macKeyOf(first).length).toBe(32);
    expect(first.secrets.sealingKey.length).toBe(32);
    expect(Buffer.from(macKeyOf(first)).equals(first.secrets.sealingKey)).toBe(false);
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
    expect(Buffer.from(macKeyOf(first)).equals(macKeyOf(second))).toBe(false);
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

describe("another process", () => {
  it("can record the first use while the folder is held; the holder keeps it", () => {
    const folder = openFolder();
    expect(recordInitialised(path, ROOT_HEX)).toMatchObject({ storeInitialised: true });
    expect(readDataFolder({ path, store: "sqlite" }).installation).toMatchObject({
      storeInitialised: true,
      genesisValidatorsRootHex: ROOT_HEX,
    });
    folder.recordInitialised(`0x${"99".repeat(32)}`);
    expect(folder.installation).toMatchObject({ storeInitialised: true, genesisValidatorsRootHex: ROOT_HEX });
    closeAll();
    expect(openFolder().installation.genesisValidatorsRootHex).toBe(ROOT_HEX);
  });

  it("does not record anything where there is no installation", () => {
    expect(outcome(() => recordInitialised(path, ROOT_HEX))).toMatch(/^bad_request/);
    expect(existsSync(path)).toBe(false);
  });

  it("changes nothing by reading, not even rights that are too wide", () => {
    openFolder();
    closeAll();
    chmodSync(path, 0o755);
    chmodSync(join(path, "secrets", "mac.key"), 0o644);
    readDataFolder({ path, store: "sqlite" });
    expect([modeOf(), modeOf("secrets", "mac.key")]).toEqual(["755", "644"]);
    openFolder();
    expect([modeOf(), modeOf("secrets", "mac.key")]).toEqual(["700", "600"]);
  });
});

describe("opening without the right to create", () => {
  it("makes nothing where nothing is, and opens what is there", () => {
    const options = { path, store: "sqlite" };
    const refused = outcome(() => openDataFolder(options, { mayCreate: false }));
    expect(refused).toMatch(/^bad_request: .*no installation.*nothing to export.*--data/);
    expect(existsSync(path)).toBe(false);
    mkdirSync(path);
    expect(outcome(() => openDataFolder(options, { mayCreate: false }))).toMatch(/^bad_request/);
    expect(readdirSync(path)).toEqual([]);
    openFolder();
    closeAll();
    open.push(openDataFolder(options, { mayCreate: false }));
  });
});

describe("rights", () => {
  it("are this user's alone, on whatever is made in the folder and whatever the umask", async () => {
    const before = process.umask(0);
    try {
      const folder = openFolder();
      const keyStore = openKeyStore(folder.keysPath);
      const store = await openSqliteStore(folder.slashingPath);
      await store.compareAndSetMarker(undefined, new Uint8Array(95));
      const modes = readdirSync(path).map((name) => [name, modeOf(name)]);
      keyStore.close();
      await store.close();
      expect(modes.filter(([, mode]) => mode !== "600" && mode !== "700")).toEqual([]);
      const names = modes.map(([name]) => name);
      expect(names).toEqual(
        expect.arrayContaining(["lock", "keys.sqlite-wal", "slashing.sqlite", "slashing.sqlite-wal"]),
      );
    } finally {
      process.umask(before);
    }
  });

  it("of files of an earlier start are mended", () => {
    openFolder();
    closeAll();
    const names = ["lock", "installation.json", "keys.sqlite", "slashing.sqlite", "slashing.sqlite-wal"];
    for (const name of names) {
      writeFileSync(join(path, name), "", { flag: "a" });
      chmodSync(join(path, name), 0o644);
    }
    chmodSync(join(path, "secrets"), 0o755);
    openFolder();
    expect(names.map((name) => modeOf(name))).toEqual(names.map(() => "600"));
    expect(modeOf("secrets")).toBe("700");
  });
});

it("a lock that cannot be taken for another reason than another Testudo says so", () => {
  openFolder();
  closeAll();
  rmSync(join(path, "lock"));
  mkdirSync(join(path, "lock"));
  const refused = outcome(() => openFolder());
  expect(refused).toMatch(/^unavailable: data folder .*cannot take its lock \(unable to open database file\)/);
  expect(refused).not.toContain("another Testudo");
});

it("a folder of another chain names both networks and the option to give", () => {
  const roots = { mainnet: NAMED_NETWORKS.mainnet, hoodi: NAMED_NETWORKS.hoodi };
  const rootOf = (name: keyof typeof roots) => fromHex(roots[name].genesisValidatorsRoot, 32, "root");
  openFolder({ genesisValidatorsRoot: rootOf("hoodi") });
  closeAll();
  const refused = outcome(() => openFolder({ genesisValidatorsRoot: rootOf("mainnet") }));
  expect(refused).toMatch(
    /^bad_request: .*0x212f\w+ \(hoodi\), not 0x4b36\w+ \(mainnet\): give --network hoodi, or .*--data/,
  );
  openFolder({ path: base.path("custom"), genesisValidatorsRoot: ROOT });
  closeAll();
  const custom = outcome(() => openFolder({ path: base.path("custom"), genesisValidatorsRoot: rootOf("mainnet") }));
  expect(custom).toMatch(/give the --network that it was made with/);
});

describe("an attested installation", () => {
  const sealed = { group: "fleet-1", authorityHex: `0x${"aa".repeat(32)}`, storeId: new Uint8Array(16).fill(0x51) };

  it("has the store id of its configuration and no secrets", () => {
    const folder = openFolder({ sealed });
    expect(folder.installation).toMatchObject({
      storeIdHex: `0x${"51".repeat(16)}`,
      sealed: { group: "fleet-1", authorityHex: sealed.authorityHex },
    });
    expect(existsSync(join(path, "secrets"))).toBe(false);
    for (const use of [() => folder.secrets, () => folder.addMacKey(), () => folder.retireMacKeys(1)]) {
      expect(outcome(use)).toMatch(/^bad_request: .*MAC keys are sealed.*config seal/);
    }
    closeAll();
    expect(outcome(() => readDataFolder({ path, store: "sqlite" }))).toMatch(/^bad_request: .*MAC keys are sealed/);
    expect(outcome(() => openFolder({ sealed }))).toBe("done");
  });

  it.each([
    ["group", { group: "fleet-2" }],
    ["authority", { authorityHex: `0x${"bb".repeat(32)}` }],
    ["store id", { storeId: new Uint8Array(16).fill(0x52) }],
  ])("is refused to a configuration of another %s", (name, change) => {
    openFolder({ sealed });
    closeAll();
    expect(outcome(() => openFolder({ sealed: { ...sealed, ...change } }))).toMatch(
      new RegExp(`^bad_request: .*expected a configuration of ${name}`),
    );
  });

  it("and one of development mode do not open as each other", () => {
    openFolder({ sealed });
    closeAll();
    expect(outcome(() => openFolder())).toMatch(/attested group fleet-1.*--keys-from aws/);
    path = base.path("other");
    openFolder();
    closeAll();
    expect(outcome(() => openFolder({ sealed }))).toMatch(/development mode.*--data/);
  });
});

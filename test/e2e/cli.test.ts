/** The command line as people meet it: help, wrong options, and one installation at a time. */

import { chmodSync, mkdirSync, readdirSync, rmSync, statSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { afterAll, describe, expect, it, onTestFinished } from "vitest";
import { runPathOf } from "../../cli/options.ts";
import { attestation, signVerified } from "../helpers/duties.ts";
import { createTestbed } from "../helpers/testudo.ts";

const bed = createTestbed();
afterAll(() => bed.close());

const POOL_OPTIONS = [
  ...["--data", "--store", "--store-password-file", "--network", "--preset", "--genesis-validators-root"],
  ...["--genesis-time", "--enclaves", "--threads", "--keys", "--keys-password-file", "--clock-bound", "--log-level"],
];
const STORE_OPTIONS = POOL_OPTIONS.slice(0, 7);
const GATEWAY_OPTIONS = [
  ...["--host", "--port", "--metrics-host", "--metrics-port", "--no-metrics", "--host-allowlist", "--sign-timeout"],
  "--insecure",
];

describe("--help", () => {
  it.each([
    ["", ["up", "gateway", "pool", "enclave", "slashing", "keys"]],
    ["up", [...POOL_OPTIONS, ...GATEWAY_OPTIONS, "Examples:"]],
    ["pool", POOL_OPTIONS],
    ["gateway", ["--data", "--log-level", ...GATEWAY_OPTIONS]],
    ["enclave", ["--path", "--cid", "--preset", "--log-level"]],
    ["slashing", ["init", "import", "export"]],
    ["slashing init", STORE_OPTIONS],
    ["slashing import", [...STORE_OPTIONS, "<file>"]],
    ["slashing export", [...STORE_OPTIONS, "[file]"]],
    ["keys", ["list"]],
    ["keys list", ["--data", "--json"]],
  ])("of testudo %s names everything", async (command, parts) => {
    const words = command === "" ? [] : command.split(" ");
    const { code, stdout, stderr } = await bed.run(...words, "--help");
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(stdout).toContain(`Usage: testudo ${command}`.trimEnd());
    for (const part of parts) expect(stdout).toContain(part);
  });
});

describe("wrong options", () => {
  it.each<[args: string, text: RegExp]>([
    ["", /Usage: testudo/],
    ["ups", /unknown command 'ups'.*--help/s],
    ["up --prot 1", /unknown option '--prot'.*Did you mean --port.*--help/s],
    ["up --port 65536", /--port <n>.*'65536'.*0\.\.65535/s],
    ["up --port 1e3", /--port <n>.*0\.\.65535/s],
    ["up --enclaves 0", /--enclaves.*1\.\.4/s],
    ["up --enclaves 5", /--enclaves.*1\.\.4/s],
    ["up --log-level loud", /--log-level.*debug, info, warn, error/s],
    ["up --network nowhere", /network: expected mainnet, hoodi, .*got "nowhere"/],
    ["up --network hoodi --preset minimal", /preset: expected mainnet/],
    ["up --genesis-validators-root 0x12", /--genesis-validators-root: expected 32 bytes of hex, got "0x12"/],
    ["up --clock-bound never", /--clock-bound/],
    ["up --store postgres://x", /--store: not understood; expected sqlite or redis:/],
    [
      "up --store redis://user:secret@localhost",
      /a password on the command line is seen by everybody, use --store-password-file/,
    ],
    [
      "up --store redis://localhost --store-password-file /no/such/file",
      /--store-password-file \/no\/such\/file: cannot be read/,
    ],
    ["up --host 0.0.0.0", /host.*--insecure/],
    ["up --host example.com", /host: expected an IP address or localhost/],
    ["up --sign-timeout 12001", /--sign-timeout.*1\.\.12000/s],
    ["gateway --host 0.0.0.0", /--insecure/],
    ["enclave", /required option '--path <socket>'/],
    ["slashing import", /missing required argument 'file'/],
    ["slashing export --network nowhere", /network: expected/],
  ])("testudo %s", async (args, text) => {
    const words = args === "" ? [] : args.split(" ");
    const data = ["up", "gateway"].includes(words[0] as string) ? ["--data", bed.folder()] : [];
    const { code, stdout, stderr } = await bed.run(...words, ...data);
    expect([1, 2]).toContain(code);
    expect(stdout).toBe("");
    expect(stderr).toMatch(text);
    // A word to people, not a stack.
    expect(stderr).not.toMatch(/^ {4}at /m);
    expect(stderr).not.toContain("secret@");
  });
});

describe("one installation", () => {
  it("is used by one Testudo at a time: the second says so and leaves the first alone", async () => {
    const dataPath = bed.folder();
    const first = await bed.up(["--enclaves", "1"], { dataPath });
    const second = await bed.run("up", "--data", dataPath, "--port", "0", "--metrics-port", "0", "--enclaves", "1");
    expect(second.code).toBe(1);
    expect(second.stdout).toBe("");
    expect(second.stderr).toMatch(/data folder .* is in use by another Testudo: .*--data/);
    await signVerified(first.url, first.publicKeys[0] as string, attestation({ source: 1, target: 2 }));
    for (const [index, key] of first.publicKeys.entries()) {
      await signVerified(first.url, key, attestation({ source: 2, target: 3 + index }));
    }
    await first.stop();
  });

  it("keeps what it writes to its owner, however long the folder's path is", async () => {
    const dataPath = join(bed.folder(), "a-rather-long-name-of-a-folder".repeat(4), "data");
    const testudo = await bed.up(["--enclaves", "1"], { dataPath });
    onTestFinished(() => rmSync(runPathOf(dataPath), { recursive: true, force: true }));
    expect(runPathOf(dataPath).startsWith(dataPath)).toBe(false);
    await signVerified(testudo.url, testudo.publicKeys[0] as string, attestation({ source: 1, target: 2 }));
    const modeOf = (path: string) => (statSync(path).mode & 0o777).toString(8);
    expect(modeOf(dataPath)).toBe("700");
    expect(modeOf(join(dataPath, "secrets"))).toBe("700");
    for (const file of readdirSync(join(dataPath, "secrets")))
      expect(modeOf(join(dataPath, "secrets", file))).toBe("600");
    expect(modeOf(join(dataPath, "keys.sqlite"))).toBe("600");
    expect(modeOf(join(dataPath, "installation.json"))).toBe("600");
    await testudo.stop();
  });

  it("whose store was moved says how to move it", async () => {
    const dataPath = bed.folder();
    await (await bed.up(["--enclaves", "1"], { dataPath })).stop();
    const ended = await bed.run("up", "--data", dataPath, "--port", "0", "--store", "redis://127.0.0.1:1/0");
    expect(ended.code).not.toBe(0);
    expect(ended.stderr).toMatch(
      /keeps its slashing protection in sqlite, not in redis:\/\/127.0.0.1:1\/0.*slashing export/,
    );
  });

  it("that cannot be written, and a port that is taken, are named", async () => {
    const file = bed.file("not-a-folder", "");
    const ended = await bed.run("up", "--data", join(file, "data"), "--port", "0", "--metrics-port", "0");
    expect(ended.code).not.toBe(0);
    expect(ended.stderr).toMatch(/not-a-folder\/data.*--data/);

    const server = createServer().listen(0, "127.0.0.1");
    await new Promise((resolve) => server.once("listening", resolve));
    const address = server.address() as { port: number };
    const taken = await bed.run("up", "--data", bed.folder(), "--port", String(address.port), "--metrics-port", "0");
    server.close();
    expect(taken.code).not.toBe(0);
    expect(taken.stderr).toContain(String(address.port));
    expect(taken.stderr).toMatch(/--port/);
  });

  it("can be put into a folder that is there and readable by others", async () => {
    const dataPath = join(bed.folder(), "shared");
    mkdirSync(dataPath);
    chmodSync(dataPath, 0o755);
    const testudo = await bed.up(["--enclaves", "1"], { dataPath });
    const isShared = (name: string) => (statSync(join(dataPath, name)).mode & 0o077) !== 0;
    expect(readdirSync(dataPath).filter(isShared)).toEqual([]);
    await testudo.stop();
  });
});

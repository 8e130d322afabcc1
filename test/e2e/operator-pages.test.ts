/** Operator commands about more validators than one message carries: page by page, each once, and a break says where. */

import { randomBytes } from "node:crypto";
import { mkdirSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, describe, expect, it } from "vitest";
import { managerSocketPath } from "#pool-manager/config.ts";
import { createPublisher, type PublisherModules } from "#pool-manager/publisher.ts";
import { toHex } from "#protocol/bytes.ts";
import { SignerError } from "#protocol/errors.ts";
import { decodeOperatorCommand, type OperatorCommand } from "#protocol/operator/command.ts";
import { runPathOf } from "../../cli/options.ts";
import { attestation, sign, signVerified } from "../helpers/duties.ts";
import { createTestbed, type Ended } from "../helpers/testudo.ts";

/** One page and a bit. */
const MANY = 5_000;
const PAGE = 4_096;

const bed = createTestbed();
afterAll(() => bed.close());
const strangers = Array.from({ length: MANY }, () => toHex(randomBytes(48)));
const file = bed.file("pubkeys.txt", `${strangers.join("\n")}\n`);

describe("at a running Testudo", () => {
  it("they are carried out for all of them, signed or not, and what failed is counted", async () => {
    const testudo = await bed.up(["--enclaves", "2"]);
    const slashing = (...args: string[]): Promise<Ended> => bed.run("slashing", ...args, "--data", testudo.dataPath);
    const failed = await slashing("watermark", "--epoch", "1", "--slot", "1", "--pubkeys", file);
    expect(failed).toMatchObject({ code: 1, stdout: `watermark: 0 changed, 0 unchanged, ${MANY} failed\n` });
    const named = failed.stderr.match(/^failed: 0x[0-9a-f]{96}: not registered/gm) ?? [];
    expect(named).toHaveLength(200);
    expect(failed.stderr).toContain(`failed: ${PAGE - 100} more\n`);
    expect(failed.stderr).toContain(`failed: ${MANY - PAGE - 100} more\n`);

    const [own] = testudo.publicKeys as [string];
    const all = bed.file("all.txt", `${[...strangers, own].join(",")}\n`);
    for (const [command, expected] of [
      ["register", `${MANY} changed, 1 unchanged, 0 failed`],
      ["disable", `${MANY + 1} changed, 0 unchanged, 0 failed`],
      ["disable", `0 changed, ${MANY + 1} unchanged, 0 failed`],
    ] as const) {
      expect(await slashing(command, "--pubkeys", all)).toMatchObject({ code: 0, stdout: `${command}: ${expected}\n` });
    }
    expect((await sign(testudo.url, own, attestation({ source: 1, target: 2 }).body)).status).toBe(412); // of the last page
    const enabled = await slashing("enable", "--pubkeys", all);
    expect(enabled).toMatchObject({ code: 0, stdout: `enable: ${MANY + 1} changed, 0 unchanged, 0 failed\n` });
    await signVerified(testudo.url, own, attestation({ source: 1, target: 2 }));
    await testudo.stop();
  }, 90_000);
});

describe("at a manager that notes what it gets", () => {
  const start = async (operate: PublisherModules["operate"]): Promise<string> => {
    const data = bed.folder();
    mkdirSync(runPathOf(data), { recursive: true, mode: 0o700 });
    bed.owns(
      await createPublisher(
        { socketPath: managerSocketPath(runPathOf(data)) },
        {
          operate,
          slashingStatus: async () => ({ storeIdHex: toHex(randomBytes(16)), commandSequence: 7, nextMacKeyId: 2 }),
          reload: () => "accepted",
          reloadStatus: () => ({ status: "idle" }),
        },
      ),
    );
    return data;
  };
  const key = async (): Promise<string> => {
    const path = `${bed.folder()}/operator.pem`;
    expect(await bed.run("operator", "init", path)).toMatchObject({ code: 0 });
    return path;
  };
  const DONE = { unchanged: 0, blank: 0, failed: 0, failures: [] };

  it("each comes once, in pages that fit, numbered by the time and one after the other", async () => {
    const commands: OperatorCommand[] = [];
    const data = await start(async (payload) => {
      const { command } = decodeOperatorCommand(payload);
      commands.push(command);
      return { ...DONE, written: command.pubkeys.length };
    });
    const before = Math.floor(Date.now() / 1000);
    const ended = await bed.run("slashing", "enable", "--pubkeys", file, "--data", data, "--operator-key", await key());
    expect(ended).toMatchObject({ code: 0, stdout: `enable: ${MANY} changed, 0 unchanged, 0 failed\n` });
    expect(commands.map(({ pubkeys }) => pubkeys.length)).toEqual([PAGE, MANY - PAGE]);
    expect(commands.flatMap(({ pubkeys }) => pubkeys.map(toHex))).toEqual(strangers);
    const [first, second] = commands.map(({ sequence }) => sequence) as [number, number];
    expect(second).toBeGreaterThan(first);
    expect(first).toBeGreaterThanOrEqual(before);
    expect(first).toBeLessThanOrEqual(Math.floor(Date.now() / 1000));
  });

  it("those that follow much later are numbered by their own time, so that none is too old when it arrives", async () => {
    const sequences: number[] = [];
    const data = await start(async (payload) => {
      sequences.push(decodeOperatorCommand(payload).command.sequence);
      await sleep(3_000);
      return { ...DONE, written: 1 };
    });
    const ended = await bed.run("slashing", "enable", "--pubkeys", file, "--data", data, "--operator-key", await key());
    expect(ended).toMatchObject({ code: 0 });
    const [first, second] = sequences as [number, number];
    expect(second - first).toBeGreaterThanOrEqual(2);
  }, 30_000);

  it("one that breaks off says how far it came, and that it may be run again", async () => {
    let calls = 0;
    const data = await start(async () => {
      calls += 1;
      if (calls > 1) throw new SignerError("unavailable", "the store is away");
      return { ...DONE, written: PAGE };
    });
    const ended = await bed.run("slashing", "disable", "--pubkeys", file, "--data", data);
    expect(ended).toMatchObject({ code: 1, stdout: "" });
    expect(ended.stderr).toMatch(
      /the store is away; it was carried out for the first 4096 of 5000 validators, and may be run again for all/,
    );
  });
});

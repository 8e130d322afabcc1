/** What `testudo slashing` did to a registered key's lost record, and forgot to note beside a running pool. */

import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { afterAll, expect, it } from "vitest";
import { fromHex } from "#protocol/bytes.ts";
import { attestation, MAINNET_ROOT, rootOf, signVerified } from "../helpers/duties.ts";
import { keyLines, makeKey } from "../helpers/key-files.ts";
import { createTestbed } from "../helpers/testudo.ts";

const bed = createTestbed();
afterAll(() => bed.close());

const history = (pubkeys: readonly string[]): string =>
  bed.file(
    "history.json",
    JSON.stringify({
      metadata: { interchange_format_version: "5", genesis_validators_root: MAINNET_ROOT },
      data: pubkeys.map((pubkey) => ({ pubkey, signed_blocks: [{ slot: "1" }], signed_attestations: [] })),
    }),
  );

it("an import does not make the lost record of a registered key anew, but makes those of new keys", async () => {
  const [lost, kept, fresh] = [makeKey(), makeKey(), makeKey()];
  const dataPath = bed.folder();
  const testudo = await bed.up(["--enclaves", "1", "--keys", bed.file("keys.txt", keyLines([lost, kept]))], {
    dataPath,
  });
  for (const { pubkey } of [lost, kept]) {
    await signVerified(testudo.url, pubkey, attestation({ source: 8, target: 9 }));
  }
  await testudo.stop();
  const database = new DatabaseSync(join(dataPath, "slashing.sqlite"));
  const bytes = fromHex(lost.pubkey, 48, "pubkey");
  database.prepare("DELETE FROM register WHERE pubkey = ?").run(bytes);
  database.close();

  const file = history([lost, kept, fresh].map(({ pubkey }) => pubkey));
  const ended = await bed.run("slashing", "import", file, "--data", dataPath);
  expect(ended).toMatchObject({ code: 1, stdout: "2 validators imported, 1 failed\n" });
  expect(ended.stderr).toContain(`not imported: ${lost.pubkey}: `);
  expect(ended.stderr).toMatch(/record was lost.*restore the store.*docs\/slashing-protection\.md/);
  const after = new DatabaseSync(join(dataPath, "slashing.sqlite"));
  expect(after.prepare("SELECT 1 FROM register WHERE pubkey = ?").get(bytes)).toBeUndefined();
  expect(after.prepare("SELECT count(*) AS count FROM register").get()?.count).toBe(2);
  after.close();
});

it("an init beside a running pool is noted in the data folder", async () => {
  const config = bed.file(
    "config.yaml",
    ["PRESET_BASE: mainnet", "CONFIG_NAME: pinned", "SECONDS_PER_SLOT: 12"]
      .concat(["GENESIS", "ALTAIR", "BELLATRIX", "CAPELLA"].map((fork, at) => `${fork}_FORK_VERSION: 0x0000009${at}`))
      .join("\n"),
  );
  const testudo = await bed.up(["--enclaves", "1", "--network", config]);
  const installation = () => JSON.parse(readFileSync(join(testudo.dataPath, "installation.json"), "utf8"));
  expect(installation()).toMatchObject({ storeInitialised: false });
  const root = rootOf(0x21);
  const options = ["--data", testudo.dataPath, "--network", config, "--genesis-validators-root", root];
  expect(await bed.run("slashing", "init", ...options)).toMatchObject({ code: 0 });
  expect(installation()).toMatchObject({ storeInitialised: true, genesisValidatorsRootHex: root });
  await testudo.stop();
});

it("an export from a mistyped folder makes none", async () => {
  const dataPath = join(bed.folder(), "typo");
  const ended = await bed.run("slashing", "export", "--data", dataPath);
  expect(ended).toMatchObject({ code: 2, stdout: "", stderr: expect.stringMatching(/no installation.*--data/) });
  expect(existsSync(dataPath)).toBe(false);
});

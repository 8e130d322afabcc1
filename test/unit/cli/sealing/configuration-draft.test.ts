/** Drafts of a configuration: the template is one, comforts are resolved, and nothing is ignored. */

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beforeEach, describe, expect, onTestFinished, test } from "vitest";
import { toHex } from "#protocol/bytes.ts";
import { draftTemplate, readDraft } from "../../../../cli/sealing/configuration-draft.ts";

const AUTHORITY = new Uint8Array(32).fill(5);
const PEM = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
const ROOT = `0x${"0b".repeat(32)}`;
type Draft = Record<string, unknown> & { store: Record<string, unknown> };

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "draft-"));
  onTestFinished(() => rmSync(folder, { recursive: true }));
});
const template = (options = {}): Draft => JSON.parse(draftTemplate(options)) as Draft;
const read = (draft: unknown) => {
  const path = join(folder, "config.json");
  writeFileSync(path, typeof draft === "string" ? draft : JSON.stringify(draft));
  return readDraft(path, AUTHORITY);
};

test("the template is a valid draft with a store id of its own", () => {
  const configuration = read(template({ group: "fleet-1", network: "hoodi" }));
  expect(configuration).toMatchObject({ version: 1, group: "fleet-1", clockBoundEpochs: 1, authority: AUTHORITY });
  expect(configuration.network.name).toBe("hoodi");
  expect(configuration.signingTypes.length).toBe(13);
  expect(template().storeId).not.toBe(template().storeId);
});

test("the store's CA comes from a file beside the document", () => {
  writeFileSync(join(folder, "ca.pem"), PEM);
  const draft = template();
  const configuration = read({ ...draft, store: { ...draft.store, tls: { caFile: "ca.pem" } } });
  expect(configuration.store).toMatchObject({ tls: { ca: PEM } });
});

test("a custom chain takes a known one's constants, with a genesis of its own", () => {
  const network = { use: "minimal", genesisValidatorsRoot: ROOT, genesisTimeSeconds: 1_700_000_000 };
  const configuration = read({ ...template(), network });
  expect(configuration.network).toMatchObject({ preset: "minimal", genesisTimeSeconds: 1_700_000_000 });
  expect(toHex(configuration.network.genesisValidatorsRoot)).toBe(ROOT);
});

describe("is refused", () => {
  test.each<[string, (draft: Draft) => unknown, RegExp]>([
    ["what only sealing may say", (draft) => ({ ...draft, secretsDigest: ROOT }), /document: expected only version/],
    ["an authority of its own", (draft) => ({ ...draft, authority: ROOT }), /document: expected only version/],
    ["a member twice", (draft) => JSON.stringify(draft).replace("{", '{"version":9,'), /each member once/],
    ["no JSON", () => "version: 1", /--document/],
    ["no network", ({ network: _, ...draft }) => draft, /network/],
    ["a network of no name", (draft) => ({ ...draft, network: { use: 5 } }), /document\.network\.use/],
    ["more of a network", (draft) => ({ ...draft, network: { use: "hoodi", preset: "x" } }), /document\.network: /],
    ["an unknown part of TLS", (draft) => ({ ...draft, store: { ...draft.store, tls: { verify: false } } }), /tls/],
    [
      "a CA that is not there",
      (draft) => ({ ...draft, store: { ...draft.store, tls: { caFile: "none.pem" } } }),
      /caFile .*none\.pem: cannot be read/,
    ],
    ["no store", (draft) => ({ ...draft, store: null }), /store/],
    ["an older generation that is newer", (draft) => ({ ...draft, oldestGeneration: 2 }), /oldestGeneration/],
  ])("%s", (_what, change, text) => {
    expect(() => read(change(template()))).toThrow(text);
  });
});

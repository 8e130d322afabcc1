import { execFileSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { toHex } from "#protocol/bytes.ts";
import { loadNetwork } from "#protocol/signing/load-network.ts";
import { assertPreset } from "#protocol/signing/preset.ts";
import { parseSignRequest } from "#protocol/signing/request.ts";
import * as naive from "../../../helpers/naive-ssz.ts";
import { encode, FORK_INFO, type Json, sample, withMember } from "./samples.ts";

const CHILD = fileURLToPath(new URL("../../../helpers/preset-child.ts", import.meta.url));
const SHARED = fileURLToPath(new URL("../../../../../shared/vectors/client-samples/", import.meta.url));

const load = (network: string) => loadNetwork({ network, readFile: () => "" });

/** Parses in a process that runs with the network's preset. */
const parseInChild = (requests: { network: string; body: Json }[]): { root?: string; error?: string }[] =>
  JSON.parse(execFileSync(process.execPath, [CHILD], { input: JSON.stringify(requests), encoding: "utf8" }));

describe("the process-wide preset", () => {
  it("is mainnet here, and any other network is refused with the way out", () => {
    expect(() => assertPreset(load("sepolia"))).not.toThrow();
    for (const name of ["minimal", "gnosis"]) {
      expect(() => assertPreset(load(name))).toThrow(`set LODESTAR_PRESET=${name} before it starts`);
    }
  });

  it("is still free after a network was resolved, and then decides limits and epochs: minimal", () => {
    const bits = [true, false, true, true, false, false, true, false];
    const contribution = sample("SYNC_COMMITTEE_CONTRIBUTION_AND_PROOF").body;
    const path = "contribution_and_proof.contribution.aggregation_bits";
    const minimal = withMember(contribution, path, naive.bitvectorJson(bits));
    const [accepted, refused, other] = parseInChild([
      { network: "minimal", body: minimal },
      { network: "minimal", body: contribution },
      { network: "mainnet", body: minimal },
    ]);
    const { contribution: inner, aggregator_index, selection_proof } = minimal.contribution_and_proof;
    const innerRoot = naive.container(
      naive.uint64(inner.slot),
      naive.bytes(inner.beacon_block_root),
      naive.uint64(inner.subcommittee_index),
      naive.bitvector(bits),
      naive.bytes(inner.signature),
    );
    const root = naive.container(naive.uint64(aggregator_index), innerRoot, naive.bytes(selection_proof));
    // Slot 319 is in epoch 39 of 8 slots: after the fork of epoch 10, which it is before on mainnet.
    expect(accepted?.root).toBe(
      naive.signingRoot(root, {
        domainType: "0x09000000",
        version: FORK_INFO.fork.current_version,
        genesisValidatorsRoot: FORK_INFO.genesis_validators_root,
      }),
    );
    expect(refused?.error).toContain(`${path}: expected 1 bytes`);
    expect(other?.error).toContain("expected preset mainnet");
  });

  it("decides epochs: gnosis has 16 slots", () => {
    const body = (slot: number) => withMember(sample("AGGREGATION_SLOT").body, "aggregation_slot.slot", slot);
    const expected = (slot: number, version: string) =>
      naive.signingRoot(naive.uint64(slot), {
        domainType: "0x05000000",
        version,
        genesisValidatorsRoot: FORK_INFO.genesis_validators_root,
      });
    const answers = parseInChild([
      { network: "gnosis", body: body(159) },
      { network: "chiado", body: body(160) },
    ]);
    expect(answers).toEqual([
      { root: expected(159, FORK_INFO.fork.previous_version) },
      { root: expected(160, FORK_INFO.fork.current_version) },
    ]);
  });
});

interface ClientSample {
  readonly file: string;
  readonly preset: string;
  readonly body: Json;
}

const readSamples = (folder: string): ClientSample[] =>
  readdirSync(folder)
    .filter((name) => name.endsWith(".json"))
    .map((name) => ({ file: name, ...JSON.parse(readFileSync(`${folder}${name}`, "utf8")) }))
    .filter(({ method }) => method === "POST");

const isThere = existsSync(SHARED);
const samples = isThere ? [...readSamples(SHARED), ...readSamples(`${SHARED}minimal-preset/`)] : [];
const name = "requests recorded from Lodestar";

describe.skipIf(!isThere)(isThere ? name : `${name} (skipped: ../shared not there)`, () => {
  const mainnet = samples.filter(({ preset }) => preset === "mainnet");
  const minimal = samples.filter(({ preset }) => preset === "minimal");

  it("are of the two presets, with a root each", () => {
    expect(mainnet.length).toBeGreaterThan(10);
    expect(minimal.length).toBeGreaterThan(10);
    expect(mainnet.length + minimal.length).toBe(samples.length);
    for (const { body } of samples) expect(body.signingRoot).toMatch(/^0x[0-9a-f]{64}$/);
  });

  it("of the mainnet preset give the client's root, without being told", () => {
    for (const { file, body } of mainnet) {
      const { signingRoot, ...untold } = body;
      const root = body.fork_info && Buffer.from(body.fork_info.genesis_validators_root.slice(2), "hex");
      const network = loadNetwork({ network: "mainnet", genesisValidatorsRoot: root, readFile: () => "" });
      expect(`${file} ${toHex(parseSignRequest(encode(untold), network).signingRoot)}`).toBe(`${file} ${signingRoot}`);
      expect(toHex(parseSignRequest(encode(body), network).signingRoot)).toBe(signingRoot);
    }
  });

  it("of the minimal preset give the client's root, without being told", () => {
    const answers = parseInChild(
      minimal.map(({ body: { signingRoot, ...untold } }) => ({ network: "minimal", body: untold })),
    );
    expect(minimal.map(({ file }, i) => ({ file, ...answers[i] }))).toEqual(
      minimal.map(({ file, body }) => ({ file, root: body.signingRoot })),
    );
  });
});

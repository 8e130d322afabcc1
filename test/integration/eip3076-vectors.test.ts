/**
 * The official EIP-3076 test vectors (eth-clients/slashing-protection-interchange-tests), unmodified, against both stores
 * and through everything between an interchange file and a decision: parse, merge into the store, read, decide, write.
 */

import { randomBytes } from "node:crypto";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createRedisStore } from "#enclave/slashing/redis-store.ts";
import { openSqliteStore } from "#pool-manager/store/sqlite-store.ts";
import { fromHex } from "#protocol/bytes.ts";
import { SignerError } from "#protocol/errors.ts";
import { exportFromStore } from "#protocol/slashing/export.ts";
import { mergeIntoStore } from "#protocol/slashing/import.ts";
import { createRecordCodec, type RecordCodec } from "#protocol/slashing/record.ts";
import { type Candidate, decide, EMPTY_STATE } from "#protocol/slashing/rules.ts";
import type { SlashingStore } from "#protocol/slashing/store.ts";
import { parseInterchange, renderText } from "../helpers/interchange.ts";
import { startRedisServer } from "../helpers/redis-server.ts";

interface Vector {
  readonly name: string;
  readonly genesis_validators_root: string;
  readonly steps: readonly Step[];
}
interface Step {
  readonly should_succeed: boolean;
  readonly interchange: unknown;
  readonly blocks: readonly (Request & { readonly slot: string })[];
  readonly attestations: readonly (Request & { readonly source_epoch: string; readonly target_epoch: string })[];
}
interface Request {
  readonly pubkey: string;
  readonly signing_root?: string;
  readonly should_succeed: boolean;
}

/** Vectors are official data and kept outside the repository. */
const FOLDER = new URL("../../../shared/vectors/eip3076/", import.meta.url).pathname;
const FILES = existsSync(FOLDER) ? readdirSync(FOLDER).filter((name) => name.endsWith(".json")) : [];
const MISSING = FILES.length === 0 ? ` (skipped: no vectors in ${FOLDER})` : "";
/** A request without a root is some message that was never signed before. */
const rootOf = (text: string | undefined): Uint8Array =>
  text === undefined ? randomBytes(32) : fromHex(text, 32, "signing_root");

const openSqlite = async () => {
  const folder = await mkdtemp(join(tmpdir(), "testudo-vectors-"));
  return {
    open: (name: string) => openSqliteStore(join(folder, `${name}.db`)),
    remove: () => rm(folder, { recursive: true, force: true }),
  };
};

const openRedis = async () => {
  const server = await startRedisServer();
  return {
    open: async (name: string): Promise<SlashingStore> => {
      const keyPrefix = name.slice(0, 64);
      const store = createRedisStore({ connect: { path: server.path }, keyPrefix, durability: "aof-always" });
      expect(await store.ready(5_000)).toEqual({ ok: true });
      return store;
    },
    remove: () => server.close(),
  };
};

/** A signer without keys: whether it would sign the candidate. */
const ask = async (
  store: SlashingStore,
  codec: RecordCodec,
  pubkeyHex: string,
  candidate: Candidate,
): Promise<boolean> => {
  const pubkey = fromHex(pubkeyHex, 48, "pubkey");
  const [record] = await store.getMany([pubkey]);
  const decoded = record === undefined ? { kind: "record" as const, state: EMPTY_STATE } : codec.decode(pubkey, record);
  if (decoded.kind !== "record") throw new Error(decoded.reason);
  const decision = decide(decoded.state, candidate, { slotsPerEpoch: 32 });
  if (decision.kind !== "sign") return decision.kind === "repeat";
  const result = await store.compareAndSet(pubkey, record, codec.encode(pubkey, decision.next));
  expect(result.kind).toBe("stored");
  return true;
};

const runStep = async (store: SlashingStore, codec: RecordCodec, step: Step, genesisValidatorsRoot: Uint8Array) => {
  const text = JSON.stringify(step.interchange);
  if (!step.should_succeed) {
    await expect(parseInterchange(text, { genesisValidatorsRoot })).rejects.toThrow(SignerError);
  } else {
    const { validators, failures } = await parseInterchange(text, { genesisValidatorsRoot });
    expect(failures).toEqual([]);
    const report = await mergeIntoStore({ store, codec }, validators, { mayCreate: () => true });
    expect(report).toEqual({ imported: validators.size, failures: { count: 0, named: [] } });
  }
  for (const { pubkey, slot, signing_root, should_succeed } of step.blocks) {
    const candidate: Candidate = { kind: "block", slot: Number(slot), signingRoot: rootOf(signing_root) };
    expect(await ask(store, codec, pubkey, candidate), `block ${slot}`).toBe(should_succeed);
  }
  for (const { pubkey, source_epoch, target_epoch, signing_root, should_succeed } of step.attestations) {
    const candidate: Candidate = {
      kind: "attestation",
      sourceEpoch: Number(source_epoch),
      targetEpoch: Number(target_epoch),
      signingRoot: rootOf(signing_root),
    };
    const name = `attestation ${source_epoch} to ${target_epoch}`;
    expect(await ask(store, codec, pubkey, candidate), name).toBe(should_succeed);
  }
};

describe.skipIf(FILES.length === 0).each([
  ["SQLite", openSqlite],
  ["Redis", openRedis],
])(`the EIP-3076 vectors over %s${MISSING}`, (_name, openBackend) => {
  let backend: Awaited<ReturnType<typeof openBackend>>;
  beforeAll(async () => {
    backend = await openBackend();
  });
  afterAll(() => backend?.remove());

  it("are all there", () => expect(FILES).toHaveLength(38));

  it.each(FILES)("%s", async (file) => {
    const vector: Vector = JSON.parse(readFileSync(join(FOLDER, file), "utf8"));
    const genesisValidatorsRoot = fromHex(vector.genesis_validators_root, 32, "genesis_validators_root");
    const macKeys = new Map([[1, new Uint8Array(32).fill(9)]]);
    const storeId = new Uint8Array(16);
    const codec = createRecordCodec({ macKeys, writingKeyId: 1, genesisValidatorsRoot, storeId });
    const store = await backend.open(file.replace(".json", ""));
    try {
      for (const step of vector.steps) await runStep(store, codec, step, genesisValidatorsRoot);
      const records = await Array.fromAsync(exportFromStore({ store, codec }));
      const states = records.map((it) => (it.ok ? ([it.pubkey, it.state] as const) : expect.fail(it.reason)));
      const text = await renderText(states, { genesisValidatorsRoot });
      expect((await parseInterchange(text, { genesisValidatorsRoot })).validators).toEqual(new Map(states));
    } finally {
      await store.close();
    }
  });
});

/** THE pipeline with real parsing, real keys, the real engine and real protection, on a store in memory. */

import { PublicKey, SecretKey, Signature, verify } from "@chainsafe/blst";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { createEngine, type Engine } from "#enclave/engine/engine.ts";
import { createSharedArena } from "#enclave/keys/arena.ts";
import { createKeySet, type KeySet } from "#enclave/keys/key-set.ts";
import { createPipeline, type Pipeline } from "#enclave/sign.ts";
import { createProtection, type Protection } from "#enclave/slashing/protection.ts";
import { fromHex, toHex } from "#protocol/bytes.ts";
import { NAMED_NETWORKS } from "#protocol/signing/named-networks.ts";
import { networkFromJson } from "#protocol/signing/network.ts";
import type { SigningType } from "#protocol/signing/types.ts";
import { CODEC_OPTIONS, filledBytes, resultOf } from "../../helpers/guarded.ts";
import { createMemoryStore, type MemoryStore, UNKNOWN } from "../../helpers/memory-store.ts";
import { until } from "../../helpers/socket-folder.ts";
import { encode, FORK_INFO, filled, type Json, SAMPLES, sample, withMember } from "../protocol/signing/samples.ts";

/** The chain of the samples. */
const ROOT_HEX = FORK_INFO.genesis_validators_root;
const GENESIS_SECONDS = NAMED_NETWORKS.mainnet.genesisTimeSeconds;
const NETWORK = networkFromJson({ name: "samples", ...NAMED_NETWORKS.mainnet, genesisValidatorsRoot: ROOT_HEX });
const ATTESTATION = sample("ATTESTATION").body;
const keyOf = (byte: number) => {
  const secret = SecretKey.fromKeygen(filledBytes(byte, 32));
  return { secret, pubkey: secret.toPublicKey().toBytes(true) };
};
const KEY = keyOf(1);
const STRANGER = keyOf(2);

let store: MemoryStore;
let keys: KeySet;
let engine: Engine;
let protection: Protection;
let pipeline: Pipeline;
let open: Set<string>;
let signCalls: number;
let nowMs: number;
let wallClockMs: number;

beforeEach(async () => {
  store = createMemoryStore();
  const arena = createSharedArena();
  keys = createKeySet(arena);
  keys.add(KEY.pubkey, KEY.secret.toBytes());
  engine = createEngine(
    { threads: 1, backend: { kind: "portable", threadData: { kind: "portable", memory: arena.memory } } },
    { now: () => nowMs },
  );
  open = new Set([toHex(KEY.pubkey)]);
  signCalls = 0;
  nowMs = 0;
  wallClockMs = (GENESIS_SECONDS + 12 * 400) * 1000; // the slot of the sample attestation
  protection = createProtection(
    {
      slotsPerEpoch: 32,
      storeId: CODEC_OPTIONS.storeId,
      genesisValidatorsRoot: NETWORK.genesisValidatorsRoot,
      macKeys: { macKeys: new Map([[1, filledBytes(0x11, 32)]]), writingKeyId: 1 },
      initialise: true,
    },
    { store, now: () => nowMs, wallClock: () => wallClockMs, count: () => undefined, onSuspect: () => undefined },
  );
  await protection.activate([{ pubkey: KEY.pubkey, registered: false }]);
  store.calls.length = 0;
  const counting: Engine = {
    ...engine,
    sign: (work) => {
      signCalls += 1;
      return engine.sign(work);
    },
  };
  pipeline = createPipeline({
    keys,
    engine: counting,
    protection,
    network: NETWORK,
    clockBoundEpochs: 1,
    isOpen: (pubkey) => open.has(toHex(pubkey)) && keys.has(pubkey),
    now: () => nowMs,
    wallClock: () => wallClockMs,
  });
});

afterEach(() => engine.close());

const send = (body: Json, { pubkey = KEY.pubkey, timeoutMs = 1_000 } = {}) =>
  pipeline({ pubkey, timeoutMs, body: typeof body === "string" ? Buffer.from(body) : encode(body) });
const resultFor = (body: Json, options?: Parameters<typeof send>[1]) => resultOf(send(body, options));
const untouched = (): void => {
  expect(store.calls).toEqual([]);
  expect(signCalls).toBe(0);
};
const bodyOf = (name: string): Json => sample(name).body;

describe("the pipeline", () => {
  it.each(SAMPLES.map(({ name }) => name))("signs %s: the computed root, under the named key", async (name) => {
    wallClockMs = Number.MAX_SAFE_INTEGER; // some samples are of far slots
    const outcome = await send(bodyOf(name));
    if (outcome.kind !== "signed") throw new Error(outcome.detail);
    const { signingRoot } = sample(name);
    const key = PublicKey.fromBytes(KEY.pubkey);
    expect(verify(fromHex(signingRoot, 32, "root"), key, Signature.fromBytes(outcome.signature))).toBe(true);
  });

  it("asks the store for blocks and attestations, once, and for nothing else", async () => {
    wallClockMs = Number.MAX_SAFE_INTEGER;
    const slashable: readonly SigningType[] = ["ATTESTATION", "BLOCK", "BLOCK_V2"];
    const first = new Map(SAMPLES.map((each) => [each.type, each.name]));
    for (const [type, name] of first) {
      store.calls.length = 0;
      if (type === "BLOCK" || type === "BLOCK_V2") {
        // Both are of the same slot: the second one would be a double proposal.
        protection.forget(KEY.pubkey);
        store.values.clear();
        await protection.activate([{ pubkey: KEY.pubkey, registered: false }]);
        store.calls.length = 0;
      }
      expect([type, await resultFor(bodyOf(name))]).toEqual([type, "signed"]);
      expect([type, store.calls.length]).toEqual([type, slashable.includes(type) ? 1 : 0]);
    }
  });
});

describe("the order of refusals", () => {
  it.each([
    ["no JSON", "{", "bad_request"],
    ["no type", {}, "bad_request"],
    ["a wrong signing root", { ...ATTESTATION, signingRoot: filled(1) }, "bad_request"],
    ["a right body", ATTESTATION, "unknown_key"],
    [
      "a right body of another chain",
      withMember(ATTESTATION, "fork_info.genesis_validators_root", filled(1)),
      "unknown_key",
    ],
  ])("first the body, then the key: %s for an unknown key", async (_name, body, expected) => {
    expect(await resultFor(body, { pubkey: STRANGER.pubkey })).toBe(expected);
    untouched();
  });

  it("then the clock bound", async () => {
    const slotMs = 12_000;
    // The attestation is for epoch 10 (in slot 400, epoch 12): allowed from the start of epoch 11 on.
    wallClockMs = GENESIS_SECONDS * 1000 + 11 * 32 * slotMs - 1;
    expect(await resultFor(ATTESTATION)).toBe("beyond_clock_bound");
    const elsewhere = withMember(ATTESTATION, "fork_info.genesis_validators_root", filled(1));
    expect(await resultFor(elsewhere)).toBe("beyond_clock_bound");
    untouched();
    wallClockMs += 1;
    expect(await resultFor(ATTESTATION)).toBe("signed");
  });

  it.each(["ATTESTATION", "BLOCK", "RANDAO_REVEAL", "VOLUNTARY_EXIT", "AGGREGATION_SLOT"])(
    "then the chain, also of what cannot be slashed: %s",
    async (type) => {
      wallClockMs = Number.MAX_SAFE_INTEGER;
      const name = SAMPLES.find((each) => each.type === type)?.name as string;
      const elsewhere = withMember(bodyOf(name), "fork_info.genesis_validators_root", filled(1));
      expect(await resultFor(elsewhere)).toBe("genesis_validators_root_mismatch");
      untouched();
    },
  );

  it("then slashing protection", async () => {
    expect(await resultFor(ATTESTATION)).toBe("signed");
    const other = withMember(ATTESTATION, "attestation.beacon_block_root", filled(1));
    store.calls.length = 0;
    signCalls = 0;
    expect(await resultFor(other)).toBe("double_vote");
    untouched();
    expect(await resultFor(ATTESTATION)).toBe("signed");
  });
});

describe("a request that fails", () => {
  it("releases nothing when the store does not know, and the same request then succeeds", async () => {
    store.scripts.push({ answer: UNKNOWN });
    expect(await resultFor(ATTESTATION)).toBe("unknown_outcome");
    expect(await resultFor(ATTESTATION)).toBe("signed");
  });

  it("does not reach the store after its deadline", async () => {
    const request = send(ATTESTATION, { timeoutMs: 100 });
    nowMs = 100;
    expect(await resultOf(request)).toBe("deadline_exceeded");
    untouched();
    expect(await resultFor(ATTESTATION, { timeoutMs: 100 })).toBe("signed");
  });

  it("fails with the engine, while its record stays", async () => {
    await engine.close();
    expect(await resultFor(ATTESTATION)).toBe("unavailable");
    expect(await resultFor(sample("RANDAO_REVEAL").body)).toBe("unavailable");
    expect(await resultFor(withMember(ATTESTATION, "attestation.index", "1"))).toBe("double_vote");
  });
});

describe("a key", () => {
  it("that is loaded but not open yet is unknown", async () => {
    open.clear();
    expect(await resultFor(ATTESTATION)).toBe("unknown_key");
    untouched();
  });

  it.each(["ATTESTATION", "RANDAO_REVEAL"])(
    "that was unloaded in the middle never lends its slot to another: %s",
    async (name) => {
      wallClockMs = Number.MAX_SAFE_INTEGER;
      const stored = Promise.withResolvers<void>();
      store.scripts.push({ before: stored.promise });
      const request = send(bodyOf(name));
      await new Promise((resolve) => setImmediate(resolve)); // the signature is begun
      keys.remove(KEY.pubkey);
      keys.add(STRANGER.pubkey, STRANGER.secret.toBytes());
      stored.resolve();
      const outcome = await request;
      if (outcome.kind !== "signed") throw new Error(outcome.detail);
      const root = fromHex(sample(name).signingRoot, 32, "root");
      expect(verify(root, PublicKey.fromBytes(KEY.pubkey), Signature.fromBytes(outcome.signature))).toBe(true);
      expect(await resultFor(bodyOf(name))).toBe("unknown_key");
    },
  );

  it("that was unloaded before its turn came is not signed with", async () => {
    const stored = Promise.withResolvers<void>();
    store.scripts.push({ before: stored.promise });
    const first = resultFor(ATTESTATION);
    const second = resultFor(withMember(ATTESTATION, "attestation.target.epoch", "11"));
    await new Promise((resolve) => setImmediate(resolve));
    keys.remove(KEY.pubkey);
    keys.add(STRANGER.pubkey, STRANGER.secret.toBytes());
    stored.resolve();
    expect(await first).toBe("signed");
    expect(await second).toBe("unknown_key");
  });

  it("is let go of after every outcome: its slot is free for another key", async () => {
    const arena = createSharedArena({ slotsMax: 1 });
    const one = createKeySet(arena);
    one.add(KEY.pubkey, KEY.secret.toBytes());
    const small = createPipeline({
      keys: one,
      engine,
      protection,
      network: NETWORK,
      clockBoundEpochs: 1,
      isOpen: () => true,
      now: () => nowMs,
      wallClock: () => wallClockMs,
    });
    const request = (body: Json) => resultOf(small({ pubkey: KEY.pubkey, timeoutMs: 1_000, body: encode(body) }));
    await request(ATTESTATION);
    await request(withMember(ATTESTATION, "fork_info.genesis_validators_root", filled(1)));
    await request(withMember(ATTESTATION, "attestation.index", "1"));
    store.scripts.push({ answer: UNKNOWN });
    await request(withMember(ATTESTATION, "attestation.target.epoch", "11"));
    one.remove(KEY.pubkey);
    // The signature of the unknown outcome was dropped, but is perhaps still being made: its slot is held so long.
    await until(() => new Uint8Array(arena.memory).every((byte) => byte === 0), "a wiped slot");
    expect(one.add(STRANGER.pubkey, STRANGER.secret.toBytes())).toBe(true);
  });
});

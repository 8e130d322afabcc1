import { describe, expect, it } from "vitest";
import { anotherChain, checkClockBound, checkType } from "#enclave/policy.ts";
import type { Duty } from "#protocol/signing/duty.ts";
import { NAMED_NETWORKS } from "#protocol/signing/named-networks.ts";
import { type Network, networkFromJson } from "#protocol/signing/network.ts";

const network = (name: keyof typeof NAMED_NETWORKS): Network => networkFromJson({ name, ...NAMED_NETWORKS[name] });
const MAINNET = network("mainnet");
const GNOSIS = network("gnosis");
const blockAt = (slot: number): Duty => ({ kind: "block", slot });
const voteFor = (targetEpoch: number, slot = 0): Duty => ({ kind: "attestation", slot, sourceEpoch: 0, targetEpoch });
/** ms since 1970 at the start of an epoch. */
const startOf = (chain: Network, epoch: number): number =>
  ((chain.genesisTimeSeconds as number) + epoch * chain.slotsPerEpoch * chain.secondsPerSlot) * 1000;
const isDenied = (duty: Duty, atMs: number, chain = MAINNET, clockBoundEpochs: number | undefined = 1): boolean =>
  checkClockBound(duty, { network: chain, clockBoundEpochs, wallClock: () => atMs }) !== undefined;

describe("the clock bound", () => {
  const now = startOf(MAINNET, 100);
  const rows: [name: string, duty: Duty, atMs: number, denied: boolean][] = [
    ["a block in the last slot of the next epoch", blockAt(102 * 32 - 1), now, false],
    ["a block in the first slot after the next epoch", blockAt(102 * 32), now, true],
    ["that block, a millisecond before its time comes", blockAt(102 * 32), startOf(MAINNET, 101) - 1, true],
    ["that block, when its time comes", blockAt(102 * 32), startOf(MAINNET, 101), false],
    ["a vote for the next epoch", voteFor(101), now, false],
    ["a vote for the epoch after the next", voteFor(102), now, true],
    ["a vote for now in a slot far away", voteFor(100, 102 * 32), now, true],
    ["a vote for now in the last slot of the next epoch", voteFor(100, 102 * 32 - 1), now, false],
    ["the past", voteFor(0), now, false],
    ["the largest slot", blockAt(Number.MAX_SAFE_INTEGER), now, true],
    ["the largest target", voteFor(Number.MAX_SAFE_INTEGER), now, true],
    ["epoch 1 long before genesis", voteFor(1), 0, false],
    ["epoch 2 long before genesis", voteFor(2), 0, true],
    ["epoch 1 just before genesis", voteFor(1), startOf(MAINNET, 0) - 1, false],
    ["epoch 2 just before genesis", voteFor(2), startOf(MAINNET, 0) - 1, true],
    ["what cannot be slashed", { kind: "other" }, now, false],
  ];
  it.each(rows)("on %s", (_name, duty, atMs, denied) => {
    expect(isDenied(duty, atMs)).toBe(denied);
  });

  it("goes by the network's own epochs: 16 slots of 5 s on gnosis", () => {
    const atMs = startOf(GNOSIS, 50);
    expect(atMs - startOf(GNOSIS, 49)).toBe(80_000);
    expect(isDenied(blockAt(52 * 16 - 1), atMs, GNOSIS)).toBe(false);
    expect(isDenied(blockAt(52 * 16), atMs, GNOSIS)).toBe(true);
    expect(isDenied(voteFor(51), atMs, GNOSIS)).toBe(false);
    expect(isDenied(voteFor(51), atMs - 1, GNOSIS)).toBe(true);
  });

  it.each([
    [0, 100, 101],
    [1, 101, 102],
    [1000, 1100, 1101],
  ])("of %i epochs lets epoch %i through and not %i", (bound, last, first) => {
    expect(isDenied(voteFor(last), now, MAINNET, bound)).toBe(false);
    expect(isDenied(voteFor(first), now, MAINNET, bound)).toBe(true);
  });

  it("is off when it is not configured, or the genesis time is unknown", () => {
    const far = blockAt(Number.MAX_SAFE_INTEGER);
    const options = { network: MAINNET, clockBoundEpochs: undefined, wallClock: () => now };
    expect(checkClockBound(far, options)).toBeUndefined();
    expect(isDenied(far, now, network("minimal"))).toBe(false);
    expect(isDenied(far, now)).toBe(true);
  });

  it("says both epochs", () => {
    const denied = checkClockBound(voteFor(102), { network: MAINNET, clockBoundEpochs: 1, wallClock: () => now });
    expect(denied).toEqual({
      kind: "denied",
      rule: "beyond_clock_bound",
      detail: "epoch 102 is later than 101, the last that may be signed now",
    });
  });
});

describe("a refusal", () => {
  it("of another chain names both roots, if there are two", () => {
    const [named, own] = [new Uint8Array(32).fill(1), new Uint8Array(32).fill(2)];
    expect(anotherChain(named, own)).toMatchObject({
      kind: "denied",
      rule: "genesis_validators_root_mismatch",
      detail: `genesis_validators_root: expected 0x${"02".repeat(32)}, got 0x${"01".repeat(32)}`,
    });
    expect(anotherChain(named, undefined).detail).toContain("expected another");
  });
});

describe("the types that a configuration allows", () => {
  it.each([
    ["ATTESTATION", undefined, false],
    ["VOLUNTARY_EXIT", undefined, false],
    ["ATTESTATION", ["ATTESTATION", "BLOCK_V2"], false],
    ["VOLUNTARY_EXIT", ["ATTESTATION", "BLOCK_V2"], true],
    ["ATTESTATION", [], true],
  ] as const)("%s under %j: denied %s", (type, allowed, denied) => {
    const refusal = checkType(type, allowed && new Set(allowed));
    expect(refusal !== undefined).toBe(denied);
    if (refusal !== undefined) expect(refusal).toMatchObject({ rule: "type_not_allowed" });
    if (refusal !== undefined) expect(refusal.detail).toContain(type);
  });
});

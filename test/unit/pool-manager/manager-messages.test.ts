import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  decodeMembers,
  decodePublicKeysPage,
  decodeReloadAnswer,
  decodeReloadStatus,
  encodeMembers,
  encodePublicKeysPage,
  encodeReloadAnswer,
  encodeReloadStatus,
  MEMBERS_MAX,
  RELOAD_ANSWERS,
} from "#pool-manager/manager-messages.ts";
import { MEMBER_STATES, type MemberView } from "#pool-manager/pool-port.ts";
import { SignerError } from "#protocol/errors.ts";
import { KEYS_MAX, PAGE_ENTRIES_MAX } from "#protocol/limits.ts";
import { ENCLAVE_COUNTERS, type EnclaveStatus } from "#protocol/messages/control.ts";

const status: EnclaveStatus = {
  phase: "ready",
  keys: 5,
  storeProblem: "behind the floor",
  storeInitialised: true,
  reachesStore: true,
  commandSequence: 3,
  inFlight: 1,
  counters: Object.fromEntries(ENCLAVE_COUNTERS.map((name) => [name, 7])) as EnclaveStatus["counters"],
};
const member: MemberView = { cid: 16, state: "ready", path: "/run/v16", incarnation: 1 };
const json = (value: unknown): Uint8Array => Buffer.from(JSON.stringify(value));

describe("members", () => {
  it("round-trip in every state, with and without a status", () => {
    const members = MEMBER_STATES.flatMap((state, index) => [
      { ...member, state, cid: 16 + index },
      { ...member, state, cid: 32 + index, status },
    ]);
    expect(decodeMembers(encodeMembers({ members, keyErrors: 3 }))).toEqual({ members, keyErrors: 3 });
  });

  it.each([
    ["no object", []],
    ["no list", { members: {}, keyErrors: 0 }],
    ["no errors", { members: [] }],
    ["a fraction of errors", { members: [], keyErrors: 0.5 }],
    ["an unknown name", { members: [], keyErrors: 0, more: 1 }],
    ["too many", { members: Array(MEMBERS_MAX + 1).fill(member), keyErrors: 0 }],
    ["a member that is null", { members: [null], keyErrors: 0 }],
    ["an unknown state", { members: [{ ...member, state: "tired" }], keyErrors: 0 }],
    ["a negative CID", { members: [{ ...member, cid: -1 }], keyErrors: 0 }],
    ["an incarnation of text", { members: [{ ...member, incarnation: "1" }], keyErrors: 0 }],
    ["an empty path", { members: [{ ...member, path: "" }], keyErrors: 0 }],
    ["a path too long for the kernel", { members: [{ ...member, path: "v".repeat(108) }], keyErrors: 0 }],
    ["an unknown name in a member", { members: [{ ...member, more: 1 }], keyErrors: 0 }],
    ["a status without a phase", { members: [{ ...member, status: { ...status, phase: "?" } }], keyErrors: 0 }],
  ])("are refused with %s", (_, value) => {
    expect(() => decodeMembers(json(value))).toThrow(/^protocol_violation/);
  });
});

describe("public keys pages", () => {
  const page = { version: 4, total: 10, offset: 3, keys: new Uint8Array(2 * 48).fill(5) };

  it("round-trip, the empty list too", () => {
    for (const each of [page, { version: 1, total: 0, offset: 0, keys: new Uint8Array(0) }]) {
      const decoded = decodePublicKeysPage(encodePublicKeysPage(each));
      expect({ ...decoded, keys: new Uint8Array(decoded.keys) }).toEqual(each);
    }
  });

  it.each([
    ["half a key", { ...page, keys: new Uint8Array(24) }],
    ["no key of some", { ...page, keys: new Uint8Array(0) }],
    ["keys behind the end", { ...page, offset: 9 }],
    ["an absurd total", { ...page, total: KEYS_MAX + 1 }],
    ["too many keys", { version: 1, total: KEYS_MAX, offset: 0, keys: new Uint8Array((PAGE_ENTRIES_MAX + 1) * 48) }],
  ])("are refused with %s", (_, each) => {
    expect(() => decodePublicKeysPage(encodePublicKeysPage(each))).toThrow(/^protocol_violation/);
  });
});

describe("reload", () => {
  it("answers and status round-trip", () => {
    for (const answer of RELOAD_ANSWERS) expect(decodeReloadAnswer(encodeReloadAnswer(answer))).toBe(answer);
    for (const each of [
      { status: "idle" },
      { status: "failed", lastOperationTime: "2026-01-01T00:00:00Z", lastError: "no folder" },
    ] as const) {
      expect(decodeReloadStatus(encodeReloadStatus(each))).toEqual(each);
    }
  });

  it.each([[{ status: "busy" }], [{}], [{ status: "idle", lastError: 5 }], [{ status: "idle", more: 5 }]])(
    "refuses %j",
    (value) => {
      expect(() => decodeReloadStatus(json(value))).toThrow(/^protocol_violation/);
    },
  );
});

it.each([
  ["members", decodeMembers],
  ["public keys page", decodePublicKeysPage],
  ["reload answer", decodeReloadAnswer],
  ["reload status", decodeReloadStatus],
])("%s: any bytes or any JSON give a value or a protocol violation", (_, decode) => {
  const payload = fc.oneof(
    fc.uint8Array({ maxLength: 200 }),
    fc.json().map((text) => Buffer.from(text)),
  );
  fc.assert(
    fc.property(payload, (bytes) => {
      try {
        decode(bytes);
      } catch (error) {
        expect((error as SignerError).code).toBe("protocol_violation");
        expect(error).toBeInstanceOf(SignerError);
      }
    }),
  );
});

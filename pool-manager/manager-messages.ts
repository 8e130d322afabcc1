/**
 * The unix socket between gateways and the pool-manager: what a gateway asks (`subscribe`, `reload`, `reloadStatus`) and
 * what the manager pushes (`members`, `publicKeys`). Control data is JSON; public keys are binary pages, because a
 * hundred thousand of them do not fit one frame. Every decoder is total: unexpected input is a `protocol_violation`.
 */

import { ByteReader, ByteWriter, PUBKEY_BYTES, quote } from "#protocol/bytes.ts";
import { SignerError } from "#protocol/errors.ts";
import { KEYS_MAX, PAGE_ENTRIES_MAX } from "#protocol/limits.ts";
import { decodeStatus } from "#protocol/messages/control.ts";
import { SOCKET_PATH_BYTES_MAX } from "#protocol/transport/hybrid.ts";
import type { SlashingStatus } from "./operator.ts";
import { MEMBER_STATES, type MemberState, type MemberView, type ReloadStatus } from "./pool-port.ts";

/** Operations that a gateway asks of the manager. */
export const MANAGER_OPERATIONS = {
  /** Empty; answered empty. The present state and every later one follow as events. */
  subscribe: 1,
  /** Empty; answers a {@link ReloadAnswer}: reads the key sources again. */
  reload: 2,
  /** Empty; answers a {@link ReloadStatus}. */
  reloadStatus: 3,
  /** An operator command (`#protocol/operator/command.ts`); answers an `OperatorReport`. */
  operate: 4,
  /** Empty; answers a {@link SlashingStatus}. */
  slashingStatus: 5,
} as const;

/** Events that the manager pushes to a subscriber. */
export const MANAGER_EVENTS = {
  /** A whole {@link MembersEvent}; it replaces the one before. */
  members: 1,
  /** One {@link PublicKeysPage}. */
  publicKeys: 2,
} as const;

/** Members in one event: four enclaves a parent (`ENCLAVES_MAX`), their replacements, and some dead ones to look at. */
export const MEMBERS_MAX = 32;

/** All members at one moment. */
export interface MembersEvent {
  readonly members: readonly MemberView[];
  /** Keys that could not be loaded. */
  readonly keyErrors: number;
}

/** A part of the list of public keys; a list is whole when `offset` plus the keys here reach `total`. */
export interface PublicKeysPage {
  /** Number of the list, u32; all pages of one list carry the same. */
  readonly version: number;
  /** Keys in the whole list, 0..{@link KEYS_MAX}. */
  readonly total: number;
  /** Keys in the pages before this one. */
  readonly offset: number;
  /** At most {@link PAGE_ENTRIES_MAX} × 48 bytes, a view on the message. */
  readonly keys: Uint8Array;
}

/** Whether a reload begins now or one is running already. */
export const RELOAD_ANSWERS = ["accepted", "running"] as const;
/** One of {@link RELOAD_ANSWERS}. */
export type ReloadAnswer = (typeof RELOAD_ANSWERS)[number];

const RELOAD_STATES = [
  "idle",
  "running",
  "completed",
  "completed_with_errors",
  "failed",
] as const satisfies ReloadStatus["status"][];

/** JSON of a {@link SlashingStatus}. */
export const encodeSlashingStatus = (status: SlashingStatus): Uint8Array => encodeJson(status);

/** @throws SignerError `protocol_violation` */
export const decodeSlashingStatus = (payload: Uint8Array): SlashingStatus => {
  const value = readObject(payload, {
    what: "slashing status",
    names: ["storeIdHex", "commandSequence", "nextMacKeyId"],
  });
  return {
    storeIdHex: readText(value.storeIdHex, "storeIdHex"),
    commandSequence: readCount(value.commandSequence, "commandSequence"),
    nextMacKeyId: readCount(value.nextMacKeyId, "nextMacKeyId"),
  };
};

/** JSON of a {@link MembersEvent}. */
export const encodeMembers = (event: MembersEvent): Uint8Array => encodeJson(event);

/** @throws SignerError `protocol_violation` */
export const decodeMembers = (payload: Uint8Array): MembersEvent => {
  const { members, keyErrors } = readObject(payload, { what: "members", names: ["members", "keyErrors"] });
  if (!Array.isArray(members) || members.length > MEMBERS_MAX) {
    throw violation(`members: expected a list of at most ${MEMBERS_MAX}, got ${quote(members)}`);
  }
  return { members: members.map(readMember), keyErrors: readCount(keyErrors, "keyErrors") };
};

/** Binary form: u32 version, u32 total, u32 offset, then n × 48 bytes. */
export const encodePublicKeysPage = (page: PublicKeysPage): Uint8Array =>
  new ByteWriter().u32(page.version).u32(page.total).u32(page.offset).bytes(page.keys).finish();

/** @throws SignerError `protocol_violation` */
export const decodePublicKeysPage = (payload: Uint8Array): PublicKeysPage => {
  const reader = new ByteReader(payload, "public keys page");
  const version = reader.u32("version");
  const total = reader.u32("total");
  const offset = reader.u32("offset");
  const keys = reader.rest();
  const count = keys.length / PUBKEY_BYTES;
  if (total > KEYS_MAX) throw violation(`public keys page: total: expected at most ${KEYS_MAX}, got ${total}`);
  if (!Number.isInteger(count) || count > PAGE_ENTRIES_MAX || (count === 0 && total > 0) || offset + count > total) {
    throw violation(`public keys page: ${keys.length} bytes at ${offset} do not fit a list of ${total} keys`);
  }
  return { version, total, offset, keys };
};

/** JSON of a {@link ReloadAnswer}. */
export const encodeReloadAnswer = (answer: ReloadAnswer): Uint8Array => encodeJson({ answer });

/** @throws SignerError `protocol_violation` */
export const decodeReloadAnswer = (payload: Uint8Array): ReloadAnswer => {
  const { answer } = readObject(payload, { what: "reload answer", names: ["answer"] });
  return readOneOf(answer, { name: "answer", values: RELOAD_ANSWERS });
};

/** JSON of a {@link ReloadStatus}. */
export const encodeReloadStatus = (status: ReloadStatus): Uint8Array => encodeJson(status);

/** @throws SignerError `protocol_violation` */
export const decodeReloadStatus = (payload: Uint8Array): ReloadStatus => {
  const value = readObject(payload, { what: "reload status", names: ["status", "lastOperationTime", "lastError"] });
  const { lastOperationTime, lastError } = value;
  return {
    status: readOneOf(value.status, { name: "status", values: RELOAD_STATES }),
    ...(lastOperationTime === undefined ? {} : { lastOperationTime: readText(lastOperationTime, "lastOperationTime") }),
    ...(lastError === undefined ? {} : { lastError: readText(lastError, "lastError") }),
  };
};

const MEMBER_NAMES = ["cid", "state", "path", "incarnation", "status", "problem"] as const;

const readMember = (value: unknown): MemberView => {
  const members = checkObject(value, { what: "member", names: MEMBER_NAMES });
  const { cid, state, path, incarnation, status, problem } = members;
  const pathText = readText(path, "path");
  if (pathText.length === 0 || Buffer.byteLength(pathText) > SOCKET_PATH_BYTES_MAX) {
    throw violation(`member: path: expected 1..${SOCKET_PATH_BYTES_MAX} bytes, got ${quote(pathText)}`);
  }
  return {
    cid: readCount(cid, "cid"),
    state: readOneOf<MemberState>(state, { name: "state", values: MEMBER_STATES }),
    path: pathText,
    incarnation: readCount(incarnation, "incarnation"),
    ...(status === undefined ? {} : { status: decodeStatus(encodeJson(status)) }),
    ...(problem === undefined ? {} : { problem: readText(problem, "problem") }),
  };
};

const encodeJson = (value: unknown): Uint8Array => Buffer.from(JSON.stringify(value));

const readObject = <Name extends string>(
  payload: Uint8Array,
  expected: { what: string; names: readonly Name[] },
): Partial<Record<Name, unknown>> => {
  let value: unknown;
  try {
    value = JSON.parse(Buffer.from(payload.buffer, payload.byteOffset, payload.byteLength).toString("utf8"));
  } catch {
    throw violation(`${expected.what}: expected JSON`);
  }
  return checkObject(value, expected);
};

const checkObject = <Name extends string>(
  value: unknown,
  { what, names }: { what: string; names: readonly Name[] },
): Partial<Record<Name, unknown>> => {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw violation(`${what}: expected an object, got ${quote(value)}`);
  }
  const unknownName = Object.keys(value).find((name) => !(names as readonly string[]).includes(name));
  if (unknownName !== undefined) throw violation(`${what}: unknown member ${quote(unknownName)}`);
  return value as Partial<Record<Name, unknown>>;
};

const readCount = (value: unknown, name: string): number => {
  if (!Number.isSafeInteger(value) || (value as number) < 0) {
    throw violation(`${name}: expected 0..2^53-1, got ${quote(value)}`);
  }
  return value as number;
};

const readText = (value: unknown, name: string): string => {
  if (typeof value !== "string") throw violation(`${name}: expected text, got ${quote(value)}`);
  return value;
};

const readOneOf = <Value extends string>(
  value: unknown,
  { name, values }: { name: string; values: readonly Value[] },
): Value => {
  const found = values.find((candidate) => candidate === value);
  if (found === undefined) throw violation(`${name}: expected one of ${values.join(", ")}, got ${quote(value)}`);
  return found;
};

const violation = (detail: string): SignerError => new SignerError("protocol_violation", detail);

/**
 * Brings EIP-2335 keystores into the table: opened several at a time, sealed, written. What is in the table already is
 * not opened again, so a run that broke off is gone on with by the same command.
 */

import { randomBytes } from "node:crypto";
import type { KeystoreOpener } from "#enclave/keys/keystore.ts";
import type { AddOutcome, OperatorTable } from "#pool-manager/keys/dynamo-operator-table.ts";
import { listSourceKeys } from "#pool-manager/keys/key-source.ts";
import type { TableProblem } from "#pool-manager/keys/key-table.ts";
import { fromHex, PUBKEY_BYTES, toHex } from "#protocol/bytes.ts";
import { type ErrorCode, SignerError } from "#protocol/errors.ts";
import { decodeOpenKeystore } from "#protocol/messages/control.ts";
import type { BundleWriter } from "./bundle-writer.ts";

/** A keystore that is to be read. */
export interface ImportSource {
  /** For messages. */
  readonly name: string;
  /** Its public key, where that is known before it is read; `0x` hex. */
  readonly pubkeyHex?: string;
  /** The keystore and its password; the caller wipes them. @throws SignerError; {@link FatalFailure} */
  read(): Promise<{ readonly keystore: Uint8Array; readonly password: Uint8Array }>;
}

/** What is imported. */
export interface ImportListing {
  readonly sources: readonly ImportSource[];
  /** What could not even be listed. */
  readonly failures: ImportReport["failures"];
}

/** How it is imported. */
export interface ImportOptions {
  /** Whether keys that were removed come back. */
  readonly restore: boolean;
  /** Keystores in work at the same time. */
  readonly lanes: number;
}

/** What it works with. */
export interface ImportModules {
  readonly table: Pick<OperatorTable, "entries">;
  readonly writer: Pick<BundleWriter, "write">;
  readonly opener: Pick<KeystoreOpener, "open">;
  readonly onProgress: (done: number, total: number) => void;
  /** Hears of items of the table that cannot be read. */
  readonly onProblem: (problem: TableProblem) => void;
}

/** What became of the keystores. */
export interface ImportReport {
  readonly counts: Readonly<Record<AddOutcome, number>>;
  /** Keystores that could not be imported. */
  readonly failures: readonly { readonly name: string; readonly reason: string }[];
}

/** A failure that would meet the next keystore, too, whatever its code: of KMS or of the table. */
export class FatalFailure extends Error {}

/** A keystore's own fault. */
const OF_THE_KEYSTORE: ReadonlySet<ErrorCode> = new Set(["bad_request", "protocol_violation"]);

/**
 * The keystores of a folder.
 * @param passwordPath one password file for all, or a folder of `<keystore name>.txt`
 * @throws SignerError `bad_request`
 */
export const keystoresIn = async (folder: string, passwordPath: string): Promise<ImportListing> => {
  // The digests serve those who list again; here a key of the moment will do.
  const sealingKey = randomBytes(32);
  const { keys, failures } = await listSourceKeys({ path: folder, passwordPath, sealingKey });
  const sources = keys.map(({ name, request }) => ({
    name,
    read: async () => {
      const { payload } = request();
      try {
        return decodeOpenKeystore(payload);
      } finally {
        payload.fill(0);
      }
    },
  }));
  return { sources, failures };
};

/** @throws SignerError when KMS or the table fails; what was written until then stays */
export const importKeystores = async (
  { sources, failures: unreadable }: ImportListing,
  { restore, lanes }: ImportOptions,
  modules: ImportModules,
): Promise<ImportReport> => {
  const known = await knownKeys(modules);
  const failures = [...unreadable];
  const counts = { added: 0, present: 0, removed: 0 };
  const total = sources.length;
  let done = 0;
  let next = 0;
  let failed = false;

  const lane = async (): Promise<void> => {
    while (next < sources.length && !failed) {
      const source = sources[next] as ImportSource;
      next += 1;
      const outcome = await importOne(source, { known, restore, modules });
      if (typeof outcome === "string") counts[outcome] += 1;
      else failures.push({ name: source.name, reason: outcome.detail });
      done += 1;
      modules.onProgress(done, total);
    }
  };
  const guarded = async (): Promise<void> => {
    try {
      await lane();
    } catch (error) {
      failed = true;
      throw error;
    }
  };
  // All of them, so that no write is under way when the caller hears of a failure.
  const ended = await Promise.allSettled(Array.from({ length: lanes }, guarded));
  for (const each of ended) if (each.status === "rejected") throw each.reason;
  return { counts, failures };
};

/** Damaged: an item stands there that cannot be read. */
type Known = ReadonlyMap<string, "live" | "removed" | "damaged">;

const knownKeys = async ({ table, onProblem }: ImportModules): Promise<Known> => {
  const known = new Map<string, "live" | "removed" | "damaged">();
  const entries = table.entries((problem) => {
    known.set(problem.item, "damaged");
    onProblem(problem);
  });
  for await (const { pubkey, kind } of entries) known.set(toHex(pubkey), kind);
  return known;
};

const importOne = async (
  source: ImportSource,
  { known, restore, modules }: { known: Known; restore: boolean; modules: ImportModules },
): Promise<AddOutcome | SignerError> => {
  const skipped: Skip = (pubkeyHex) => {
    const state = pubkeyHex === undefined ? undefined : known.get(pubkeyHex);
    if (state === "damaged") {
      const remedy = "`testudo keys remove` it, and import it with --restore";
      throw new SignerError("bad_request", `${pubkeyHex}: an item that cannot be read stands in the table: ${remedy}`);
    }
    if (state === "live") return "present";
    return state === "removed" && !restore ? "removed" : undefined;
  };
  try {
    const before = skipped(source.pubkeyHex);
    if (before !== undefined) return before;
    const { keystore, password } = await source.read();
    try {
      return (
        skipped(source.pubkeyHex ?? namedPubkey(keystore)) ??
        (await openAndWrite({ source, keystore, password, restore, skipped }, modules))
      );
    } finally {
      password.fill(0);
    }
  } catch (error) {
    if (error instanceof FatalFailure) throw error.cause;
    if (error instanceof SignerError && OF_THE_KEYSTORE.has(error.code)) return error;
    throw error;
  }
};

/** What becomes of a key that is not to be written; undefined: it is. */
type Skip = (pubkeyHex: string | undefined) => AddOutcome | undefined;

interface Opening {
  readonly source: ImportSource;
  readonly keystore: Uint8Array;
  readonly password: Uint8Array;
  readonly restore: boolean;
  readonly skipped: Skip;
}

const openAndWrite = async (
  { source, keystore, password, restore, skipped }: Opening,
  { opener, writer }: ImportModules,
): Promise<AddOutcome> => {
  const { pubkey, secret } = await opener.open(keystore, password);
  try {
    if (source.pubkeyHex !== undefined && source.pubkeyHex !== toHex(pubkey)) {
      throw new SignerError(
        "bad_request",
        `expected the keystore of ${source.pubkeyHex}, got that of ${toHex(pubkey)}`,
      );
    }
    return skipped(toHex(pubkey)) ?? (await sealOpened(writer, { pubkey, secret, restore }));
  } finally {
    secret.fill(0);
  }
};

const sealOpened = async (
  writer: Pick<BundleWriter, "write">,
  { pubkey, secret, restore }: { pubkey: Uint8Array; secret: Uint8Array; restore: boolean },
): Promise<AddOutcome> => {
  try {
    return await writer.write(pubkey, secret, { restore });
  } catch (cause) {
    throw new FatalFailure("import", { cause });
  }
};

/** What the keystore says of itself; whether it is true shows when it is opened. */
const namedPubkey = (keystore: Uint8Array): string | undefined => {
  try {
    const { pubkey } = JSON.parse(Buffer.from(keystore).toString("utf8")) as { pubkey?: unknown };
    return typeof pubkey === "string" ? toHex(fromHex(pubkey, PUBKEY_BYTES, "pubkey")) : undefined;
  } catch {
    return undefined;
  }
};

/**
 * Executes operator commands inside the enclave: those that only raise protection at once, the others under the
 * operator's signature and in sequence, so that none works twice. The sequence is the time of signing: an old command
 * does not work again even where the store, and with it the last sequence, was lost.
 *
 * Recovery first marks the store as suspect and waits until every enclave of every parent has seen it: meanwhile nobody
 * signs anything slashable, and what is then written stands above whatever was lost. A rotation of the MAC key waits
 * in the same way once the marker is under the new key: from then on no record is made under the old one.
 */

import { setTimeout as sleep } from "node:timers/promises";
import { bytesEqual, toHex } from "#protocol/bytes.ts";
import { SignerError } from "#protocol/errors.ts";
import { needsSignature, type OperatorCommand, type ReceivedOperatorCommand } from "#protocol/operator/command.ts";
import { type Marker, newMarker } from "#protocol/slashing/marker.ts";
import { merge, type SlashingState } from "#protocol/slashing/rules.ts";
import type { SlashingStore, StoreEntry } from "#protocol/slashing/store.ts";
import type { FoundMarker } from "../slashing/marker-keeper.ts";
import type { Protection, Workshop } from "../slashing/protection.ts";
import { CLOCK_SKEW_MS_MAX } from "../slashing/recovery.ts";
import { type RewriteReport, rewriteRecords } from "../slashing/rewrite.ts";
import type { Authority } from "./authority.ts";
import { transformOf } from "./transforms.ts";

/** What a command did. */
export interface OperatorOutcome extends RewriteReport {
  /** Records that a recovery made of validators of which nothing was known. */
  readonly blank: number;
}

/** The enclave's operator desk. */
export interface Operator {
  /** @throws SignerError `bad_request` (signature, sequence, bound), `unavailable`, `unknown_outcome` */
  execute(received: ReceivedOperatorCommand): Promise<OperatorOutcome>;
  /** Takes what another enclave has seen, for a recovery that follows. Unverifiable entries are left out. */
  keepFloors(entries: readonly StoreEntry[]): void;
}

/** What the desk works with. */
export interface OperatorModules {
  readonly protection: Protection;
  readonly store: SlashingStore;
  readonly authority: Authority;
  /** Wall clock in ms since 1970. */
  readonly wallClock: () => number;
  /**
   * The last epoch that may be signed by a clock that is `aheadMs` ahead of this enclave's; undefined where the genesis
   * time is not known or there is no bound.
   */
  readonly lastSignableEpoch: (aheadMs: number) => number | undefined;
}

/** Every enclave looks at the marker once a second (`../enclave.ts`): three looks and a stall. */
const SEEN_BY_ALL_MS = 5_000;
/** Age of a signed command, and how far it may be ahead: it is made by the command line that hands it over. */
const SIGNED_WITHIN_SECONDS = 600;

/** Makes the desk of one installation. */
export const createOperator = (
  options: { readonly storeId: Uint8Array; readonly slotsPerEpoch: number; readonly seenByAllMs?: number },
  modules: OperatorModules,
): Operator => {
  const { protection, store, authority } = modules;
  const { seenByAllMs = SEEN_BY_ALL_MS } = options;
  /** What other enclaves have seen, merged, by `0x` hex public key. */
  const floors = new Map<string, SlashingState>();
  let busy = false;

  const rewrite = async (command: OperatorCommand, workshop: Workshop, pubkeys: readonly Uint8Array[]) => {
    const blank = new Set<string>();
    const report = await rewriteRecords(
      {
        pubkeys,
        overwriteUnverifiable: command.command === "recover",
        transform: (pubkey, state) => {
          const seen = [workshop.guard?.seen(pubkey), floors.get(toHex(pubkey))].filter((each) => each !== undefined);
          const floor = seen.length === 0 ? undefined : seen.reduce(merge);
          if (command.command === "recover" && state === undefined && floor === undefined) blank.add(toHex(pubkey));
          return transformOf(command, { slotsPerEpoch: options.slotsPerEpoch, floor })(state);
        },
      },
      { store, codec: workshop.codec },
    );
    for (const { pubkeyHex } of report.failures) blank.delete(pubkeyHex);
    return { ...report, blank: blank.size };
  };

  /** Public keys that a command is about: those it names, or all that are in the store, seen or loaded. */
  const subjects = async (command: OperatorCommand, workshop: Workshop): Promise<Uint8Array[]> => {
    if (command.pubkeys.length > 0) return [...command.pubkeys];
    const all = new Map<string, Uint8Array>();
    for await (const { key } of store.scan()) all.set(toHex(key), key);
    for (const key of workshop.pubkeys()) all.set(toHex(key), key);
    for (const { pubkey } of workshop.guard?.records() ?? []) all.set(toHex(pubkey), pubkey);
    for (const name of floors.keys()) all.set(name, Buffer.from(name.slice(2), "hex"));
    return [...all.values()];
  };

  /** A marker that is ahead of the clock, because that was put back, must not shut the operator out. */
  const expectSequence = ({ commandSequence: last }: Marker, { sequence }: OperatorCommand): void => {
    const nowSeconds = Math.floor(modules.wallClock() / 1000);
    const earliest = Math.max(last + 1, nowSeconds - SIGNED_WITHIN_SECONDS);
    const latest = Math.max(last, nowSeconds) + SIGNED_WITHIN_SECONDS;
    if (sequence >= earliest && sequence <= latest) return;
    throw new SignerError(
      "bad_request",
      `operator command: sequence: expected ${earliest}..${latest} (unix seconds), got ${sequence}: ` +
        "it or a later one was executed before, or it was signed too long ago: sign it anew",
    );
  };

  const replaceMarker = async (workshop: Workshop, found: FoundMarker, next: Marker): Promise<void> => {
    if (await workshop.marker.replace(found, next)) return;
    throw new SignerError("unavailable", "the store's marker changed meanwhile, run the command again");
  };

  /** What an enclave has seen of a suspect store must stay readable for the recovery: keys change after it. */
  const expectTrust = ({ suspectSinceUnixSeconds }: Marker): void => {
    if (protection.problem === undefined && suspectSinceUnixSeconds === 0) return;
    const reason = protection.problem ?? "the slashing store is suspect: run `testudo slashing recover`";
    throw new SignerError("store_suspect", `rotate-mac: not while the store is not trusted: ${reason}`);
  };

  const ordinary = async (command: OperatorCommand, workshop: Workshop): Promise<OperatorOutcome> => {
    if (command.command === "register" && command.pubkeys.length === 0) {
      throw new SignerError("bad_request", "register: names the validators, it is never about all of them");
    }
    const found = await workshop.marker.find();
    if (found.kind !== "ok") throw new SignerError("store_suspect", protection.problem ?? "the marker is not there");
    let { marker } = found;
    if (command.command === "rotate-mac") expectTrust(marker);
    if (marker.commandSequence < workshop.sequence) {
      await workshop.marker.raiseSuspicion();
      throw new SignerError("store_suspect", "the store's marker is older than one seen before: run `recover`");
    }
    if (needsSignature(command.command)) {
      expectSequence(marker, command);
      if (command.command === "rotate-mac") workshop.writeUnder(command.epoch);
      // The sequence moves first: whatever happens after, this command does not work again.
      marker = { ...marker, commandSequence: command.sequence };
      await replaceMarker(workshop, found, marker);
    }
    if (command.command === "rotate-mac") await sleep(seenByAllMs);
    const report = await rewrite(command, workshop, await subjects(command, workshop));
    await workshop.adopt(marker, { trust: false });
    return report;
  };

  const recover = async (command: OperatorCommand, workshop: Workshop): Promise<OperatorOutcome> => {
    const bound = modules.lastSignableEpoch(CLOCK_SKEW_MS_MAX);
    if (bound !== undefined && command.epoch < bound) {
      throw new SignerError("bad_request", `recover: --epoch: expected at least ${bound}, got ${command.epoch}`);
    }
    if (command.pubkeys.length > 0) throw new SignerError("bad_request", "recover: is about all validators at once");
    const epochMax = Math.floor(Number.MAX_SAFE_INTEGER / options.slotsPerEpoch) - 1;
    if (command.epoch > epochMax) {
      throw new SignerError("bad_request", `recover: epoch: expected at most ${epochMax}, got ${command.epoch}`);
    }
    const suspended = await suspend(command, workshop);
    await sleep(seenByAllMs);
    const report = await rewrite(command, workshop, await subjects(command, workshop));
    if (report.failures.length > 0) return report; // the store stays suspect
    const { sequence } = command;
    const ended = { commandSequence: sequence, recoverySequence: sequence, suspectSinceUnixSeconds: 0 };
    const trusted = { ...suspended.marker, ...ended };
    // In place of the very marker of the suspension: data that was lost again meanwhile took that one with it.
    await replaceMarker(workshop, suspended, trusted);
    await workshop.adopt(trusted, { trust: true });
    floors.clear();
    return report;
  };

  /** Makes the store suspect for everybody, under a marker that can be read again. */
  const suspend = async (
    command: OperatorCommand,
    workshop: Workshop,
  ): Promise<Extract<FoundMarker, { kind: "ok" }>> => {
    const found = await workshop.marker.find();
    if (found.kind === "refused" && found.genuine) throw new SignerError("bad_request", `recover: ${found.reason}`);
    const nowMs = modules.wallClock();
    const { genesisValidatorsRoot, sequence } = workshop;
    const known = found.kind === "ok" ? found.marker : newMarker(options.storeId, { genesisValidatorsRoot, nowMs });
    // Lost, unreadable or rolled back: what this enclave remembers of it goes on.
    const before = { ...known, commandSequence: Math.max(known.commandSequence, sequence) };
    expectSequence(before, command);
    const suspect = { ...before, suspectSinceUnixSeconds: Math.max(1, Math.floor(nowMs / 1000)) };
    await replaceMarker(workshop, found, suspect);
    const written = await workshop.marker.find();
    if (written.kind === "ok" && written.marker.suspectSinceUnixSeconds > 0) {
      if (written.marker.commandSequence === suspect.commandSequence) {
        await workshop.look(); // this enclave signs nothing slashable from now on, either
        return written;
      }
    }
    throw new SignerError("unavailable", "the store's marker changed meanwhile, run the command again");
  };

  return {
    execute: async (received) => {
      const { command } = received;
      if (!bytesEqual(command.storeId, options.storeId)) {
        throw new SignerError("bad_request", "operator command: is for another store");
      }
      if (needsSignature(command.command)) authority.check(received);
      if (busy) throw new SignerError("overloaded", "another operator command is running");
      busy = true;
      try {
        const workshop = protection.workshop();
        return await (command.command === "recover" ? recover(command, workshop) : ordinary(command, workshop));
      } finally {
        busy = false;
      }
    },
    keepFloors: (entries) => {
      const { codec } = protection.workshop();
      for (const { key, value } of entries) {
        const decoded = codec.decode(key, value);
        if (decoded.kind !== "record") continue;
        const name = toHex(key);
        const known = floors.get(name);
        floors.set(name, known === undefined ? decoded.state : merge(known, decoded.state));
      }
    },
  };
};

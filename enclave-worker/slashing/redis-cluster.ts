/**
 * A Redis Cluster as one channel: a map of slots and one link for each primary. Only for level `managed`: a cluster
 * moves keys and fails over by itself, and only a service can promise that nothing is lost on the way.
 *
 * `MOVED` means that a command was not executed, so it is sent once more, to the server that the refreshed map names;
 * never to an address that is not among the operator's. `ASK` and everything else is not followed: the outcome is unknown
 * and the client asks again. (The Cluster of `ioredis` sends whole pipelines again by itself, also after a connection
 * broke, which must not happen to a write.)
 *
 * What it does not do: read from replicas, or notice that slots are being moved during a scan before their owner changes.
 */

import type { RedisAddress } from "#protocol/messages/control.ts";
import type { Durability } from "#protocol/slashing/store.ts";
import type { RedisWords } from "./redis-client.ts";
import { formatAddress } from "./redis-dial.ts";
import type { ChannelEvents, RedisChannel, RedisLink } from "./redis-link.ts";
import type { CommandOutcome, RedisCommand } from "./redis-session.ts";
import { parseSlots, type SlotMap, slotOf } from "./redis-slots.ts";

/** What a cluster is made of. */
export interface ClusterOptions {
  /** All addresses that may be reached. */
  readonly addresses: readonly RedisAddress[];
  /** Makes the lasting link to one of them. */
  readonly link: (address: RedisAddress, events: ChannelEvents) => RedisLink;
  /** Asks one of them on a connection of its own; rejects within its deadline. */
  readonly ask: (address: RedisAddress, questions: readonly RedisWords[]) => Promise<readonly unknown[]>;
  /** 0 ≤ random() < 1, for the jitter. */
  readonly random: () => number;
}

/** Pause before the map is asked for again while something is wrong, less a jitter of up to half. */
const REFRESH_MS = 500;

/** See the top of the file. */
export class RedisCluster implements RedisChannel {
  readonly keysPerReadMax = 1;
  readonly #options: ClusterOptions;
  readonly #events: ChannelEvents;
  readonly #links = new Map<string, RedisLink>();
  #map: SlotMap | undefined;
  #arrangement = 0;
  #problem: string | undefined = "redis: connecting";
  #closed: string | undefined;
  #refreshing: Promise<void> | undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor(options: ClusterOptions, events: ChannelEvents) {
    this.#options = options;
    this.#events = events;
    void this.#refresh();
  }

  get arrangement(): number {
    return this.#arrangement;
  }

  get durability(): Durability {
    const problem = this.#closed ?? this.#problem;
    if (problem !== undefined) return { ok: false, reason: problem };
    return firstFailure([...this.#links.values()].map(({ durability }) => durability));
  }

  async submit(key: string, command: RedisCommand): Promise<CommandOutcome> {
    const outcome = await this.#send(key, command);
    if (outcome.kind !== "moved") return outcome;
    await this.#refresh();
    return this.#problem === undefined ? this.#send(key, command) : outcome;
  }

  servers() {
    return [...this.#links.values()].map((link) => (command: RedisCommand) => link.send(command));
  }

  async check(): Promise<Durability> {
    const { durability } = this;
    if (!durability.ok) return durability;
    return firstFailure(await Promise.all([...this.#links.values()].map((link) => link.check())));
  }

  close(reason: string): void {
    if (this.#closed !== undefined) return;
    this.#closed = reason;
    clearTimeout(this.#timer);
    for (const link of this.#links.values()) link.close(reason);
  }

  #send(key: string, command: RedisCommand): Promise<CommandOutcome> {
    const owner = this.#map?.owners[slotOf(key)];
    const address = owner === undefined ? undefined : this.#map?.addresses[owner];
    const link = address && this.#links.get(formatAddress(address));
    if (link !== undefined && this.#closed === undefined) return link.send(command);
    return Promise.resolve({ kind: "refused", detail: this.#closed ?? this.#problem ?? "redis: connecting" });
  }

  /** Asks for the map, or joins whoever is asking. Never rejects; `#problem` tells. */
  #refresh(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#refreshing ??= this.#askForMap().finally(() => {
      this.#refreshing = undefined;
      if (this.#problem !== undefined) this.#refreshLater();
      this.#events.onChange();
    });
    return this.#refreshing;
  }

  #refreshLater(): void {
    if (this.#closed !== undefined || this.#timer !== undefined) return;
    this.#timer = setTimeout(() => void this.#refresh(), REFRESH_MS * (1 - this.#options.random() / 2));
  }

  async #askForMap(): Promise<void> {
    try {
      const map = await Promise.any(this.#options.addresses.map((address) => this.#askOne(address)));
      if (this.#closed === undefined) this.#take(map);
    } catch (error) {
      const reasons = error instanceof AggregateError ? error.errors : [error];
      this.#problem = `redis: ${[...new Set(reasons.map((reason) => (reason as Error).message))].join("; ")}`;
    }
  }

  /** The map as one server sees it, if that server is in touch with the cluster and all owners may be reached. */
  async #askOne(address: RedisAddress): Promise<SlotMap> {
    const where = `cluster server ${formatAddress(address)}`;
    try {
      const [state, slots] = await this.#options.ask(address, [
        ["cluster", "INFO"],
        ["cluster", "SLOTS"],
      ]);
      const [, found] = /^cluster_state:(\w{1,20})/m.exec(String(state)) ?? [];
      if (found !== "ok") throw new Error(`cluster_state: expected ok, got ${found ?? "nothing"}`);
      const map = parseSlots(slots, address);
      const known = new Set(this.#options.addresses.map(formatAddress));
      const stranger = map.addresses.map(formatAddress).find((name) => !known.has(name));
      if (stranger === undefined) return map;
      throw new Error(`it names ${stranger}, which may not be reached: add it to --store-nodes`);
    } catch (error) {
      throw new Error(`${where}: ${error instanceof Error ? error.message : String(error)}`);
    }
  }

  #take(map: SlotMap): void {
    this.#problem = undefined;
    if (this.#map === undefined || !isSameMap(this.#map, map)) this.#arrangement += 1;
    this.#map = map;
    const wanted = new Map(map.addresses.map((address) => [formatAddress(address), address]));
    for (const [name, link] of this.#links) {
      if (wanted.has(name)) continue;
      link.close(`redis: ${name} has no slots any more`);
      this.#links.delete(name);
    }
    for (const [name, address] of wanted) {
      if (!this.#links.has(name)) this.#links.set(name, this.#link(address));
    }
  }

  #link(address: RedisAddress): RedisLink {
    const onChange = (): void => {
      // A server that fails its checks, or is gone, may have been replaced.
      if (!link.durability.ok) this.#refreshLater();
      this.#events.onChange();
    };
    const link = this.#options.link(address, { onFlush: this.#events.onFlush, onChange });
    return link;
  }
}

const firstFailure = (durabilities: readonly Durability[]): Durability =>
  durabilities.find(({ ok }) => !ok) ?? { ok: true };

const isSameMap = (left: SlotMap, right: SlotMap): boolean => {
  const [leftNames, rightNames] = [left.addresses.map(formatAddress), right.addresses.map(formatAddress)];
  return left.owners.every((owner, slot) => leftNames[owner] === rightNames[right.owners[slot] as number]);
};

/** Makes the channel of a Redis store from its settings: which servers, as whom, how durable. */

import { assertNever } from "#protocol/errors.ts";
import type { RedisAddress, RedisDurability, RedisRoute, RedisTls } from "#protocol/messages/control.ts";
import { adviseOn } from "./redis-advice.ts";
import { createAudit, replicaCount } from "./redis-audit.ts";
import { askRedis, type RedisWords } from "./redis-client.ts";
import { RedisCluster } from "./redis-cluster.ts";
import { createDial, type Dial, formatAddress } from "./redis-dial.ts";
import { type ChannelEvents, type RedisChannel, RedisLink } from "./redis-link.ts";
import { createSentinelLocator } from "./redis-sentinel.ts";
import { RedisSession } from "./redis-session.ts";
import { uniqueAddresses } from "./redis-settings.ts";

/** Where and as whom to connect. */
export interface RedisConnectOptions {
  /** Host name or address; default 127.0.0.1. */
  readonly host?: string | undefined;
  /** TCP port; default 6379. */
  readonly port?: number | undefined;
  /** Unix socket; goes before every address. */
  readonly path?: string | undefined;
  /** Opens raw streams instead (vsock, egress); goes before everything else. Called once per connection. */
  readonly connector?: Dial | undefined;
  /** TLS inside the stream. */
  readonly tls?: RedisTls | undefined;
  /** Ask these Sentinels where the primary is, instead of `host` and `port`. */
  readonly sentinels?: { readonly addresses: readonly RedisAddress[]; readonly masterName: string } | undefined;
  /** These are first servers of a cluster, instead of `host` and `port`. */
  readonly cluster?: readonly RedisAddress[] | undefined;
  /** Further servers that may be reached: replicas, and whoever may be the primary. */
  readonly nodes?: readonly RedisAddress[] | undefined;
  readonly username?: string | undefined;
  readonly password?: string | undefined;
  /** Logical database; default 0. */
  readonly db?: number | undefined;
}

/** The part of the connect options that says which servers there are. */
export const connectOptionsOf = ({ topology, addresses, seeds, masterName = "" }: RedisRoute): RedisConnectOptions => {
  const first = addresses.slice(0, seeds);
  const nodes = addresses.slice(seeds);
  switch (topology) {
    case "single":
      return { ...first[0], nodes };
    case "sentinel":
      return { sentinels: { addresses: first, masterName }, nodes };
    case "cluster":
      return { cluster: first, nodes };
    default:
      return assertNever(topology);
  }
};

/** Settings of a channel. */
export interface ChannelOptions {
  readonly connect: RedisConnectOptions;
  readonly keyPrefix: string;
  readonly durability: RedisDurability;
  /** Time for a flush, a handshake and a check. */
  readonly deadlineMs: number;
  readonly checkIntervalMs: number;
  readonly random: () => number;
}

/** Commands that may wait or be in flight on a connection: 16384 × 600 bytes is 10 MiB. */
export const COMMANDS_MAX = 16_384;
/**
 * `WAIT` gives up before the flush does, and a dial before the session does: then what failed is told by its name, and a
 * connection that only waited for a replica lives on.
 */
const STEP_SHARE = 2 / 3;

/** Makes the channel; it starts to connect at once. */
export const createChannel = (options: ChannelOptions, events: ChannelEvents): RedisChannel => {
  const { connect: to, random, deadlineMs } = options;
  const { sentinels, cluster, nodes = [] } = to;
  const dial = createDial({ ...to, deadlineMs: Math.ceil(deadlineMs * STEP_SHARE) });
  const ask = createAsk(options, dial);

  if (cluster !== undefined) {
    const link = (address: RedisAddress, linkEvents: ChannelEvents): RedisLink =>
      linkTo(options, linkEvents, { open: () => dial(address), ask });
    return new RedisCluster({ addresses: uniqueAddresses([...cluster, ...nodes]), link, ask, random }, events);
  }
  if (sentinels !== undefined) {
    // All of them together must be asked within the time that a session has to connect.
    const sentinelDeadlineMs = Math.ceil(deadlineMs / (sentinels.addresses.length + 1));
    const locate = createSentinelLocator({
      sentinels: sentinels.addresses,
      masterName: sentinels.masterName,
      nodes,
      replicas: replicaCount(options.durability) ?? 0,
      ask: createSentinelAsk(options, { dial, deadlineMs: sentinelDeadlineMs }),
    });
    return linkTo(options, events, { open: async () => dial(await locate()), ask });
  }
  const address = { host: to.host ?? "127.0.0.1", port: to.port ?? 6379 };
  return linkTo(options, events, { open: () => dial(address), ask });
};

type AskServer = (address: RedisAddress, questions: readonly RedisWords[]) => Promise<readonly unknown[]>;

const linkTo = (
  options: ChannelOptions,
  events: ChannelEvents,
  { open, ask }: { open: () => ReturnType<Dial>; ask: AskServer },
): RedisLink => {
  const { connect: to, durability, deadlineMs, checkIntervalMs, random } = options;
  const { username, password, db, cluster, nodes = [] } = to;
  const reachable = new Set([{ host: to.host ?? "", port: to.port ?? 6379 }, ...nodes].map(formatAddress));
  const askReplica: AskServer = async (address, questions) => {
    if (reachable.has(formatAddress(address))) return ask(address, questions);
    throw new Error("it may not be reached: add it to --store-nodes, as the primary announces it (INFO replication)");
  };
  const auditOptions = {
    durability,
    isCluster: cluster !== undefined,
    waitMs: Math.ceil(deadlineMs * STEP_SHARE),
    fenceKey: `${options.keyPrefix}:fence`,
    askReplica,
  };
  return new RedisLink(
    {
      connect: (sessionEvents, { reasonAtFirst }) =>
        new RedisSession(
          {
            open,
            username,
            password,
            db,
            audit: createAudit(auditOptions),
            explain: explainer(options),
            reasonAtFirst,
            deadlineMs,
            checkIntervalMs,
            commandsMax: COMMANDS_MAX,
          },
          sessionEvents,
        ),
      endsWhenWeak: to.sentinels !== undefined,
      random,
    },
    events,
  );
};

/** Asks a server as the store's user. */
const createAsk = (options: ChannelOptions, dial: Dial): AskServer => {
  const { connect: to, deadlineMs } = options;
  const { username, password } = to;
  const explain = explainer(options);
  return async (address, questions) => {
    try {
      return await askRedis({ open: () => dial(address), username, password, deadlineMs }, questions);
    } catch (error) {
      throw new Error(explain(error instanceof Error ? error.message : String(error)));
    }
  };
};

/** Asks a Sentinel: as nobody, and as the store's user where Sentinels want to know who asks. */
const createSentinelAsk = (
  { connect: to }: ChannelOptions,
  { dial, deadlineMs }: { dial: Dial; deadlineMs: number },
): AskServer => {
  const { username, password } = to;
  return async (address, questions) => {
    const target = { open: () => dial(address), deadlineMs };
    try {
      return await askRedis(target, questions);
    } catch (error) {
      if (password === undefined || !(error instanceof Error && /^(NOAUTH|NOPERM)\b/.test(error.message))) throw error;
      return askRedis({ ...target, username, password }, questions);
    }
  };
};

const explainer = ({ connect: to, keyPrefix, durability }: ChannelOptions): ((message: string) => string) => {
  const { username, db = 0, cluster } = to;
  return (message) => adviseOn(message, { username, keyPrefix, durability, isCluster: cluster !== undefined, db });
};

/**
 * Asks Sentinels where the primary is. What they say is not believed further than that: the address must be one that
 * the operator listed, and the server there must say itself that it is the primary and has its replicas
 * (`redis-checks.ts`), before anything is sent to it.
 *
 * Source: https://redis.io/docs/latest/develop/reference/sentinel-clients/
 */

import type { RedisAddress } from "#protocol/messages/control.ts";
import type { RedisWords } from "./redis-client.ts";
import { formatAddress } from "./redis-dial.ts";

/** What the locator works with. */
export interface SentinelOptions {
  readonly sentinels: readonly RedisAddress[];
  /** What the Sentinels call the primary. */
  readonly masterName: string;
  /** Addresses of servers that may be the primary. */
  readonly nodes: readonly RedisAddress[];
  /** How many replicas are counted by every write. */
  readonly replicas: number;
  /** Asks one Sentinel on a connection of its own; rejects within its deadline. */
  readonly ask: (sentinel: RedisAddress, questions: readonly RedisWords[]) => Promise<readonly unknown[]>;
}

/**
 * Makes the function that finds the primary: the first Sentinel that answers is taken, beginning with another one each
 * time, so that one with an old view does not stop the store for ever. Rejects with every reason when none helps.
 */
export const createSentinelLocator = (options: SentinelOptions): (() => Promise<RedisAddress>) => {
  const { sentinels } = options;
  let turn = 0;
  return async () => {
    const reasons: string[] = [];
    const first = turn;
    turn += 1;
    for (let index = 0; index < sentinels.length; index += 1) {
      const sentinel = sentinels[(first + index) % sentinels.length] as RedisAddress;
      try {
        return await askSentinel(sentinel, options);
      } catch (error) {
        const reason = error instanceof Error ? error.message : String(error);
        reasons.push(`sentinel ${formatAddress(sentinel)}: ${reason}`);
      }
    }
    throw new Error(reasons.join("; "));
  };
};

const askSentinel = async (
  sentinel: RedisAddress,
  { masterName, nodes, replicas, ask }: SentinelOptions,
): Promise<RedisAddress> => {
  const [primary, known] = await ask(sentinel, [
    ["sentinel", "GET-MASTER-ADDR-BY-NAME", masterName],
    ["sentinel", "REPLICAS", masterName],
  ]);
  const [host, port] = Array.isArray(primary) ? primary.map(String) : [];
  if (host === undefined || port === undefined) throw new Error(`it knows no primary called ${masterName}`);
  const address = nodes.find((node) => node.host === host && String(node.port) === port);
  if (address === undefined) {
    const announced = formatAddress({ host, port: Number(port) });
    throw new Error(`it announces ${announced} as the primary, which may not be reached: add it to --store-nodes`);
  }
  // Also one that is down now may be promoted when it is back, and would lack what was written meanwhile.
  const count = Array.isArray(known) ? known.length : Number.NaN;
  if (!(count <= replicas)) {
    throw new Error(
      `replicas: expected at most ${replicas}, it knows ${count}; count every one (--store-durability ` +
        `replicated:${count}), or make it forget those that are gone for good: redis-cli -h ${sentinel.host} ` +
        `-p ${sentinel.port} SENTINEL RESET ${masterName}`,
    );
  }
  return address;
};

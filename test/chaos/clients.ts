/**
 * The load of one run: several validator clients at once, each on keep-alive connections of its own.
 *
 * - honest: attests and proposes with rising epochs and slots, for validators that nobody else uses; repeats the same
 *   request until it is answered.
 * - contested: the same, for validators that the others below use too.
 * - twin: a second client of the contested validators with the same duties, at the same time; repeats on errors.
 * - rival: asks for double votes, surrounding and surrounded votes and other blocks around what the contested ones
 *   just asked for, several at a time.
 */

import { setTimeout as sleep } from "node:timers/promises";
import { type Asked, attestation, block } from "../helpers/duties.ts";
import { createRandom, type Random } from "../simulation/random.ts";
import { createHttpClient, type HttpClient } from "./http-client.ts";
import type { ClientKind, Duty, Exchange, Ledger } from "./ledger.ts";

/** A running load. */
export interface Load {
  /** Takes no new duty, waits for those under way, and ends all connections. */
  stop(): Promise<void>;
}

/** What the clients need. */
export interface LoadOptions {
  readonly url: string;
  readonly publicKeys: readonly string[];
  readonly seed: number;
  readonly ledger: Ledger;
  /** Monotonic clock in ms. */
  readonly now: () => number;
}

/** Validators that rivals use too; all others are honest alone. */
const CONTESTED = 6;
/** Honest clients that share the honest validators out. */
const HONEST_CLIENTS = 3;
/** Pauses between two duties of one validator, and before a repeated request. */
const VOTE_PAUSE_MS = [40, 80] as const;
const BLOCK_PAUSE_MS = [120, 240] as const;
const RETRY_PAUSE_MS = [100, 200] as const;
const RIVAL_PAUSE_MS = [60, 160] as const;
/** After so long a duty is worthless: its slot is over. */
const DUTY_MS = 12_000;
/** First epoch and slot: above genesis, so that rivals can go below. */
const FIRST_EPOCH = 10;
const FIRST_SLOT = 400;

/** More than there are streams of chance in one run. */
const SEEDS_PER_RUN = 1_000;

/** How far a contested validator has come. */
interface Position {
  epoch: number;
  slot: number;
}

interface World extends LoadOptions {
  stopping: boolean;
}

/** Starts all clients. */
export const startLoad = (options: LoadOptions): Load => {
  const world: World = { ...options, stopping: false };
  const contested = options.publicKeys.slice(0, CONTESTED);
  const honest = options.publicKeys.slice(CONTESTED);
  const positions = new Map(contested.map((pubkey) => [pubkey, { epoch: FIRST_EPOCH, slot: FIRST_SLOT }]));
  const clients: HttpClient[] = [];
  const running: Promise<void>[] = [];
  const client = (socketsMax: number): HttpClient => {
    const made = createHttpClient(options.url, { socketsMax });
    clients.push(made);
    return made;
  };
  const random = (): Random => createRandom(options.seed * SEEDS_PER_RUN + running.length);

  for (let index = 0; index < HONEST_CLIENTS; index += 1) {
    const http = client(honest.length);
    for (const pubkey of honest.filter((_, place) => place % HONEST_CLIENTS === index)) {
      const validator: Validator = { kind: "honest", pubkey, http, world };
      const position = { epoch: FIRST_EPOCH, slot: FIRST_SLOT };
      running.push(attest(validator, position, random()), propose(validator, position, random()));
    }
  }
  const [leading, twin, rival] = [client(contested.length), client(contested.length), client(2 * contested.length)];
  for (const [pubkey, position] of positions) {
    running.push(attest({ kind: "contested", pubkey, http: leading, world }, position, random()));
    running.push(propose({ kind: "contested", pubkey, http: leading, world }, position, random()));
    running.push(follow({ kind: "twin", pubkey, http: twin, world }, position, random()));
    running.push(oppose({ kind: "rival", pubkey, http: rival, world }, position, random()));
  }
  return {
    stop: async () => {
      world.stopping = true;
      await Promise.all(running);
      for (const http of clients) http.close();
    },
  };
};

/** One client's use of one validator. */
interface Validator {
  readonly kind: ClientKind;
  readonly pubkey: string;
  readonly http: HttpClient;
  readonly world: World;
}

const attest = async (validator: Validator, position: Position, random: Random): Promise<void> => {
  for (; !validator.world.stopping; position.epoch += 1) {
    // The justified epoch sometimes lags.
    const source = position.epoch - (random.chance(0.2) && position.epoch % 2 === 0 ? 2 : 1);
    await askUntilAnswered(validator, vote({ source, target: position.epoch }), random);
    await pause(random, VOTE_PAUSE_MS);
  }
};

const propose = async (validator: Validator, position: Position, random: Random): Promise<void> => {
  for (; !validator.world.stopping; position.slot += 1) {
    await askUntilAnswered(validator, proposal(position.slot), random);
    await pause(random, BLOCK_PAUSE_MS);
  }
};

/** The same duty as the leading client's, asked at any moment, and again on errors. */
const follow = async (validator: Validator, position: Position, random: Random): Promise<void> => {
  while (!validator.world.stopping) {
    const isVote = random.chance(0.7);
    const duty = isVote
      ? vote({ source: position.epoch - 1, target: position.epoch })
      : proposal(position.slot + random.below(2));
    await askUntilAnswered(validator, duty, random);
    await pause(random, VOTE_PAUSE_MS);
  }
};

const oppose = async (validator: Validator, position: Position, random: Random): Promise<void> => {
  while (!validator.world.stopping) {
    const duties = Array.from({ length: 1 + random.below(3) }, () => conflicting(position, random));
    await Promise.all(duties.map((duty) => ask(validator, duty)));
    await pause(random, RIVAL_PAUSE_MS);
  }
};

/** Anything around the present that two honest clients would never both sign. */
const conflicting = ({ epoch, slot }: Position, random: Random): Duty => {
  const head = 0xb0 + random.below(3);
  if (random.chance(0.3)) return proposal(slot + random.below(3) - 1, head);
  const target = epoch + random.below(5) - 2;
  const source = random.chance(0.5) ? target - 1 : Math.max(0, target - 1 - random.below(4));
  return vote({ source, target }, head);
};

/** Repeats one request until there is a signature or a refusal. */
const askUntilAnswered = async (validator: Validator, duty: Duty, random: Random): Promise<void> => {
  const { world, pubkey, kind } = validator;
  const startMs = world.now();
  let exchange = await ask(validator, duty);
  while (![200, 400, 404, 412].includes(exchange.status) && !world.stopping && world.now() - startMs < DUTY_MS) {
    await pause(random, RETRY_PAUSE_MS);
    exchange = await ask(validator, duty);
  }
  if (kind !== "honest") return;
  const { status, endMs } = exchange;
  const outcome = status === 200 ? "signed" : status === 412 ? "refused" : "given-up";
  world.ledger.addDuty({ pubkey, startMs, endMs, outcome });
};

const ask = async ({ kind, pubkey, http, world }: Validator, duty: Duty): Promise<Exchange> => {
  const startMs = world.now();
  const { status, body } = await http.sign(pubkey, duty.body);
  const exchange = { client: kind, pubkey, message: duty.message, status, body, startMs, endMs: world.now() };
  world.ledger.addExchange(exchange);
  return exchange;
};

const vote = ({ source, target }: { source: number; target: number }, head = 0xaa): Duty =>
  dutyOf(attestation({ source, target }, { head }), (root) => ({ kind: "attestation", source, target, root }));

const proposal = (slot: number, body = 0xbb): Duty =>
  dutyOf(block(slot, { body }), (root) => ({ kind: "block", slot, root }));

const dutyOf = ({ body, root }: Asked, messageOf: (root: string) => Duty["message"]): Duty => ({
  message: messageOf(root),
  body: JSON.stringify(body),
});

const pause = (random: Random, [min, max]: readonly [number, number]): Promise<void> => sleep(random.between(min, max));

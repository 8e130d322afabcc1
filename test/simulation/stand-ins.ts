/**
 * What the pool's own files get in the simulation instead of timers, sockets and the manager's member list; the loader
 * puts it in place (`loader.ts`). Everything else of `pool-manager/{pool,balancer,enclave-client,link}.ts` is the
 * production code. The one present world is module state, because timers have no other way to know theirs: a thread runs
 * one world at a time.
 */

import type { RpcClient, RpcClientOptions } from "#protocol/rpc.ts";
import type { Follower, FollowerModules } from "../../pool-manager/follower.ts";
import type { Clock, Timer } from "./clock.ts";
import type { SimulatedStream } from "./connections.ts";

/** The world as the pool's files reach it. */
export interface PresentWorld {
  readonly clock: Clock;
  /** Opens a stream to the enclave at `path`. @throws SignerError `unavailable` */
  dial(path: string): Promise<SimulatedStream>;
  /** The member list of the gateway whose manager has this socket path. */
  follower(socketPath: string): Follower;
}

let present: PresentWorld | undefined;

/** Says which world runs now. */
export const enterWorld = (world: PresentWorld): void => {
  present = world;
};

const current = (): PresentWorld => {
  if (present === undefined) throw new Error("simulation: no world runs");
  return present;
};

/** For `setTimeout`, whose shortest delay is a millisecond. */
export const setTimeout = (run: () => void, delayMs: number): Timer => current().clock.after(Math.max(1, delayMs), run);

/** For `clearTimeout`. */
export const clearTimeout = (timer: Timer | undefined): void => {
  if (timer !== undefined) timer.run = undefined;
};

/** For `setImmediate` of `node:timers/promises`: after everything that is due now. */
export const setImmediate = (): Promise<void> => current().clock.sleep(0);

/** For `dial` of `protocol/transport/address.ts`. */
export const dial = (address: { readonly path: string }): Promise<SimulatedStream> => current().dial(address.path);

/** For `createRpcClient` of `protocol/rpc.ts`. */
export const createRpcClient = (stream: SimulatedStream, options: RpcClientOptions = {}): RpcClient =>
  stream.toClient(options);

/** For `createFollower` of `pool-manager/follower.ts`. */
export const createFollower = (options: { readonly socketPath: string }, _modules: FollowerModules): Follower =>
  current().follower(options.socketPath);

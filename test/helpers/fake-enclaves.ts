/** A launcher whose enclaves live in the test: they answer the control port over a real mock vsock, as told. */

import type { Socket } from "node:net";
import type { LaunchedEnclave, Launcher, LaunchRequest } from "#pool-manager/launchers/launcher.ts";
import { PORT_CONTROL } from "#protocol/limits.ts";
import {
  CONTROL_OPERATIONS,
  ENCLAVE_COUNTERS,
  type EnclaveCounter,
  type EnclaveStatus,
  encodeStatus,
} from "#protocol/messages/control.ts";
import { serveRpc } from "#protocol/rpc.ts";
import { type Listener, listenGuest } from "#protocol/transport/hybrid.ts";

/** How an enclave behaves; may be changed while it lives. */
export interface Behaviour {
  /** Answers on the control port; a hanging one takes the connection and says nothing. */
  answers: boolean;
  /** Listens at all. */
  readonly listens: boolean;
  /** Ends by itself right after its launch. */
  readonly diesAtOnce: boolean;
  /** Passes before a drain is answered. */
  readonly drained: Promise<unknown>;
}

/** An enclave of the test. */
export interface FakeEnclave {
  readonly request: LaunchRequest;
  readonly behaviour: Behaviour;
  /** Date.now() of the launch. */
  readonly launchedMs: number;
  /** Control operations that arrived, by name. */
  readonly operations: string[];
  /** Control connections that are open. */
  readonly connections: Set<Socket>;
  /** `kill` was called. */
  killed: boolean;
  /** Ends as by a crash. */
  die(): Promise<void>;
}

/** The status of a healthy enclave. */
export const statusWith = (keys: number): EnclaveStatus => ({
  phase: "ready",
  keys,
  storeInitialised: true,
  reachesStore: true,
  commandSequence: 0,
  inFlight: 0,
  counters: Object.fromEntries(ENCLAVE_COUNTERS.map((name) => [name, 0])) as Record<EnclaveCounter, number>,
});

const NAMES = new Map<number, string>(Object.entries(CONTROL_OPERATIONS).map(([name, number]) => [number, name]));

/** @param behave the behaviour of the n-th enclave, from 0 */
export const createFakeLauncher = (
  behave: (index: number) => Partial<Behaviour> = () => ({}),
): { launcher: Launcher; enclaves: FakeEnclave[] } => {
  const enclaves: FakeEnclave[] = [];

  const launch = (request: LaunchRequest): LaunchedEnclave => {
    const index = enclaves.length;
    const exit = Promise.withResolvers<string>();
    const connections = new Set<Socket>();
    let listener: Promise<Listener> | undefined;
    const end = async (reason: string): Promise<void> => {
      await (await listener)?.close();
      exit.resolve(reason);
    };
    const enclave: FakeEnclave = {
      request,
      behaviour: { answers: true, listens: true, diesAtOnce: false, drained: Promise.resolve(), ...behave(index) },
      launchedMs: Date.now(),
      operations: [],
      connections,
      killed: false,
      die: () => end("as the test wants"),
    };
    enclaves.push(enclave);
    const accept = (socket: Socket): void => {
      connections.add(socket);
      socket.once("close", () => connections.delete(socket));
      serveRpc(socket, { handler: (operation) => answer(enclave, NAMES.get(operation) ?? String(operation), index) });
    };
    if (enclave.behaviour.listens) listener = listenGuest(request.path, new Map([[PORT_CONTROL, accept]]));
    if (enclave.behaviour.diesAtOnce) void enclave.die();
    return {
      exited: exit.promise,
      kill: async () => {
        enclave.killed = true;
        await end("killed");
      },
    };
  };
  return { launcher: { launch }, enclaves };
};

const answer = async ({ operations, behaviour }: FakeEnclave, name: string, index: number): Promise<Uint8Array> => {
  operations.push(name);
  if (!behaviour.answers) return new Promise(() => undefined);
  if (name === "drain") await behaviour.drained;
  return name === "status" ? encodeStatus(statusWith(index)) : new Uint8Array();
};

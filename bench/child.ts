/** A Node process of the bench that takes one order at a time over its IPC channel and answers each once. */

import { fork } from "node:child_process";
import { once } from "node:events";

/** A running child. */
export interface Child<Order extends object, Answer> {
  readonly pid: number;
  /** Sends an order and waits for its answer. @throws Error when the child ends, or does not answer in time */
  ask(order: Order, options: { timeoutMs: number }): Promise<Answer>;
  /** Ends it, and waits until it is gone. */
  close(): Promise<void>;
}

/** Starts the program at `path` with this Node; its output is ours. */
export const startChild = <Order extends object, Answer>(path: string): Child<Order, Answer> => {
  const child = fork(path, {
    // Its own process group: Ctrl-C reaches the bench alone, which ends its children in order.
    detached: true,
    stdio: ["ignore", "inherit", "inherit", "ipc"],
  });
  const gone = once(child, "exit").then(([code, signal]) => {
    throw new Error(`${path} ended (${signal ?? `exit code ${code}`})`);
  });
  gone.catch(() => undefined);
  return {
    pid: child.pid ?? 0,
    ask: async (order, { timeoutMs }) => {
      const late = Promise.withResolvers<never>();
      const timer = setTimeout(() => late.reject(new Error(`${path}: no answer in ${timeoutMs} ms`)), timeoutMs);
      try {
        const answer = once(child, "message");
        child.send(order);
        const [message] = await Promise.race([answer, gone, late.promise]);
        return message as Answer;
      } finally {
        clearTimeout(timer);
      }
    },
    close: async () => {
      if (child.exitCode !== null || child.signalCode !== null) return;
      const ended = once(child, "exit");
      child.kill("SIGKILL");
      await ended;
    },
  };
};

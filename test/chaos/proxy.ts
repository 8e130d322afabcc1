/**
 * A TCP proxy in front of one Redis server: the network between it and everybody else, which a fault can cut in
 * several ways. Connections that lost bytes are reset when the fault ends: a stream with a hole exists nowhere.
 */

import { connect, createServer, type Server, type Socket } from "node:net";

/**
 * - `pass`: no fault.
 * - `delay`: everything arrives later.
 * - `stall`: nothing arrives, and what was sent arrives when the fault ends (a cut shorter than TCP's patience).
 * - `drop`: nothing arrives, ever.
 * - `drop-replies`: requests arrive and are carried out, replies do not come back.
 * - `half-close`: the server's side of each connection is ended, requests still arrive.
 * - `refuse`: connections are reset, and new ones too.
 */
export const PROXY_MODES = ["pass", "delay", "stall", "drop", "drop-replies", "half-close", "refuse"] as const;
export type ProxyMode = (typeof PROXY_MODES)[number];

/** A running proxy on 127.0.0.1. */
export interface ChaosProxy {
  readonly port: number;
  /** Changes what happens to all connections, old and new. */
  set(mode: ProxyMode, options?: { delayMs?: number }): void;
  /** Resets all connections and stops listening. */
  close(): Promise<void>;
}

/** Where a proxy leads. */
export interface ProxyTarget {
  readonly port: number;
}

interface Fault {
  readonly mode: ProxyMode;
  readonly delayMs: number;
}

interface Link {
  /** The one who asked for the connection, and the Redis server. */
  readonly near: Socket;
  readonly far: Socket;
  /** Bytes of it are gone. */
  isDamaged: boolean;
}

/** Starts a proxy on `port` (0: a free one). */
export const startProxy = async (target: ProxyTarget, { port = 0 }: { port?: number } = {}): Promise<ChaosProxy> => {
  const links = new Set<Link>();
  let fault: Fault = { mode: "pass", delayMs: 0 };
  const server = createServer({ allowHalfOpen: true, noDelay: true }, (near) => {
    if (fault.mode === "refuse") return void near.resetAndDestroy();
    const far = connect({ host: "127.0.0.1", port: target.port, allowHalfOpen: true, noDelay: true });
    const link: Link = { near, far, isDamaged: false };
    links.add(link);
    const end = (): void => {
      links.delete(link);
      near.destroy();
      far.destroy();
    };
    for (const socket of [near, far]) socket.on("error", end).once("close", end);
    pump(link, { from: near, to: far, isReply: false, fault: () => fault });
    pump(link, { from: far, to: near, isReply: true, fault: () => fault });
    if (fault.mode === "half-close") halfClose(link);
  });
  await listen(server, port);
  const address = server.address();
  return {
    port: typeof address === "object" && address !== null ? address.port : 0,
    set: (mode, { delayMs = 0 } = {}) => {
      fault = { mode, delayMs };
      for (const link of [...links]) {
        if (mode === "refuse" || (mode === "pass" && link.isDamaged)) reset(link);
        else if (mode === "half-close") halfClose(link);
        else for (const socket of [link.near, link.far]) socket.resume();
      }
    },
    close: async () => {
      for (const link of [...links]) reset(link);
      await new Promise((resolve) => server.close(resolve));
    },
  };
};

interface Direction {
  readonly from: Socket;
  readonly to: Socket;
  readonly isReply: boolean;
  readonly fault: () => Fault;
}

/** Passes one direction on as the fault of the moment lets it: in order, whatever the delays. */
const pump = (link: Link, { from, to, isReply, fault }: Direction): void => {
  /** Bytes on their way; undefined stands for the end of the stream. */
  const queue: { readonly chunk: Buffer | undefined; readonly dueMs: number }[] = [];
  let timer: NodeJS.Timeout | undefined;

  const pass = (chunk: Buffer | undefined): void => {
    if (to.destroyed || to.writableEnded) return;
    if (chunk === undefined) to.end();
    else if (!to.write(chunk)) {
      from.pause();
      to.once("drain", () => from.resume());
    }
  };
  const deliver = (): void => {
    timer = undefined;
    for (;;) {
      const [next] = queue;
      if (next === undefined) return;
      const waitMs = next.dueMs - performance.now();
      if (waitMs > 0) {
        timer = setTimeout(deliver, Math.ceil(waitMs));
        return;
      }
      queue.shift();
      pass(next.chunk);
    }
  };
  const send = (chunk: Buffer | undefined): void => {
    queue.push({ chunk, dueMs: performance.now() + fault().delayMs });
    if (timer === undefined) deliver();
  };
  const take = (chunk: Buffer): void => {
    const { mode } = fault();
    switch (mode) {
      case "stall":
        from.pause();
        from.unshift(chunk);
        return;
      case "drop":
        link.isDamaged = true;
        return;
      case "drop-replies":
      case "half-close":
        if (isReply) link.isDamaged = true;
        else send(chunk);
        return;
      default:
        send(chunk);
    }
  };
  from.on("data", take);
  from.on("end", () => send(undefined));
  from.once("close", () => clearTimeout(timer));
};

const halfClose = (link: Link): void => {
  link.isDamaged = true;
  link.near.end();
};

const reset = ({ near, far }: Link): void => {
  near.resetAndDestroy();
  far.resetAndDestroy();
};

const listen = (server: Server, port: number): Promise<void> =>
  new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, "127.0.0.1", resolve);
  });

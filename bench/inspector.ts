/** The few commands of the Chrome DevTools Protocol that take CPU profiles of a Node process and its worker threads. */

/** A CPU profile as the protocol has it: what `.cpuprofile` files contain. */
export type CpuProfile = Readonly<Record<string, unknown>>;

/** A connection to a process's inspector. */
export interface Inspector {
  startProfiling(): Promise<void>;
  /** A profile of every thread, `main` or `worker-<n>`. */
  stopProfiling(): Promise<{ thread: string; profile: CpuProfile }[]>;
  close(): void;
}

interface Message {
  readonly id?: number;
  readonly method?: string;
  readonly params?: { readonly sessionId?: string; readonly message?: string };
  readonly result?: { readonly profile?: CpuProfile };
  readonly error?: { readonly message: string };
}

type Send = (method: string, params?: object) => Promise<Message>;

const ANSWER_MS = 10_000;
/** Between two samples: V8's default of a millisecond is coarse for requests of some 20 µs. */
const SAMPLING_MICROS = 500;

/** Connects to `ws://…`. */
export const connectInspector = async (url: string): Promise<Inspector> => {
  const socket = new WebSocket(url);
  await new Promise((resolve, reject) => {
    socket.addEventListener("open", resolve, { once: true });
    socket.addEventListener("error", () => reject(new Error(`${url}: no connection`)), { once: true });
  });
  const main = createSession((text) => socket.send(text));
  /** Sessions of worker threads, by the id that the main thread gave them. */
  const workers = new Map<string, ReturnType<typeof createSession>>();
  socket.addEventListener("message", ({ data }) => {
    const message = JSON.parse(String(data)) as Message;
    const { sessionId, message: inner } = message.params ?? {};
    if (message.method === "NodeWorker.attachedToWorker" && sessionId !== undefined) {
      const send = (text: string): void =>
        void main.send("NodeWorker.sendMessageToWorker", { sessionId, message: text }).catch(() => undefined);
      workers.set(sessionId, createSession(send));
    } else if (message.method === "NodeWorker.receivedMessageFromWorker" && inner !== undefined) {
      workers.get(sessionId ?? "")?.receive(JSON.parse(inner) as Message);
    } else main.receive(message);
  });
  await main.send("NodeWorker.enable", { waitForDebuggerOnStart: false });
  const threads = (): [string, Send][] => [
    ["main", main.send],
    ...[...workers.values()].map((session, index): [string, Send] => [`worker-${index + 1}`, session.send]),
  ];
  return {
    startProfiling: async () => {
      for (const [, send] of threads()) {
        await send("Profiler.enable");
        await send("Profiler.setSamplingInterval", { interval: SAMPLING_MICROS });
        await send("Profiler.start");
      }
    },
    stopProfiling: async () => {
      const profiles: { thread: string; profile: CpuProfile }[] = [];
      for (const [thread, send] of threads()) {
        const { result } = await send("Profiler.stop");
        if (result?.profile !== undefined) profiles.push({ thread, profile: result.profile });
      }
      return profiles;
    },
    close: () => socket.close(),
  };
};

/** Numbers commands and matches their answers. */
const createSession = (write: (text: string) => void) => {
  const waiting = new Map<number, (message: Message) => void>();
  let last = 0;
  const send: Send = (method, params = {}) =>
    new Promise((resolve, reject) => {
      last += 1;
      const id = last;
      const timer = setTimeout(() => {
        waiting.delete(id);
        reject(new Error(`inspector: no answer to ${method}`));
      }, ANSWER_MS);
      waiting.set(id, (message) => {
        clearTimeout(timer);
        if (message.error === undefined) resolve(message);
        else reject(new Error(`inspector: ${method}: ${message.error.message}`));
      });
      write(JSON.stringify({ id, method, params }));
    });
  const receive = (message: Message): void => {
    if (message.id === undefined) return;
    const answer = waiting.get(message.id);
    waiting.delete(message.id);
    answer?.(message);
  };
  return { send, receive };
};

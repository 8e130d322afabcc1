/**
 * Simulated time: events in order of their time, then of their making. Between two events every promise that can go on
 * does: each event runs in an immediate of its own, after which Node empties the queue of microtasks (0.25 µs an event).
 */

/** An event to come. */
export interface Timer {
  readonly atMs: number;
  readonly sequence: number;
  /** Undefined: cancelled. */
  run: (() => void) | undefined;
}

/** The clock of one simulated world. */
export interface Clock {
  readonly nowMs: number;
  after(delayMs: number, run: () => void): Timer;
  cancel(timer: Timer | undefined): void;
  sleep(delayMs: number): Promise<void>;
  /** Runs all events up to this time, and says how many; those after it never run. */
  run(untilMs: number): Promise<number>;
}

/** Events of one run: a hundred times what a run has. More is a world that goes round in circles. */
const EVENTS_MAX = 100_000;
/** Events queued as immediates at one time. */
const BATCH = 256;

/** A clock that stands at `startMs`. */
export const createClock = (startMs: number): Clock => {
  const heap: Timer[] = [];
  let nowMs = startMs;
  let sequence = 0;
  let ran = 0;

  const after = (delayMs: number, run: () => void): Timer => {
    const timer = { atMs: nowMs + Math.max(0, delayMs), sequence, run };
    sequence += 1;
    push(heap, timer);
    return timer;
  };

  /** Runs the next event; false when there is none. */
  const step = (untilMs: number): boolean => {
    for (;;) {
      const next = pop(heap);
      if (next === undefined || next.atMs > untilMs) return false;
      if (next.run === undefined) continue;
      nowMs = next.atMs;
      ran += 1;
      if (ran > EVENTS_MAX) throw new Error(`simulation: more than ${EVENTS_MAX} events, at ${nowMs} ms`);
      next.run();
      return true;
    }
  };

  return {
    get nowMs() {
      return nowMs;
    },
    after,
    cancel: (timer) => {
      if (timer !== undefined) timer.run = undefined;
    },
    sleep: (delayMs) => new Promise((resolve) => after(delayMs, resolve)),
    run: (untilMs) =>
      new Promise((resolve, reject) => {
        let ended = false;
        const end = (settle: () => void): void => {
          ended = true;
          settle();
        };
        const one = (): void => {
          if (ended) return;
          try {
            if (!step(untilMs)) end(() => resolve(ran));
          } catch (error) {
            end(() => reject(error));
          }
        };
        const pump = (): void => {
          if (ended) return;
          for (let count = 0; count < BATCH; count += 1) setImmediate(one);
          setImmediate(pump);
        };
        pump();
      }),
  };
};

const isEarlier = (a: Timer, b: Timer): boolean => a.atMs < b.atMs || (a.atMs === b.atMs && a.sequence < b.sequence);

/** Adds to a binary heap. */
const push = (heap: Timer[], timer: Timer): void => {
  let index = heap.length;
  heap.push(timer);
  while (index > 0) {
    const parent = (index - 1) >> 1;
    if (!isEarlier(timer, heap[parent] as Timer)) break;
    heap[index] = heap[parent] as Timer;
    index = parent;
  }
  heap[index] = timer;
};

/** Takes the earliest off a binary heap. */
const pop = (heap: Timer[]): Timer | undefined => {
  const first = heap[0];
  const last = heap.pop();
  if (last === undefined || heap.length === 0) return first;
  let index = 0;
  for (;;) {
    let child = 2 * index + 1;
    if (child >= heap.length) break;
    if (child + 1 < heap.length && isEarlier(heap[child + 1] as Timer, heap[child] as Timer)) child += 1;
    if (!isEarlier(heap[child] as Timer, last)) break;
    heap[index] = heap[child] as Timer;
    index = child;
  }
  heap[index] = last;
  return first;
};

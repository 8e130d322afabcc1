/**
 * Requests in flight in the order in which they were sent: adding, removing anywhere and the time of the oldest, each
 * in constant time. (A `Map` keeps that order too, but finding its first entry walks over the deleted ones.)
 */

/** A place in the list; give it back to `remove` exactly once. */
export interface InFlightEntry {
  readonly sentAt: number;
  previous: InFlightEntry | undefined;
  next: InFlightEntry | undefined;
}

/** The list. Its bound is the connection's bound on requests in flight. */
export interface InFlight {
  readonly size: number;
  /** Time at which the oldest was sent; undefined without any. */
  readonly oldest: number | undefined;
  /** @param sentAt not before that of any earlier entry */
  add(sentAt: number): InFlightEntry;
  remove(entry: InFlightEntry): void;
}

/** An empty list. */
export const createInFlight = (): InFlight => {
  let first: InFlightEntry | undefined;
  let last: InFlightEntry | undefined;
  let size = 0;
  return {
    get size() {
      return size;
    },
    get oldest() {
      return first?.sentAt;
    },
    add: (sentAt) => {
      const entry: InFlightEntry = { sentAt, previous: last, next: undefined };
      if (last === undefined) first = entry;
      else last.next = entry;
      last = entry;
      size += 1;
      return entry;
    },
    remove: (entry) => {
      if (entry.previous === undefined) first = entry.next;
      else entry.previous.next = entry.next;
      if (entry.next === undefined) last = entry.previous;
      else entry.next.previous = entry.previous;
      size -= 1;
    },
  };
};

/**
 * Bounds what is in flight, by number and by bytes, before a body is read: past the bound a request is refused at once
 * (503) instead of waiting in a queue whose end comes after the client's patience (web3signer#974).
 */

/** Bounds of an {@link Admission}. */
export interface AdmissionOptions {
  /** Requests at once. */
  readonly inFlightMax: number;
  /** Bytes of bodies at once. */
  readonly bodyBytesInFlightMax: number;
}

/**
 * The place of one request. It has one holder at first; the place is free when the last holder has released it: the
 * response may end (client gone) before the pool has answered, and the other way round.
 */
export interface Ticket {
  hold(): void;
  /** Corrects the bytes it counts for, once they are known: a chunked body announces nothing. */
  resize(bodyBytes: number): void;
  release(): void;
}

/** Counts the requests in flight. */
export interface Admission {
  /** A place for a request with a body of so many bytes; undefined when there is none. */
  enter(bodyBytes: number): Ticket | undefined;
  inFlight(): number;
}

/** Makes an empty {@link Admission}. */
export const createAdmission = (options: AdmissionOptions): Admission => {
  let inFlight = 0;
  let bytesInFlight = 0;

  const enter = (bodyBytes: number): Ticket | undefined => {
    if (inFlight >= options.inFlightMax || bytesInFlight + bodyBytes > options.bodyBytesInFlightMax) return undefined;
    inFlight += 1;
    bytesInFlight += bodyBytes;
    let held = bodyBytes;
    let holders = 1;
    return {
      hold: () => {
        holders += 1;
      },
      resize: (bytes) => {
        if (holders === 0) return;
        bytesInFlight += bytes - held;
        held = bytes;
      },
      release: () => {
        holders -= 1;
        if (holders !== 0) return;
        inFlight -= 1;
        bytesInFlight -= held;
      },
    };
  };

  return { enter, inFlight: () => inFlight };
};

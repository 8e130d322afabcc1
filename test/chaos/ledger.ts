/** Everything that was asked and answered in one run: the evidence that the checker and the report work on. */

import type { SignedMessage } from "../helpers/slashing-oracle.ts";

/** Who asks: for a validator that nobody else uses, for one that rivals use too, or against the rules on purpose. */
export const CLIENT_KINDS = ["honest", "contested", "twin", "rival"] as const;
export type ClientKind = (typeof CLIENT_KINDS)[number];

/** Something to sign, as it is sent and as the chain would see it. */
export interface Duty {
  /** What a signature commits to; its `root` is the signing root, 0x-hex. */
  readonly message: SignedMessage;
  /** The request's body, JSON. */
  readonly body: string;
}

/** One request and what came back. Times in ms of the run's monotonic clock. */
export interface Exchange {
  readonly client: ClientKind;
  readonly pubkey: string;
  readonly message: SignedMessage;
  /** HTTP status; 0 when the connection failed or the client gave up waiting. */
  readonly status: number;
  /** A signature (200), a refusal in JSON, or the text of the connection's error. */
  readonly body: string;
  readonly startMs: number;
  readonly endMs: number;
}

/** One duty of an honest validator, asked until it was answered or worthless. */
export interface HonestDuty {
  readonly pubkey: string;
  readonly startMs: number;
  /** When its client stopped asking. */
  readonly endMs: number;
  readonly outcome: "signed" | "refused" | "given-up";
}

/** The record of one run. */
export interface Ledger {
  readonly exchanges: readonly Exchange[];
  readonly duties: readonly HonestDuty[];
  /** The first answer that called the store suspect: from then on nothing slashable is signed. */
  readonly suspicion: Exchange | undefined;
  addExchange(exchange: Exchange): void;
  addDuty(duty: HonestDuty): void;
}

/** How the answers say it (`enclave-worker/slashing/guard.ts`). */
const SUSPECT = /slashing store is suspect|gone from the store|older than one seen before|cannot be verified/;

/** An empty record. */
export const createLedger = (): Ledger => {
  const exchanges: Exchange[] = [];
  const duties: HonestDuty[] = [];
  let suspicion: Exchange | undefined;
  return {
    exchanges,
    duties,
    get suspicion() {
      return suspicion;
    },
    addExchange: (exchange) => {
      exchanges.push(exchange);
      if (suspicion === undefined && exchange.status === 503 && SUSPECT.test(exchange.body)) suspicion = exchange;
    },
    addDuty: (duty) => void duties.push(duty),
  };
};

/** A request that was neither signed nor refused by a rule: its client knows nothing. */
export const isFailure = ({ status }: Exchange): boolean => status !== 200 && status !== 412;

/** What a gateway sees of the pool: the port that `pool.ts` implements and gateway tests fake. */

import type { AttestOutcome } from "#protocol/messages/attest.ts";
import type { EnclaveStatus } from "#protocol/messages/control.ts";
import type { SignOutcome } from "#protocol/messages/sign.ts";

/** States of a pool member in the order of its life. */
export const MEMBER_STATES = ["launching", "provisioning", "ready", "draining", "gone", "failed"] as const;
/** One of {@link MEMBER_STATES}. */
export type MemberState = (typeof MEMBER_STATES)[number];

/** One enclave as the pool-manager publishes it. */
export interface MemberView {
  readonly cid: number;
  readonly state: MemberState;
  /** Path of its hybrid vsock socket. */
  readonly path: string;
  /** Launch number of this CID: a replaced enclave has a higher one, so its connections are made anew. */
  readonly incarnation: number;
  /** Its last status; undefined until it gave one. */
  readonly status?: EnclaveStatus;
  /** Why the member is not ready, in words; undefined when it is. */
  readonly problem?: string;
}

/** How the last reload of keys went (Web3Signer's `GET /reload`). */
export interface ReloadStatus {
  readonly status: "idle" | "running" | "completed" | "completed_with_errors" | "failed";
  /** RFC 3339, undefined before the first reload. */
  readonly lastOperationTime?: string;
  readonly lastError?: string;
}

/** Everything a gateway needs to know between requests. */
export interface PoolView {
  /** Whether this process has a live connection to the pool-manager. Signing goes on without one. */
  readonly connected: boolean;
  readonly members: readonly MemberView[];
  /** `0x` hex public keys in load order; undefined until the first full list came. Never transiently empty. */
  readonly publicKeys: readonly string[] | undefined;
  /** Keys that could not be loaded. */
  readonly keyErrors: number;
}

/** One request to sign, as routed. */
export interface PoolSignRequest {
  readonly pubkey: Uint8Array;
  readonly body: Uint8Array;
  /** Only a hint, sniffed from the body: whether slashing protection takes part (its home enclave is preferred longer). */
  readonly slashable: boolean;
  readonly timeoutMs: number;
}

/** One question to one enclave. */
export interface PoolAttestRequest {
  readonly cid: number;
  /** 16..64 bytes. */
  readonly nonce: Uint8Array;
  readonly timeoutMs: number;
}

/** The pool of enclaves as a gateway uses it. */
export interface Pool {
  /**
   * Signs on some enclave. A request whose connection broke is asked once more of another enclave: safe, because the
   * same root is a repeat there.
   * @throws SignerError `unknown_key | unavailable | overloaded | deadline_exceeded | …`
   */
  sign(request: PoolSignRequest): Promise<SignOutcome>;
  /**
   * Asks one enclave what it is; never another in its place.
   * @throws SignerError `unavailable` unless it is ready and connected, `overloaded | deadline_exceeded | …`
   */
  attest(request: PoolAttestRequest): Promise<AttestOutcome>;
  view(): PoolView;
  /** Calls back after every change of the view; returns the way to stop it. */
  onChange(listener: () => void): () => void;
  /** Asks the pool-manager to read its key sources again. */
  reload(): Promise<"accepted" | "running">;
  reloadStatus(): Promise<ReloadStatus>;
  close(): Promise<void>;
}

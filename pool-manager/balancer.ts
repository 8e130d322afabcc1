/**
 * Which enclave signs for a key: rendezvous hashing with bounded load. Pure: loads in, an order of candidates out.
 *
 * Each key has a home enclave, the one with the highest score of (key, CID); its cached record and floor live there. A
 * member that joins or leaves moves only the keys that it wins or loses. When the home is busy, a request spills to the
 * next in the key's own order, and slashable requests leave an enclave that does not reach its store. Safety never depends
 * on this order: any enclave may sign for any key.
 *
 * What it does not do: know connections, states or time (`pool.ts`).
 */

import type { PoolSignRequest } from "./pool-port.ts";

/**
 * A home may hold this many times the average of requests in flight before non-slashable work spills (Mirrokni, Thorup,
 * Zadimoghaddam, "Consistent Hashing with Bounded Loads", c = 1.25).
 */
export const SPILL_FACTOR = 1.25;
/**
 * Requests in flight above the factor that never spill: eight BLS signatures take ≈ 3 ms (DESIGN §5: ≤ 370 µs each), and at
 * so low a load chance alone, not a busy home, makes the difference between members.
 */
export const SPILL_SLACK = 8;
/**
 * Silence of a member above which even slashable work leaves it: requests in flight, and not one answer. Silence and not
 * the age of the oldest request, for that contains its time in the queue: at saturation every member has old requests,
 * and half of the work left its home for members that were no faster (measured: 55 % spilled and conflicted). A spill
 * costs a conflict and a second store round trip (about a millisecond each), so patience is cheap; 250 ms is fifty times
 * a normal answer and still one sixteenth of the 4 s in which an attestation is due.
 */
export const STALL_MS = 250;

/** What the balancer needs to know of a member. Getters are read once a call. */
export interface MemberLoad {
  readonly cid: number;
  /** Requests sent and not answered. */
  readonly inFlight: number;
  /** Time in milliseconds for which it has answered nothing at all while requests were in flight; 0 without any. */
  readonly silentMs: number;
  /** False while its slashing store does not answer it: then it can sign nothing slashable. */
  readonly reachesStore: boolean;
}

/** Members that are not busy come before busy ones, whatever their scores (32-bit). */
const NOT_BUSY = 2 ** 32;
/** Members that can record come before those that cannot, whatever else: a busy one is slow, the others fail. */
const CAN_RECORD = 2 ** 33;

/** All `members` in the order in which they should be asked: for a key at rest, its home first. */
export const orderCandidates = <Member extends MemberLoad>(
  request: Pick<PoolSignRequest, "pubkey" | "slashable">,
  members: readonly Member[],
): Member[] => {
  const bound = request.slashable ? Number.POSITIVE_INFINITY : spillBound(members);
  const ordered: Member[] = [];
  const ranks: number[] = [];
  for (const member of members) {
    const busy = member.silentMs > STALL_MS || member.inFlight > bound;
    const canRecord = !request.slashable || member.reachesStore;
    const rank = rendezvousScore(request.pubkey, member.cid) + (busy ? 0 : NOT_BUSY) + (canRecord ? CAN_RECORD : 0);
    // Insertion sort: two to four members.
    let place = ordered.length;
    while (place > 0 && (ranks[place - 1] as number) < rank) place -= 1;
    ordered.splice(place, 0, member);
    ranks.splice(place, 0, rank);
  }
  return ordered;
};

/**
 * Score of a member for a key, 0..2^32-1; the highest is the key's home. The last eight bytes of a public key (its
 * x-coordinate) are uniformly distributed already; they only need mixing with the CID, by MurmurHash3's 32-bit finaliser
 * (github.com/aappleby/smhasher, `fmix32`).
 */
export const rendezvousScore = (pubkey: Uint8Array, cid: number): number => {
  const end = pubkey.length;
  const cidBits = Math.imul(cid, 0x9e37_79b1); // 2^32 / golden ratio: spreads neighbouring CIDs over all bits
  return mix(mix(readWord(pubkey, end - 8) ^ cidBits) ^ readWord(pubkey, end - 4)) >>> 0;
};

const spillBound = (members: readonly MemberLoad[]): number => {
  let total = 1; // the request that is to be placed
  for (const member of members) total += member.inFlight;
  return (SPILL_FACTOR * total) / members.length + SPILL_SLACK;
};

const readWord = (bytes: Uint8Array, at: number): number =>
  ((bytes[at] as number) << 24) |
  ((bytes[at + 1] as number) << 16) |
  ((bytes[at + 2] as number) << 8) |
  (bytes[at + 3] as number);

const mix = (word: number): number => {
  let hash = word;
  hash = Math.imul(hash ^ (hash >>> 16), 0x85eb_ca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2_ae35);
  return hash ^ (hash >>> 16);
};

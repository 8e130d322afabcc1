/** One process that signs with `@chainsafe/blst` and nothing else, as long as it is told, and says what a signature cost. */

import { randomBytes } from "node:crypto";
import { SecretKey } from "@chainsafe/blst";

/** What the bench asks for. */
export interface BareOrder {
  readonly milliseconds: number;
}

/** What it cost. */
export interface BareAnswer {
  readonly signatures: number;
  /** CPU of this thread, user and system. */
  readonly cpuMicros: number;
}

/** Signatures between two looks at the clock: some 6 ms. */
const BATCH = 16;
const MESSAGE_BYTES = 32;

const keys = Array.from({ length: BATCH }, () => SecretKey.fromKeygen(randomBytes(32)));

/** Each signature is over a message of its own, so that nothing can be cached; the result is serialised, as any server must. */
const signFor = ({ milliseconds }: BareOrder): BareAnswer => {
  const message = randomBytes(MESSAGE_BYTES);
  const endMs = performance.now() + milliseconds;
  let signatures = 0;
  const before = process.threadCpuUsage();
  while (performance.now() < endMs) {
    for (const key of keys) {
      message.writeUInt32LE(signatures);
      key.sign(message).toBytes(true);
      signatures += 1;
    }
  }
  const used = process.threadCpuUsage(before);
  return { signatures, cpuMicros: used.user + used.system };
};

process.on("message", (order) => process.send?.(signFor(order as BareOrder)));
process.once("disconnect", () => process.exit(0));

/** A whole frame in one buffer, for peers that a test makes by hand. */

import { encodeFrameHeader, type Frame } from "#protocol/frame.ts";

/** Header and payload of `frame`. */
export const encodeFrame = (frame: Frame): Buffer =>
  Buffer.concat([encodeFrameHeader(frame, frame.payload.length), frame.payload]);

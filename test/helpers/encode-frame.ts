/** Frames as bytes, for peers that a test makes by hand. */

import { FRAME_HEADER_BYTES, type Frame, FrameBatch } from "#protocol/frame.ts";

/** Header and payload of `frame`. */
export const encodeFrame = (frame: Frame): Buffer => {
  const batch = new FrameBatch();
  batch.add(frame);
  return batch.take();
};

/** The header alone, of a frame whose payload has so many bytes. */
export const encodeFrameHeader = (frame: Omit<Frame, "payload">, payloadBytes: number): Buffer =>
  encodeFrame({ ...frame, payload: new Uint8Array(payloadBytes) }).subarray(0, FRAME_HEADER_BYTES);

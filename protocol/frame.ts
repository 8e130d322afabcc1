/**
 * Frames: the unit on every stream between Testudo's processes.
 *
 *   0  u32  length of what follows (8 + payload)
 *   4  u8   version, 1
 *   5  u8   kind: 0 request, 1 answer, 2 failure, 3 event
 *   6  u16  operation (of the port's own table)
 *   8  u32  request id, chosen by the asker; 0 in events
 *   12      payload
 *
 * The decoder is total: a wrong version, kind or length is an error before the payload is buffered. What it does not
 * do: decide who may send what (`rpc.ts`), or interpret payloads (`messages/`).
 */

import { SignerError } from "./errors.ts";
import { FRAME_PAYLOAD_BYTES_MAX } from "./limits.ts";

/** The version this build speaks. Both ends ship together, so there is no negotiation. */
export const FRAME_VERSION = 1;
/** Bytes in front of the payload. */
export const FRAME_HEADER_BYTES = 12;
const LENGTH_BYTES = 4;
const FIXED_BYTES = FRAME_HEADER_BYTES - LENGTH_BYTES;

/** Frame kinds; the index is the wire value. */
export const FRAME_KINDS = ["request", "answer", "failure", "event"] as const;
/** One of {@link FRAME_KINDS}. */
export type FrameKind = (typeof FRAME_KINDS)[number];

/** One frame. `payload` is a view on the received chunk: copy it to keep it. */
export interface Frame {
  readonly kind: FrameKind;
  readonly operation: number;
  readonly requestId: number;
  readonly payload: Uint8Array;
}

/** Header bytes of a frame whose payload follows in the given number of bytes. */
export const encodeFrameHeader = (frame: Omit<Frame, "payload">, payloadBytes: number): Uint8Array => {
  if (payloadBytes > FRAME_PAYLOAD_BYTES_MAX) {
    throw new SignerError(
      "protocol_violation",
      `frame payload: expected at most ${FRAME_PAYLOAD_BYTES_MAX} bytes, got ${payloadBytes}`,
    );
  }
  const header = Buffer.allocUnsafe(FRAME_HEADER_BYTES);
  header.writeUInt32BE(FIXED_BYTES + payloadBytes, 0);
  header.writeUInt8(FRAME_VERSION, 4);
  header.writeUInt8(FRAME_KINDS.indexOf(frame.kind), 5);
  header.writeUInt16BE(frame.operation, 6);
  header.writeUInt32BE(frame.requestId, 8);
  return header;
};

/** A whole frame in one buffer. */
export const encodeFrame = (frame: Frame): Uint8Array =>
  Buffer.concat([encodeFrameHeader(frame, frame.payload.length), frame.payload]);

/** Cuts a byte stream into frames. Holds at most one incomplete frame (bounded by the payload limit). */
export class FrameDecoder {
  #pending: Buffer[] = [];
  #pendingBytes = 0;

  /** Whether a frame has begun and not ended: a stream that closes now was truncated. */
  get truncated(): boolean {
    return this.#pendingBytes > 0;
  }

  /**
   * Takes the next chunk and gives the frames that it completes.
   * @throws SignerError `protocol_violation`; the stream is then unusable.
   */
  push(chunk: Buffer): Frame[] {
    this.#pending.push(chunk);
    this.#pendingBytes += chunk.length;
    const frames: Frame[] = [];
    let needed = this.#bytesNeeded();
    while (this.#pendingBytes >= needed) {
      frames.push(decodeFrame(this.#take(needed)));
      needed = this.#bytesNeeded();
    }
    return frames;
  }

  /** Total bytes of the frame at the front, as far as its length is known; checks the header before its payload is buffered. */
  #bytesNeeded(): number {
    if (this.#pendingBytes < LENGTH_BYTES) return FRAME_HEADER_BYTES;
    this.#joinUntil(LENGTH_BYTES);
    const length = (this.#pending[0] as Buffer).readUInt32BE(0);
    if (length < FIXED_BYTES || length > FIXED_BYTES + FRAME_PAYLOAD_BYTES_MAX) {
      throw new SignerError(
        "protocol_violation",
        `frame length: expected ${FIXED_BYTES}..${FIXED_BYTES + FRAME_PAYLOAD_BYTES_MAX}, got ${length}`,
      );
    }
    if (this.#pendingBytes >= FRAME_HEADER_BYTES) {
      this.#joinUntil(FRAME_HEADER_BYTES);
      readKind(this.#pending[0] as Buffer);
    }
    return LENGTH_BYTES + length;
  }

  #take(bytes: number): Buffer {
    this.#joinUntil(bytes);
    const first = this.#pending[0] as Buffer;
    const frame = first.subarray(0, bytes);
    if (first.length === bytes) this.#pending.shift();
    else this.#pending[0] = first.subarray(bytes);
    this.#pendingBytes -= bytes;
    return frame;
  }

  /** Makes the first pending buffer hold at least `bytes` bytes; one copy for a frame however many chunks it came in. */
  #joinUntil(bytes: number): void {
    if ((this.#pending[0] as Buffer).length < bytes) this.#pending = [Buffer.concat(this.#pending)];
  }
}

const decodeFrame = (bytes: Buffer): Frame => ({
  kind: readKind(bytes),
  operation: bytes.readUInt16BE(6),
  requestId: bytes.readUInt32BE(8),
  // Not a Buffer: its `slice` would be a view where readers of Uint8Array expect a copy.
  payload: new Uint8Array(bytes.buffer, bytes.byteOffset + FRAME_HEADER_BYTES, bytes.length - FRAME_HEADER_BYTES),
});

/** Kind of the frame whose header is at the front; throws on a wrong version or kind. */
const readKind = (bytes: Buffer): FrameKind => {
  const version = bytes.readUInt8(4);
  if (version !== FRAME_VERSION) {
    throw new SignerError("protocol_violation", `frame version: expected ${FRAME_VERSION}, got ${version}`);
  }
  const kind = FRAME_KINDS[bytes.readUInt8(5)];
  if (kind === undefined) {
    throw new SignerError("protocol_violation", `frame kind: expected 0..3, got ${bytes.readUInt8(5)}`);
  }
  return kind;
};

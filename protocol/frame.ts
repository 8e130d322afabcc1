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
const FRAME_VERSION = 1;
/** Bytes in front of the payload. */
export const FRAME_HEADER_BYTES = 12;
const LENGTH_BYTES = 4;
const FIXED_BYTES = FRAME_HEADER_BYTES - LENGTH_BYTES;

/** Frame kinds; the index is the wire value. */
export const FRAME_KINDS = ["request", "answer", "failure", "event"] as const;
/** One of {@link FRAME_KINDS}. */
export type FrameKind = (typeof FRAME_KINDS)[number];

/** One frame. `payload` may be a view on the received chunk: copy it to keep it. */
export interface Frame {
  readonly kind: FrameKind;
  readonly operation: number;
  readonly requestId: number;
  readonly payload: Uint8Array;
}

/**
 * Frames that leave together, as one piece of memory: a stream pays for each write, and the kernel for each piece of
 * one, more than the copy costs.
 */
export class FrameBatch {
  #frames: Frame[] = [];
  #bytes = 0;

  /** Frames added since the last {@link FrameBatch.take}. */
  get size(): number {
    return this.#frames.length;
  }

  /** Bytes that they will take. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Adds a frame; its payload must stay as it is until it was taken. @throws SignerError `protocol_violation`: too large */
  add(frame: Frame): void {
    const { length } = frame.payload;
    if (length > FRAME_PAYLOAD_BYTES_MAX) {
      throw new SignerError(
        "protocol_violation",
        `frame payload: expected at most ${FRAME_PAYLOAD_BYTES_MAX} bytes, got ${length}`,
      );
    }
    this.#frames.push(frame);
    this.#bytes += FRAME_HEADER_BYTES + length;
  }

  /** The bytes of all frames, in order; the batch is then empty. */
  take(): Buffer {
    const bytes = Buffer.allocUnsafeSlow(this.#bytes);
    let at = 0;
    for (const { kind, operation, requestId, payload } of this.#frames) {
      bytes.writeUInt32BE(FIXED_BYTES + payload.length, at);
      bytes.writeUInt8(FRAME_VERSION, at + 4);
      bytes.writeUInt8(FRAME_KINDS.indexOf(kind), at + 5);
      bytes.writeUInt16BE(operation, at + 6);
      bytes.writeUInt32BE(requestId, at + 8);
      bytes.set(payload, at + FRAME_HEADER_BYTES);
      at += FRAME_HEADER_BYTES + payload.length;
    }
    this.#frames = [];
    this.#bytes = 0;
    return bytes;
  }
}

/** A frame whose payload is still coming. */
interface PartialFrame {
  readonly head: Omit<Frame, "payload">;
  /** Of the payload's whole length. */
  readonly payload: Uint8Array;
  filled: number;
}

/**
 * Cuts a byte stream into frames. A frame that lies whole in one chunk is a view on it. Of one that comes in pieces, the
 * pieces are copied into one buffer of its length, so that however small they are, no chunk is kept: it holds at most
 * one incomplete frame (bounded by the payload limit).
 */
export class FrameDecoder {
  readonly #header = Buffer.alloc(FRAME_HEADER_BYTES);
  #headerBytes = 0;
  #partial: PartialFrame | undefined;

  /** Whether a frame has begun and not ended: a stream that closes now was truncated. */
  get truncated(): boolean {
    return this.#headerBytes > 0 || this.#partial !== undefined;
  }

  /**
   * Takes the next chunk and gives the frames that it completes.
   * @throws SignerError `protocol_violation`; the stream is then unusable.
   */
  push(chunk: Buffer): Frame[] {
    const frames: Frame[] = [];
    let at = 0;
    while (at < chunk.length) {
      if (this.#partial !== undefined) at += this.#fillPayload(this.#partial, chunk.subarray(at));
      else if (this.#headerBytes > 0 || chunk.length - at < FRAME_HEADER_BYTES) at += this.#fillHeader(chunk, at);
      else {
        const head = readHead(chunk, at);
        const payloadAt = at + FRAME_HEADER_BYTES;
        const end = payloadAt + readPayloadBytes(chunk, at);
        if (end > chunk.length) {
          this.#begin(head, end - payloadAt);
          at = payloadAt;
        } else {
          // Not a Buffer: its `slice` would be a view where readers of Uint8Array expect a copy.
          frames.push({
            ...head,
            payload: new Uint8Array(chunk.buffer, chunk.byteOffset + payloadAt, end - payloadAt),
          });
          at = end;
        }
      }
      const completed = this.#takeCompleted();
      if (completed !== undefined) frames.push(completed);
    }
    return frames;
  }

  /** Takes what `chunk` has of the header, and refuses a wrong one as soon as the bytes that say so are there. */
  #fillHeader(chunk: Buffer, at: number): number {
    const taken = chunk.copy(this.#header, this.#headerBytes, at);
    this.#headerBytes += taken;
    if (this.#headerBytes >= LENGTH_BYTES) readPayloadBytes(this.#header, 0);
    if (this.#headerBytes === FRAME_HEADER_BYTES) {
      this.#headerBytes = 0;
      this.#begin(readHead(this.#header, 0), readPayloadBytes(this.#header, 0));
    }
    return taken;
  }

  #begin(head: Omit<Frame, "payload">, payloadBytes: number): void {
    // Its memory is only touched as the bytes come.
    const { buffer, byteOffset } = Buffer.allocUnsafeSlow(payloadBytes);
    this.#partial = { head, payload: new Uint8Array(buffer, byteOffset, payloadBytes), filled: 0 };
  }

  #fillPayload(partial: PartialFrame, bytes: Buffer): number {
    const taken = bytes.subarray(0, partial.payload.length - partial.filled);
    partial.payload.set(taken, partial.filled);
    partial.filled += taken.length;
    return taken.length;
  }

  #takeCompleted(): Frame | undefined {
    const partial = this.#partial;
    if (partial === undefined || partial.filled < partial.payload.length) return undefined;
    this.#partial = undefined;
    return { ...partial.head, payload: partial.payload };
  }
}

/** Bytes of the payload behind the header at `at`; throws on a length that no frame has. */
const readPayloadBytes = (bytes: Buffer, at: number): number => {
  const length = bytes.readUInt32BE(at);
  if (length < FIXED_BYTES || length > FIXED_BYTES + FRAME_PAYLOAD_BYTES_MAX) {
    throw new SignerError(
      "protocol_violation",
      `frame length: expected ${FIXED_BYTES}..${FIXED_BYTES + FRAME_PAYLOAD_BYTES_MAX}, got ${length}`,
    );
  }
  return length - FIXED_BYTES;
};

/** The header at `at` without its length; throws on a wrong version or kind. */
const readHead = (bytes: Buffer, at: number): Omit<Frame, "payload"> => {
  const version = bytes.readUInt8(at + 4);
  if (version !== FRAME_VERSION) {
    throw new SignerError("protocol_violation", `frame version: expected ${FRAME_VERSION}, got ${version}`);
  }
  const kind = FRAME_KINDS[bytes.readUInt8(at + 5)];
  if (kind === undefined) {
    throw new SignerError("protocol_violation", `frame kind: expected 0..3, got ${bytes.readUInt8(at + 5)}`);
  }
  return { kind, operation: bytes.readUInt16BE(at + 6), requestId: bytes.readUInt32BE(at + 8) };
};

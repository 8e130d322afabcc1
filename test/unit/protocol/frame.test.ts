import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { SignerError } from "#protocol/errors.ts";
import { FRAME_HEADER_BYTES, FRAME_KINDS, type Frame, FrameBatch, FrameDecoder } from "#protocol/frame.ts";
import { FRAME_PAYLOAD_BYTES_MAX } from "#protocol/limits.ts";
import { encodeFrame, encodeFrameHeader } from "../../helpers/encode-frame.ts";

const anyFrame: fc.Arbitrary<Frame> = fc.record({
  kind: fc.constantFrom(...FRAME_KINDS),
  operation: fc.integer({ min: 0, max: 0xffff }),
  requestId: fc.integer({ min: 0, max: 0xffff_ffff }),
  payload: fc.uint8Array({ maxLength: 60 }),
});

const plain = (frame: Frame): Frame => ({ ...frame, payload: new Uint8Array(frame.payload) });

const cut = (bytes: Buffer, sizes: readonly number[]): Buffer[] => {
  const chunks: Buffer[] = [];
  let at = 0;
  for (let index = 0; at < bytes.length; index += 1) {
    const size = sizes.length === 0 ? bytes.length : (sizes[index % sizes.length] as number);
    chunks.push(bytes.subarray(at, at + size));
    at += size;
  }
  return chunks;
};

const header = (change: (bytes: Buffer) => void): Buffer => {
  const bytes = Buffer.from(encodeFrameHeader({ kind: "request", operation: 1, requestId: 1 }, 100));
  change(bytes);
  return bytes;
};

describe("FrameBatch", () => {
  it("writes many frames as one piece, in order, and is empty again", () => {
    fc.assert(
      fc.property(fc.array(anyFrame, { maxLength: 6 }), (frames) => {
        const batch = new FrameBatch();
        for (const frame of frames) batch.add(frame);
        const expected = Buffer.concat(frames.map(encodeFrame));
        expect([batch.size, batch.bytes]).toEqual([frames.length, expected.length]);
        expect(batch.take()).toEqual(expected);
        expect([batch.size, batch.bytes, batch.take().length]).toEqual([0, 0, 0]);
      }),
    );
  });

  it("is not changed by a frame that it refuses", () => {
    const batch = new FrameBatch();
    const frame = { kind: "request", operation: 1, requestId: 1 } as const;
    expect(() => batch.add({ ...frame, payload: new Uint8Array(FRAME_PAYLOAD_BYTES_MAX + 1) })).toThrow();
    expect([batch.size, batch.bytes]).toEqual([0, 0]);
  });
});

describe("FrameDecoder", () => {
  it("gives back the same frames however the stream is cut", () => {
    const sizes = fc.array(fc.integer({ min: 1, max: 40 }), { maxLength: 8 });
    fc.assert(
      fc.property(fc.array(anyFrame, { maxLength: 6 }), sizes, (frames, chunkSizes) => {
        const stream = Buffer.concat(frames.map(encodeFrame));
        const decoder = new FrameDecoder();
        const decoded = cut(stream, chunkSizes).flatMap((chunk) => decoder.push(chunk).map(plain));
        expect(decoded).toEqual(frames);
        expect(decoder.truncated).toBe(false);
      }),
    );
  });

  it("takes a payload of the largest size and carries its bytes", () => {
    const payload = Buffer.alloc(FRAME_PAYLOAD_BYTES_MAX, 7);
    const decoder = new FrameDecoder();
    const frames = cut(Buffer.from(encodeFrame({ kind: "event", operation: 2, requestId: 0, payload })), [65_536]) //
      .flatMap((chunk) => decoder.push(chunk));
    expect(frames).toHaveLength(1);
    expect(Buffer.compare((frames[0] as Frame).payload, payload)).toBe(0);
  });

  it("hands payloads over as Uint8Arrays whose slice is a copy", () => {
    const stream = encodeFrame({ kind: "event", operation: 1, requestId: 0, payload: Buffer.from([1, 2]) });
    const decoder = new FrameDecoder();
    const [whole, inPieces] = [stream, stream.subarray(0, 13), stream.subarray(13)].flatMap((it) => decoder.push(it));
    const copies = [whole, inPieces].map((frame) => frame?.payload.slice() as Uint8Array);
    stream.fill(0);
    expect(copies.map((copy) => [Buffer.isBuffer(copy), ...copy])).toEqual([
      [false, 1, 2],
      [false, 1, 2],
    ]);
  });

  it("gives a view on the chunk in which a frame lies whole", () => {
    const stream = encodeFrame({ kind: "event", operation: 1, requestId: 0, payload: Buffer.from([1, 2]) });
    const [frame] = new FrameDecoder().push(stream);
    expect(frame?.payload.buffer).toBe(stream.buffer);
  });

  it("keeps no chunk of a frame that comes in pieces", () => {
    const payload = Buffer.from(Array.from({ length: 300 }, (_, index) => index % 256));
    const stream = encodeFrame({ kind: "request", operation: 1, requestId: 1, payload });
    const decoder = new FrameDecoder();
    const frames: Frame[] = [];
    for (const byte of stream) {
      const chunk = Buffer.from([byte]);
      frames.push(...decoder.push(chunk));
      chunk.fill(0xee); // shows in the frame when the chunk was kept
    }
    expect(frames.map(plain)).toEqual([
      { kind: "request", operation: 1, requestId: 1, payload: new Uint8Array(payload) },
    ]);
  });

  it("refuses to encode a larger one", () => {
    const frame = { kind: "request", operation: 1, requestId: 1 } as const;
    expect(() => encodeFrameHeader(frame, FRAME_PAYLOAD_BYTES_MAX + 1)).toThrow(/frame payload: expected at most/);
  });

  it.each([
    ["too short", 7, false],
    ["the shortest", 8, true],
    ["the longest", 8 + FRAME_PAYLOAD_BYTES_MAX, true],
    ["too long", 9 + FRAME_PAYLOAD_BYTES_MAX, false],
    ["absurd", 0xffff_ffff, false],
  ])("judges a length field that is %s by its four bytes alone", (_, length, valid) => {
    const bytes = Buffer.alloc(4);
    bytes.writeUInt32BE(length);
    const push = () => new FrameDecoder().push(bytes);
    if (valid) expect(push()).toEqual([]);
    else expect(push).toThrow(/protocol_violation: frame length/);
  });

  it.each([
    ["version", (bytes: Buffer) => bytes.writeUInt8(2, 4), /frame version: expected 1, got 2/],
    ["kind", (bytes: Buffer) => bytes.writeUInt8(4, 5), /frame kind: expected 0..3, got 4/],
  ])("refuses a wrong %s before the payload comes", (_, change, message) => {
    expect(() => new FrameDecoder().push(header(change))).toThrow(message);
    const decoder = new FrameDecoder();
    expect(() => cut(header(change), [1]).map((chunk) => decoder.push(chunk))).toThrow(message);
  });

  it("flags a stream that ends inside a frame", () => {
    const bytes = Buffer.from(encodeFrame({ kind: "answer", operation: 1, requestId: 1, payload: new Uint8Array(3) }));
    for (let length = 0; length <= bytes.length; length += 1) {
      const decoder = new FrameDecoder();
      decoder.push(bytes.subarray(0, length));
      expect(decoder.truncated).toBe(length > 0 && length < bytes.length);
    }
  });

  it("answers any bytes with frames or a protocol violation", () => {
    const plausible = fc
      .tuple(fc.integer({ min: 0, max: 40 }), fc.uint8Array({ maxLength: 80, max: 5 }))
      .map(([length, rest]) => Buffer.concat([Buffer.from([0, 0, 0, length]), rest]));
    const bytes = fc.oneof(fc.uint8Array({ maxLength: 200 }).map(Buffer.from), plausible);
    fc.assert(
      fc.property(bytes, fc.integer({ min: 1, max: 20 }), (stream, size) => {
        const decoder = new FrameDecoder();
        try {
          for (const chunk of cut(stream as Buffer, [size])) decoder.push(chunk);
        } catch (error) {
          expect(error).toBeInstanceOf(SignerError);
          expect((error as SignerError).code).toBe("protocol_violation");
        }
      }),
    );
  });

  it("has a header of twelve bytes", () => {
    expect(encodeFrameHeader({ kind: "failure", operation: 0x0102, requestId: 0x03040506 }, 5)).toEqual(
      Buffer.from([0, 0, 0, 13, 1, 2, 1, 2, 3, 4, 5, 6]),
    );
    expect(FRAME_HEADER_BYTES).toBe(12);
  });
});

import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { toHex } from "#protocol/bytes.ts";
import { SignerError } from "#protocol/errors.ts";
import { loadNetwork } from "#protocol/signing/load-network.ts";
import { parseSignRequest, type SignRequest } from "#protocol/signing/request.ts";
import { SIGNING_TYPES } from "#protocol/signing/types.ts";
import * as naive from "../../../helpers/naive-ssz.ts";
import { encode, FORK_INFO, type Json, SAMPLES, sample, withMember } from "./samples.ts";

const network = loadNetwork({ network: "mainnet", readFile: () => "" });

/** The request, or undefined when it was refused as it should be; throws on any other failure. */
const attempt = (body: Uint8Array): SignRequest | undefined => {
  try {
    const request = parseSignRequest(body, network);
    expect(request.signingRoot).toHaveLength(32);
    expect(SIGNING_TYPES).toContain(request.type);
    return request;
  } catch (error) {
    expect(error).toBeInstanceOf(SignerError);
    expect((error as SignerError).code).toBe("bad_request");
    expect((error as SignerError).detail).toMatch(/^[\w.[\]]+: expected .+, got /s);
    expect((error as SignerError).detail.length).toBeLessThan(500);
    return undefined;
  }
};

const small = SAMPLES.filter(({ name }) => !/BLOCK(_V2 (PHASE0|ALTAIR))?$/.test(name));
const anySample = fc.oneof({ weight: 9, arbitrary: fc.constantFrom(...small) }, fc.constantFrom(...SAMPLES));

/** Every path of a body, to members at all depths. */
const paths = (node: Json, path = ""): string[] =>
  typeof node !== "object" || node === null
    ? [path]
    : [
        ...(path === "" ? [] : [path]),
        ...Object.entries(node).flatMap(([key, child]) =>
          paths(child, Array.isArray(node) ? `${path}[${key}]` : path === "" ? key : `${path}.${key}`),
        ),
      ];
const PATHS = new Map(SAMPLES.map(({ name, body }) => [name, paths(body)]));

const anyLeaf = fc.oneof(
  fc.jsonValue(),
  fc.constant(undefined),
  fc.bigInt({ min: -1n, max: 2n ** 65n }).map(String),
  fc.double(),
  fc.uint8Array({ maxLength: 100 }).map((bytes) => `0x${Buffer.from(bytes).toString("hex")}`),
);

describe("any input is a request or a bad request", () => {
  it("any bytes", () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => attempt(bytes) === undefined));
  });

  it("any JSON value, also with the type's members in place", () => {
    fc.assert(fc.property(fc.jsonValue(), (value) => attempt(encode(value)) === undefined));
    const members = [...new Set(SAMPLES.flatMap(({ body }) => Object.keys(body)))];
    const object = fc.dictionary(fc.constantFrom(...members), fc.jsonValue());
    fc.assert(
      fc.property(fc.constantFrom(...SIGNING_TYPES), object, (type, body) => {
        attempt(encode({ ...body, type }));
      }),
    );
  });

  it("a valid body with one to three members replaced by anything", () => {
    let accepted = 0;
    const property = fc.property(
      anySample,
      fc.array(fc.tuple(fc.nat(), anyLeaf), { minLength: 1, maxLength: 3 }),
      ({ name, body }, changes) => {
        let changed = body;
        for (const [pick, value] of changes) {
          const all = PATHS.get(name) ?? [];
          try {
            changed = withMember(changed, all[pick % all.length] ?? "", value);
          } catch {
            // An earlier change took the path away.
          }
        }
        if (attempt(encode(changed))) accepted += 1;
      },
    );
    fc.assert(property, { numRuns: 3000 });
    expect(accepted).toBeGreaterThan(0);
  });

  it("a valid body with bytes overwritten, cut or repeated", () => {
    const property = fc.property(
      anySample,
      fc.nat(),
      fc.nat({ max: 255 }),
      fc.nat({ max: 3 }),
      (one, at, byte, kind) => {
        const bytes = Buffer.from(encode(one.body));
        const position = at % bytes.length;
        const [head, tail] = [bytes.subarray(0, position), bytes.subarray(position)];
        if (kind === 0) bytes[position] = byte;
        const changed = [
          bytes,
          head,
          Buffer.concat([head, tail.subarray(1)]),
          Buffer.concat([head, Buffer.of(byte), tail]),
        ];
        attempt(changed[kind] ?? bytes);
      },
    );
    fc.assert(property, { numRuns: 3000 });
  });
});

describe("the whole uint64 range is hashed exactly", () => {
  const { fork, genesis_validators_root: genesisValidatorsRoot } = FORK_INFO;
  const uint64 = fc.oneof(
    fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
    fc.constantFrom(0n, 2n ** 53n - 1n, 2n ** 53n, 2n ** 53n + 1n, 2n ** 63n, 2n ** 64n - 1n),
  );

  it("as the message itself", () => {
    fc.assert(
      fc.property(uint64, (epoch) => {
        const request = attempt(encode(withMember(sample("RANDAO_REVEAL").body, "randao_reveal.epoch", String(epoch))));
        const version = epoch < 10n ? fork.previous_version : fork.current_version;
        const chain = { domainType: "0x02000000", version, genesisValidatorsRoot };
        expect(request && toHex(request.signingRoot)).toBe(naive.signingRoot(naive.uint64(epoch), chain));
      }),
    );
  });

  it("as a slot that gives the epoch, and as a fork epoch", () => {
    fc.assert(
      fc.property(uint64, uint64, (slot, forkEpoch) => {
        const { body } = sample("AGGREGATION_SLOT");
        const placed = withMember(body, "aggregation_slot.slot", String(slot));
        const request = attempt(encode(withMember(placed, "fork_info.fork.epoch", String(forkEpoch))));
        const version = slot / 32n < forkEpoch ? fork.previous_version : fork.current_version;
        const chain = { domainType: "0x05000000", version, genesisValidatorsRoot };
        expect(request && toHex(request.signingRoot)).toBe(naive.signingRoot(naive.uint64(slot), chain));
      }),
    );
  });

  it("as a JSON number up to 2^53-1, equal to its text", () => {
    fc.assert(
      fc.property(fc.maxSafeNat(), (index) => {
        const { body } = sample("ATTESTATION");
        const asNumber = attempt(encode(withMember(body, "attestation.index", index)));
        const asText = attempt(encode(withMember(body, "attestation.index", String(index))));
        expect(asNumber?.signingRoot).toEqual(asText?.signingRoot);
        expect(asNumber).toBeDefined();
      }),
    );
  });
});

describe("two different duties", () => {
  it("never share a root, and the duty is the one that was sent", () => {
    const small = fc.nat({ max: 2 ** 40 });
    fc.assert(
      fc.property(fc.tuple(small, small, small), fc.tuple(small, small, small), (left, right) => {
        const [a, b] = [left, right].map(([slot, source, target]) => {
          let body = withMember(sample("ATTESTATION").body, "attestation.slot", slot);
          body = withMember(body, "attestation.source.epoch", String(source));
          body = withMember(body, "attestation.target.epoch", target);
          const request = attempt(encode(body));
          expect(request?.duty).toEqual({ kind: "attestation", slot, sourceEpoch: source, targetEpoch: target });
          return request?.signingRoot;
        });
        const isSame = left.every((value, i) => value === right[i]);
        if (isSame) expect(a).toEqual(b);
        else expect(a).not.toEqual(b);
      }),
    );
  });
});

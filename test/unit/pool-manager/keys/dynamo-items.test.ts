/** Items of the table: what is written is what is read, and anything else is refused with a reason. */

import type { AttributeValue } from "@aws-sdk/client-dynamodb";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  checkItemSize,
  configurationItem,
  ITEM_BYTES_MAX,
  type Item,
  keyItem,
  readConfigurationItem,
  readHeaderItem,
  readKeyItem,
  sameItem,
} from "#pool-manager/keys/dynamo-items.ts";
import { toHex } from "#protocol/bytes.ts";
import { SignerError } from "#protocol/errors.ts";

const bytes = (length: number) => fc.uint8Array({ minLength: length, maxLength: length });
const attribute: fc.Arbitrary<AttributeValue> = fc.oneof(
  fc.record({ S: fc.string({ maxLength: 100 }) }),
  fc.record({ N: fc.oneof(fc.nat().map(String), fc.string({ maxLength: 20 })) }),
  fc.record({ B: fc.uint8Array({ maxLength: 200 }) }),
  fc.record({ BOOL: fc.boolean() }),
) as fc.Arbitrary<AttributeValue>;
const NAMES = ["group", "pubkey", "bundle", "sealed", "removedAt", "header", "version", "document", "signature"];

test("a key comes back as it was written", () => {
  fc.assert(
    fc.property(bytes(48), bytes(16), bytes(60), (pubkey, bundleId, sealed) => {
      const entry = readKeyItem(keyItem("main", { pubkey, bundleId, sealed }));
      expect(entry).toEqual({ kind: "live", pubkey, sealed, bundleHex: toHex(bundleId).slice(2) });
    }),
  );
});

test("a configuration comes back as it was written", () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 2 ** 32 - 1 }), bytes(64), (version, signature) => {
      const stored = {
        document: new Uint8Array([1]),
        signature,
        secretsHeader: new Uint8Array([2]),
        sealedSecrets: new Uint8Array([3]),
      };
      expect(readConfigurationItem(configurationItem("main", version, stored))).toEqual({ version, ...stored });
    }),
  );
});

test("whatever stands in the table is a value or a reason", () => {
  fc.assert(
    fc.property(fc.dictionary(fc.constantFrom(...NAMES), attribute), (item) => {
      for (const read of [readKeyItem, readHeaderItem, readConfigurationItem]) {
        try {
          read(item as Item);
        } catch (error) {
          expect(error).toBeInstanceOf(SignerError);
          expect((error as SignerError).code).toBe("bad_request");
        }
      }
    }),
    { numRuns: 500 },
  );
});

describe("items are compared attribute by attribute", () => {
  const key = { pubkey: new Uint8Array(48), bundleId: new Uint8Array(16), sealed: new Uint8Array(60) };
  const item = keyItem("main", key);
  test.each<[string, Item, boolean]>([
    ["the same", keyItem("main", key), true],
    ["other bytes", keyItem("main", { ...key, sealed: new Uint8Array(60).fill(1) }), false],
    ["another group", keyItem("other", key), false],
    ["one more", { ...item, removedAt: { N: "1" } }, false],
    ["one less", { group: item.group as AttributeValue, pubkey: item.pubkey as AttributeValue }, false],
    ["another type", { ...item, sealed: { S: "x" } }, false],
  ])("%s", (_what, other, same) => {
    expect(sameItem(item, other)).toBe(same);
    expect(sameItem(other, item)).toBe(same);
  });
});

test("the size limit is DynamoDB's, names included", () => {
  const of = (length: number): Item => ({ name: { B: new Uint8Array(length) } });
  checkItemSize(of(ITEM_BYTES_MAX - 4));
  expect(() => checkItemSize(of(ITEM_BYTES_MAX - 3))).toThrow(/expected at most 409600 bytes, got 409601/);
});

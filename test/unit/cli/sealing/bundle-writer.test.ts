/** Bundles of at most a thousand keys under one data key each, begun when they are needed. */

import { randomBytes } from "node:crypto";
import { expect, test } from "vitest";
import type { NewKey } from "#pool-manager/keys/dynamo-operator-table.ts";
import { toHex } from "#protocol/bytes.ts";
import { SignerError } from "#protocol/errors.ts";
import { type BundleHeader, decodeBundleHeader, encryptionContextOf } from "#protocol/sealed/header.ts";
import { createKeyOpener } from "#protocol/sealed/sealed-key.ts";
import { type BundleTarget, createBundleWriter } from "../../../../cli/sealing/bundle-writer.ts";

const TARGET: BundleTarget = {
  authority: new Uint8Array(32).fill(1),
  group: "main",
  storeId: new Uint8Array(16).fill(2),
  generation: 3,
  kmsKeyArn: "arn:aws:kms:eu-central-1:000000000000:key/1234",
};
/** A public key that follows from the secret and takes no curve: a thousand of them in no time. */
const derivePubkey = (secret: Uint8Array): Uint8Array => {
  const pubkey = new Uint8Array(48).fill(0xaa);
  pubkey.set(secret);
  return pubkey;
};

const createBed = () => {
  const dataKeys = new Map<string, Uint8Array>();
  const contexts: unknown[] = [];
  const headers: BundleHeader[] = [];
  const keys: NewKey[] = [];
  let failures = 0;
  const writer = createBundleWriter(TARGET, {
    derivePubkey,
    kms: {
      newDataKey: async (context) => {
        if (failures > 0) {
          failures -= 1;
          throw new SignerError("unavailable", "KMS: throttled");
        }
        const [dataKey, wrapped] = [new Uint8Array(randomBytes(32)), new Uint8Array(randomBytes(100))];
        dataKeys.set(toHex(wrapped), dataKey.slice());
        contexts.push(context);
        return { dataKey, wrapped };
      },
    },
    table: {
      addHeaders: async (added) => void headers.push(...added.map(decodeBundleHeader)),
      addKey: async (key) => {
        expect(
          headers.some(({ bundleId }) => toHex(bundleId) === toHex(key.bundleId)),
          "header before key",
        ).toBe(true);
        keys.push(key);
        return "added";
      },
    },
  });
  return { writer, dataKeys, contexts, headers, keys, fail: (times: number) => (failures = times) };
};
const writeMany = (writer: ReturnType<typeof createBed>["writer"], count: number) =>
  Promise.all(
    Array.from({ length: count }, () => {
      const secret = new Uint8Array(randomBytes(32));
      return writer.write(derivePubkey(secret), secret, { restore: false });
    }),
  );

test("2,001 keys at once are three bundles, three KMS calls, and open again", async () => {
  const { writer, dataKeys, contexts, headers, keys } = createBed();
  await writeMany(writer, 2_001);
  expect(writer.bundles).toBe(3);
  expect(headers.length).toBe(3);
  expect(contexts).toEqual(headers.map(encryptionContextOf));
  const perBundle = headers.map(({ bundleId }) => keys.filter((key) => toHex(key.bundleId) === toHex(bundleId)));
  expect(perBundle.map((some) => some.length)).toEqual([1000, 1000, 1]);
  for (const [index, header] of headers.entries()) {
    const dataKey = dataKeys.get(toHex(header.wrappedDataKey)) as Uint8Array;
    const opener = createKeyOpener({ header, dataKey, derivePubkey });
    for (const { pubkey, sealed } of perBundle[index] as NewKey[]) opener.open(pubkey, sealed);
  }
});

test("no key, no KMS call", () => {
  const { writer, contexts } = createBed();
  writer.close();
  expect([writer.bundles, contexts]).toEqual([0, []]);
});

test("a data key that KMS refuses fails those who wait for it, and the next key asks again", async () => {
  const { writer, fail, keys } = createBed();
  fail(1);
  const secret = new Uint8Array(randomBytes(32));
  const both = [1, 2].map(() => writer.write(derivePubkey(secret), secret, { restore: false }));
  for (const outcome of await Promise.allSettled(both))
    expect(outcome).toMatchObject({ reason: { code: "unavailable" } });
  expect(keys).toEqual([]);
  await writeMany(writer, 2);
  expect([writer.bundles, keys.length]).toEqual([1, 2]);
});

test("a secret of another public key is not sealed", async () => {
  const { writer, keys } = createBed();
  await expect(writer.write(new Uint8Array(48), randomBytes(32), { restore: false })).rejects.toThrow(/key to seal/);
  expect(keys).toEqual([]);
});

test("nothing is sealed after the end, when data keys are zeros", async () => {
  const { writer } = createBed();
  await writeMany(writer, 1);
  writer.close();
  await expect(writeMany(writer, 1)).rejects.toThrow(/used after it was closed/);
});

/**
 * Seals keys into bundles and writes them into the table. A bundle begins with its first key and ends with its
 * thousandth: one KMS call each. Every ciphertext is opened again before it is written, from the header as it is written.
 */

import { randomBytes } from "node:crypto";
import type { AddOutcome, OperatorTable } from "#pool-manager/keys/dynamo-operator-table.ts";
import {
  BUNDLE_ID_BYTES,
  decodeBundleHeader,
  encodeBundleHeader,
  encryptionContextOf,
} from "#protocol/sealed/header.ts";
import { BUNDLE_KEYS_MAX } from "#protocol/sealed/limits.ts";
import {
  createKeyOpener,
  createKeySealer,
  type DerivePubkey,
  type KeyOpener,
  type KeySealer,
} from "#protocol/sealed/sealed-key.ts";
import type { OperatorKms } from "./operator-kms.ts";

/** For whom keys are sealed. */
export interface BundleTarget {
  /** 32 bytes. */
  readonly authority: Uint8Array;
  readonly group: string;
  /** 16 bytes. */
  readonly storeId: Uint8Array;
  readonly generation: number;
  readonly kmsKeyArn: string;
}

/** What it works with. */
export interface BundleWriterModules {
  readonly kms: Pick<OperatorKms, "newDataKey">;
  readonly table: Pick<OperatorTable, "addHeaders" | "addKey">;
  readonly derivePubkey: DerivePubkey;
}

/** Seals and writes. */
export interface BundleWriter {
  /** Data keys made so far. */
  readonly bundles: number;
  /** The secret stays the caller's to wipe. @throws SignerError */
  write(pubkey: Uint8Array, secret: Uint8Array, options: { readonly restore: boolean }): Promise<AddOutcome>;
  /** Wipes the data keys. */
  close(): void;
}

interface Bundle {
  readonly bundleId: Uint8Array;
  readonly sealer: KeySealer;
  readonly opener: KeyOpener;
  /** Keys that may still be sealed, those included that wait for their turn. */
  left: number;
}

/** Makes the writer; nothing is asked of KMS before the first key. */
export const createBundleWriter = (target: BundleTarget, modules: BundleWriterModules): BundleWriter => {
  const begun: Bundle[] = [];
  let current: Promise<Bundle> | undefined;

  const take = async (): Promise<Bundle> => {
    for (;;) {
      current ??= beginBundle(target, modules).then((bundle) => {
        begun.push(bundle);
        return bundle;
      });
      const beginning = current;
      const bundle = await beginning.catch((error: unknown) => {
        if (current === beginning) current = undefined; // the next key may have better luck
        throw error;
      });
      if (bundle.left > 0) {
        bundle.left -= 1;
        return bundle;
      }
      if (current === beginning) current = undefined;
    }
  };

  return {
    get bundles() {
      return begun.length;
    },
    write: async (pubkey, secret, { restore }) => {
      const { bundleId, sealer, opener } = await take();
      const sealed = sealer.seal(pubkey, secret);
      opener.open(pubkey, sealed).fill(0); // it derives the public key and compares
      return modules.table.addKey({ pubkey, bundleId, sealed }, { restore });
    },
    close: () => {
      for (const { sealer, opener } of begun) {
        sealer.close();
        opener.close();
      }
    },
  };
};

const beginBundle = async (
  target: BundleTarget,
  { kms, table, derivePubkey }: BundleWriterModules,
): Promise<Bundle> => {
  const bundleId = new Uint8Array(randomBytes(BUNDLE_ID_BYTES));
  const named = { ...target, kind: "keys", bundleId, wrappedDataKey: new Uint8Array() } as const;
  const { dataKey, wrapped } = await kms.newDataKey(encryptionContextOf(named));
  try {
    const header = { ...named, wrappedDataKey: wrapped };
    const bytes = encodeBundleHeader(header);
    await table.addHeaders([bytes]);
    return {
      bundleId,
      sealer: createKeySealer({ header, dataKey, derivePubkey }),
      opener: createKeyOpener({ header: decodeBundleHeader(bytes), dataKey, derivePubkey }),
      left: BUNDLE_KEYS_MAX,
    };
  } finally {
    dataKey.fill(0);
  }
};

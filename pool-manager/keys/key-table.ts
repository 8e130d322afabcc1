/**
 * What stands in the table of a fleet, as the pool-manager sees it. Everything in it is sealed or signed, and judged in
 * the enclaves: whoever can write the table can deny service, but neither read a key nor change what may be signed.
 */

/** The configuration that is in force, as it was sealed. */
export interface StoredConfiguration {
  /** The document that the authority signed, byte for byte. */
  readonly document: Uint8Array;
  /** Ed25519, 64 bytes. */
  readonly signature: Uint8Array;
  /** Header of the bundle of secrets that the document names by digest. */
  readonly secretsHeader: Uint8Array;
  /** MAC keys and store password under that bundle's data key. */
  readonly sealedSecrets: Uint8Array;
}

/** A key as it lies in the table. */
export interface StoredKey {
  /** 48 bytes. */
  readonly pubkey: Uint8Array;
  /** The secret under its bundle's data key (`protocol/sealed/sealed-key.ts`), 60 bytes. */
  readonly sealed: Uint8Array;
}

/** Keys that one KMS data key sealed, or some of them. */
export interface StoredBundle {
  /** Encoded (`protocol/sealed/header.ts`). */
  readonly header: Uint8Array;
  /** 1..1000. */
  readonly keys: readonly StoredKey[];
}

/** What stands in the table for one group. */
export interface KeyTable {
  /**
   * The configuration; undefined: none was sealed yet.
   * @throws SignerError `unavailable`; `bad_request` when the item is none
   */
  configuration(): Promise<StoredConfiguration | undefined>;
  /**
   * All live keys, bundle by bundle. Nothing is given before everything was read, so a failure midway takes no key away.
   * @throws SignerError `unavailable`
   */
  bundles(): AsyncGenerator<StoredBundle>;
}

/** An item that cannot be used; the others can. */
export interface TableProblem {
  /** The item's sort key: a public key, or the name of a bundle header. */
  readonly item: string;
  /** What was expected and what came. */
  readonly reason: string;
}

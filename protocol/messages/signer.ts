/** What an enclave may sign with, as settings and status name it. */

/**
 * What makes the signatures: `auto` takes the native signer where it was built and `@chainsafe/blst` otherwise, `native`
 * refuses to start without it, `portable` is `@chainsafe/blst`.
 */
export const SIGNER_CHOICES = ["auto", "native", "portable"] as const;

/** One of {@link SIGNER_CHOICES}. */
export type SignerChoice = (typeof SIGNER_CHOICES)[number];

/** What an enclave signs with. */
export const SIGNER_KINDS = ["native", "portable"] as const;

/** One of {@link SIGNER_KINDS}. */
export type SignerKind = (typeof SIGNER_KINDS)[number];

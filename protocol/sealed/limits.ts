/** Sizes of the sealed formats: what a reader takes at most, and why. */

/** Keys that one data key seals; so the KMS opens 100,000 keys in 100 calls. `sealed-key.ts` says why it is safe. */
export const BUNDLE_KEYS_MAX = 1000;
/** Length of a data key in bytes (AES-256; KMS GenerateDataKey with `AES_256`). */
export const DATA_KEY_BYTES = 32;
/** Longest wrapped data key in bytes (AWS KMS API reference, Decrypt: `CiphertextBlob`). */
export const WRAPPED_KEY_BYTES_MAX = 6144;
/** MAC keys in one configuration; a rotation has two. */
export const MAC_KEYS_MAX = 16;
/**
 * Longest configuration document in bytes. A CA file may have 256 KiB, and a little more as JSON text; with the sealed
 * secrets and their header it must fit one DynamoDB item (400 KB, AWS "Quotas in Amazon DynamoDB").
 */
export const CONFIGURATION_BYTES_MAX = 352 * 1024;

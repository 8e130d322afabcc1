/** Helpers of these tests: the addon, built when need be; keys that a seed decides; and what blst itself says. */

import { createHash, randomBytes } from "node:crypto";
import { fileURLToPath } from "node:url";
import { SecretKey } from "@chainsafe/blst";
import { type BuildOptions, build } from "#enclave/native/builder/builder.ts";
import { loadNativeSigner, type NativeSigner, nativeSignerPath } from "#enclave/native/signer.ts";

const fromRoot = (path: string): string => fileURLToPath(new URL(`../../../../${path}`, import.meta.url));

/** What `build.ts` builds from, and where it puts the addon. */
export const buildOptions = (): BuildOptions => ({
  sources: fromRoot("enclave-worker/native/src"),
  blst: fromRoot("node_modules/c-kzg/deps/blst"),
  nodeApi: fromRoot("node_modules/node-api-headers/include"),
  blstList: fromRoot("enclave-worker/native/blst-sources.json"),
  addon: nativeSignerPath(),
  ifNeeded: true,
});

/** The addon of the present sources; undefined, with a word to the reader, where it cannot be built. */
export const openNative = async (): Promise<NativeSigner | undefined> => {
  const built = await build(buildOptions());
  if (built.outcome === "fallback") {
    console.warn(`tests of the native signer are skipped: ${built.reason}`);
    return undefined;
  }
  const loaded = loadNativeSigner();
  if (loaded.kind === "missing") throw new Error(loaded.reason);
  return loaded.signer;
};

/** Decides all chance of a test; printed by whatever fails. Set NATIVE_TEST_SEED to run one again. */
export const SEED = process.env.NATIVE_TEST_SEED ?? randomBytes(8).toString("hex");

/** 32 bytes that the seed and a name decide. */
export const seeded = (name: string): Uint8Array => createHash("sha256").update(`${SEED} ${name}`).digest();

/** A whole number below `limit` that the seed and a name decide. */
export const seededNumber = (limit: number, name: string): number => Buffer.from(seeded(name)).readUInt32LE(0) % limit;

/** A secret key that the seed and a name decide. */
export const seededKey = (name: string): SecretKey => SecretKey.fromKeygen(seeded(name));

/** Imports a key; its handle. */
export const importKey = (signer: NativeSigner, key: SecretKey): number => signer.importKey(key.toBytes());

/** A signature as @chainsafe/blst makes it, in hex. */
export const referenceHex = (key: SecretKey, root: Uint8Array): string => hex(key.sign(root).toBytes(true));

/** Bytes in hex. */
export const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");

/** What stands for "no key there". */
export const NO_SIGNATURE = "00".repeat(96);

/** Signs roots once each; the signatures in hex. */
export const signEach = (
  signer: NativeSigner,
  { roots, handles }: { roots: readonly Uint8Array[]; handles: readonly number[] },
): string[] => {
  const bytes = new Uint8Array(96 * handles.length).fill(0xee);
  signer.signEach(new Uint8Array(Buffer.concat(roots)), Uint32Array.from(handles), bytes);
  return handles.map((_, index) => hex(bytes.subarray(96 * index, 96 * (index + 1))));
};

/** Signs a group; the signatures in hex, and the path taken. */
export const signGroup = (
  signer: NativeSigner,
  { root, handles, expected = 0 }: { root: Uint8Array; handles: readonly number[]; expected?: number },
): { path: number; signatures: string[] } => {
  const bytes = new Uint8Array(96 * handles.length).fill(0xee);
  const path = signer.signGroup(root, Uint32Array.from(handles), bytes, expected);
  return { path, signatures: handles.map((_, index) => hex(bytes.subarray(96 * index, 96 * (index + 1)))) };
};

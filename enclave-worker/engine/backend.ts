/**
 * What makes the signatures of this enclave: the native signer (`../native/`), or `@chainsafe/blst` where it was not
 * built. Whichever it is keeps the secrets.
 */

import { SignerError } from "#protocol/errors.ts";
import type { Logger } from "#protocol/log.ts";
import type { SignerChoice, SignerKind } from "#protocol/messages/signer.ts";
import { type Arena, createSharedArena } from "../keys/arena.ts";
import { createNativeArena } from "../keys/native-arena.ts";
import { knownAnswerTest, loadNativeSigner } from "../native/signer.ts";
import type { ThreadData } from "./thread.ts";

/** A signer, ready for threads. */
export interface SignerBackend {
  readonly kind: SignerKind;
  readonly arena: Arena;
  readonly threadData: ThreadData;
}

/** What opening a signer needs. */
export interface SignerModules {
  readonly logger: Logger;
  /** Another way to the addon, for tests. */
  readonly load?: typeof loadNativeSigner;
}

/**
 * Opens what was chosen and says in the log, in one line, what it is.
 * @throws SignerError `unavailable` when `native` was chosen and is not there; `internal` when a native signer gives
 * other signatures than it must: nothing is signed with it, and nothing is signed instead of it
 */
export const openSigner = (choice: SignerChoice, { logger, load = loadNativeSigner }: SignerModules): SignerBackend => {
  if (choice === "portable") {
    logger.info("signing with @chainsafe/blst", { reason: "--no-native" });
    return openPortable();
  }
  const loaded = load();
  if (loaded.kind === "loaded") {
    const { signer } = loaded;
    knownAnswerTest(signer);
    logger.info("signing with the native signer", { memoryLocked: signer.stats().memoryLocked });
    return { kind: "native", arena: createNativeArena(signer), threadData: { kind: "native" } };
  }
  if (choice === "native") {
    throw new SignerError(
      "unavailable",
      `--require-native: ${loaded.reason}: install a C compiler and run \`npm run build:native\``,
    );
  }
  logger.info("signing with @chainsafe/blst, about 4 times as dear in a slot burst", { reason: loaded.reason });
  return openPortable();
};

const openPortable = (): SignerBackend => {
  const arena = createSharedArena();
  return { kind: "portable", arena, threadData: { kind: "portable", memory: arena.memory } };
};

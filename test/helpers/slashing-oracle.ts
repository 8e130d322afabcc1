/**
 * An independent, naive judge of slashability: it keeps everything that was ever signed and compares each pair, as the
 * consensus spec defines slashable messages. It shares no code with `protocol/slashing/` on purpose.
 * Source: consensus-specs, phase0 `is_slashable_attestation_data` and `process_proposer_slashing`.
 */

/** A message that was signed, as the chain sees it. `root` stands for the message's identity. */
export type SignedMessage =
  | { readonly kind: "block"; readonly slot: number; readonly root: string }
  | { readonly kind: "attestation"; readonly source: number; readonly target: number; readonly root: string };

/** The first pair in the history that would be slashed, in words; undefined when there is none. Quadratic. */
export const findSlashablePair = (history: readonly SignedMessage[]): string | undefined => {
  for (const first of history) {
    for (const second of history) {
      if (isSlashable(first, second)) return `${JSON.stringify(first)} and ${JSON.stringify(second)}`;
    }
  }
  return undefined;
};

const isSlashable = (first: SignedMessage, second: SignedMessage): boolean => {
  if (first.kind === "block" && second.kind === "block") {
    return first.slot === second.slot && first.root !== second.root;
  }
  if (first.kind === "attestation" && second.kind === "attestation") {
    const isDouble = first.target === second.target && first.root !== second.root;
    const isSurround = first.source < second.source && second.target < first.target;
    return isDouble || isSurround;
  }
  return false;
};

/**
 * Reads interchange files of any size (EIP-3076, version 5) in bounded memory, in two passes over the same bytes:
 *
 *   survey           is the file well-formed from its first byte to its last, of which chain, who is malformed in it?
 *   readValidators   the histories, one validator after the other
 *
 * Two, because `metadata` may come after `data`, because a file that breaks off in its middle is refused as a whole, and
 * because nothing is used of a validator with one bad entry among several.
 *
 * Histories are folded to their maxima element by element, however long they are: the highest block slot, the highest
 * source and the highest target of *all* attestations of a validator (perhaps of different ones), and the signing root at
 * the highest slot and target, when all entries there agree on it. Fields that EIP-3076 does not name are ignored.
 */

import { quote } from "../bytes.ts";
import { assertNever, SignerError } from "../errors.ts";
import {
  checkGenesisRoot,
  createFailures,
  type Failures,
  readAttestation,
  readBlock,
  readMetadata,
  readPubkey,
} from "./interchange.ts";
import { createJsonScanner, type JsonHandler, type JsonKind } from "./json-scanner.ts";
import { EMPTY_STATE, merge, type SlashingState } from "./rules.ts";

/** A file's bytes, in chunks of any length. */
export type Chunks = AsyncIterable<Uint8Array> | Iterable<Uint8Array>;

/** What the first pass found. */
export interface Survey {
  /** 32 bytes. */
  readonly genesisValidatorsRoot: Uint8Array;
  /** Elements of `data`, good and bad. */
  readonly entries: number;
  /** Public keys (`0x` hex) of validators with a malformed entry: nothing of them is used. */
  readonly malformed: ReadonlySet<string>;
  readonly failures: Failures;
}

/** Malformed validators that a file may have, some 20 MiB of memory; with more it is another file than was meant. */
export const MALFORMED_VALIDATORS_MAX = 100_000;
/** Bytes that are read at a time, which bounds the entries in memory. */
const SLICE_BYTES = 64 * 1024;

/**
 * The first pass. With `genesisValidatorsRoot`, a file of another chain is refused as soon as that is seen.
 * @throws SignerError `bad_request` when the file as a whole is unusable: not JSON, another shape, version or chain
 */
export const surveyInterchange = async (
  chunks: Chunks,
  { genesisValidatorsRoot }: { genesisValidatorsRoot?: Uint8Array | undefined } = {},
): Promise<Survey> => {
  const malformed = new Set<string>();
  const collected = createFailures();
  const reader = createReader({ genesisValidatorsRoot });
  let entries = 0;
  for await (const entry of reader.read(chunks)) {
    entries += 1;
    if (entry.ok) continue;
    const isNew = entry.pubkeyHex === undefined || !malformed.has(entry.pubkeyHex);
    if (isNew) collected.add({ pubkey: entry.pubkeyHex ?? entry.shown, reason: entry.reason });
    if (entry.pubkeyHex !== undefined) malformed.add(entry.pubkeyHex);
    if (malformed.size > MALFORMED_VALIDATORS_MAX) {
      refuse(`interchange: more than ${MALFORMED_VALIDATORS_MAX} validators are malformed; the last: ${entry.reason}`);
    }
  }
  return { genesisValidatorsRoot: reader.root(), entries, malformed, failures: collected.failures };
};

/**
 * The second pass: public key (`0x` hex) and folded history of each entry, in the order of the file, without the
 * malformed validators. A validator that is listed several times comes several times.
 * @throws SignerError `bad_request` when the bytes are not those that were surveyed
 */
export async function* readValidators(
  chunks: Chunks,
  survey: Survey,
): AsyncGenerator<readonly [string, SlashingState]> {
  const reader = createReader({ genesisValidatorsRoot: survey.genesisValidatorsRoot });
  for await (const entry of reader.read(chunks)) {
    if (entry.ok && !survey.malformed.has(entry.pubkeyHex)) yield [entry.pubkeyHex, entry.state];
    const isKnown = entry.ok || entry.pubkeyHex === undefined || survey.malformed.has(entry.pubkeyHex);
    if (!isKnown) refuse(`interchange: the file changed while it was read: ${entry.reason}`);
  }
  reader.root();
}

/** An element of `data`. Where the public key cannot be read, `shown` stands for it. */
type Entry =
  | { readonly ok: true; readonly pubkeyHex: string; readonly state: SlashingState }
  | { readonly ok: false; readonly pubkeyHex: string | undefined; readonly shown: string; readonly reason: string };

interface Reader {
  read(chunks: Chunks): AsyncGenerator<Entry>;
  /** Of the file that was read. @throws SignerError `bad_request` when it had no metadata or no data */
  root(): Uint8Array;
}

const createReader = (options: { genesisValidatorsRoot: Uint8Array | undefined }): Reader => {
  let ready: Entry[] = [];
  const file = createFileHandler({ ...options, emit: (entry) => ready.push(entry) });
  const scanner = createJsonScanner(file, { what: "interchange" });
  return {
    read: async function* (chunks) {
      for await (const chunk of chunks) {
        for (let start = 0; start < chunk.length; start += SLICE_BYTES) {
          scanner.write(chunk.subarray(start, start + SLICE_BYTES));
          yield* ready;
          ready = [];
        }
      }
      scanner.end();
    },
    root: file.root,
  };
};

/** Where in the file the scanner is: the container it entered last. */
type Place = "start" | "file" | "data" | "validator" | "signed_blocks" | "signed_attestations";

/** What was read of one element of `data`. */
interface Draft {
  state: SlashingState;
  pubkeyHex: string | undefined;
  shown: string;
  /** The first thing that is wrong with it. */
  problem: string | undefined;
  /** The named fields that were there. */
  readonly seen: Set<string>;
}

const VALIDATOR_FIELDS: ReadonlySet<string> = new Set(["pubkey", "signed_blocks", "signed_attestations"]);

const createFileHandler = ({
  genesisValidatorsRoot,
  emit,
}: {
  genesisValidatorsRoot: Uint8Array | undefined;
  emit: (entry: Entry) => void;
}): JsonHandler & { root(): Uint8Array } => {
  let place: Place = "start";
  let field = "";
  let index = 0;
  const seen = new Set<string>();
  let root: Uint8Array | undefined;
  let draft = newDraft(0);

  const finish = (): void => {
    for (const name of VALIDATOR_FIELDS) {
      if (!draft.seen.has(name)) draft.problem ??= `${name}: expected once, it is missing`;
    }
    const { pubkeyHex, state, shown, problem } = draft;
    if (pubkeyHex !== undefined && problem === undefined) emit({ ok: true, pubkeyHex, state });
    else emit({ ok: false, pubkeyHex, shown, reason: problem ?? "pubkey: it is missing" });
  };
  /** What is wrong with one validator is no reason to refuse the others. */
  const attempt = (step: () => void): void => {
    try {
      step();
    } catch (error) {
      if (!(error instanceof SignerError)) throw error;
      draft.problem ??= error.detail;
    }
  };

  const beginMember = (kind: JsonKind): "enter" | "keep" | "skip" => {
    if (field !== "metadata" && field !== "data") return "skip";
    if (seen.has(field)) refuse(`${field}: expected once, it is there again`);
    seen.add(field);
    if (field === "metadata") return "keep";
    if (kind !== "array") refuse(`data: expected an array, got ${nameOf(kind)}`);
    place = "data";
    return "enter";
  };
  const beginEntry = (kind: JsonKind): "enter" | "skip" => {
    draft = newDraft(index);
    index += 1;
    if (kind === "object") {
      place = "validator";
      return "enter";
    }
    draft.problem = `validator: expected an object with a pubkey, got ${nameOf(kind)}`;
    finish();
    return "skip";
  };
  const beginField = (kind: JsonKind): "enter" | "keep" | "skip" => {
    if (!VALIDATOR_FIELDS.has(field)) return "skip";
    if (draft.seen.has(field)) draft.problem ??= `${field}: expected once, it is there again`;
    draft.seen.add(field);
    if (field === "pubkey") return "keep";
    if (kind !== "array") {
      draft.problem ??= `${field}: expected an array, got ${nameOf(kind)}`;
      return "skip";
    }
    place = field as "signed_blocks" | "signed_attestations";
    return "enter";
  };
  const readPubkeyField = (value: unknown): void => {
    attempt(() => {
      const pubkeyHex = readPubkey(value);
      draft.pubkeyHex ??= pubkeyHex;
    });
    if (draft.pubkeyHex === undefined && typeof value === "string") draft.shown = quote(value);
  };

  return {
    begin: (kind) => {
      switch (place) {
        case "start":
          if (kind !== "object") refuse(`interchange: expected an object, got ${nameOf(kind)}`);
          place = "file";
          return "enter";
        case "file":
          return beginMember(kind);
        case "data":
          return beginEntry(kind);
        case "validator":
          return beginField(kind);
        case "signed_blocks":
        case "signed_attestations":
          return "keep";
        default:
          return assertNever(place);
      }
    },
    key: (name) => {
      field = name;
    },
    value: (value) => {
      if (place === "validator") return readPubkeyField(value);
      if (place === "signed_blocks") return attempt(() => fold(draft, { ...EMPTY_STATE, block: readBlock(value) }));
      if (place === "signed_attestations") {
        return attempt(() => fold(draft, { ...EMPTY_STATE, attestation: readAttestation(value) }));
      }
      root = readMetadata(value);
      if (genesisValidatorsRoot !== undefined) checkGenesisRoot(root, genesisValidatorsRoot);
    },
    end: () => {
      if (place === "validator") finish();
      place = OUTER[place];
    },
    root: () => {
      if (root === undefined) return refuse("metadata: expected an object, it is missing");
      return seen.has("data") ? root : refuse("data: expected an array, it is missing");
    },
  };
};

const OUTER = {
  start: "start",
  file: "start",
  data: "file",
  validator: "data",
  signed_blocks: "validator",
  signed_attestations: "validator",
} as const satisfies Record<Place, Place>;

const newDraft = (index: number): Draft => ({
  state: EMPTY_STATE,
  pubkeyHex: undefined,
  shown: `entry ${index} of data`,
  problem: undefined,
  seen: new Set(),
});

const fold = (draft: Draft, item: SlashingState): void => {
  draft.state = merge(draft.state, item);
};

const nameOf = (kind: JsonKind): string =>
  kind === "object" || kind === "array" ? `an ${kind}` : kind === "literal" ? "true, false or null" : `a ${kind}`;

const refuse = (detail: string): never => {
  throw new SignerError("bad_request", detail);
};

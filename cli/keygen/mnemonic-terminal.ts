/**
 * Shows a new mnemonic to a person, once, and asks for some of its words, so that nobody goes on with keys that cannot
 * be made again. It is shown on the terminal's second screen, which leaves nothing behind to scroll back to.
 */

import { randomInt } from "node:crypto";
import { createInterface } from "node:readline/promises";
import { styleText } from "node:util";
import { SignerError } from "#protocol/errors.ts";

/** Where the person sits. */
export interface Terminal {
  readonly input: NodeJS.ReadableStream;
  readonly output: NodeJS.WritableStream;
}

/** Words that are asked for. */
const QUESTIONS = 4;
/** How often the words are shown again after a wrong answer. */
const ATTEMPTS_MAX = 3;
const COLUMNS = 4;
/** Second screen on and off, and an empty one (xterm control sequences, `DECSET 1049` and `ED 2`). */
const [SCREEN_ON, SCREEN_OFF, CLEAR] = ["\x1b[?1049h", "\x1b[?1049l", "\x1b[2J\x1b[H"];

/** @throws SignerError `bad_request` when the words were not confirmed; nothing was made then */
export const confirmMnemonic = async (mnemonic: string, { input, output }: Terminal): Promise<void> => {
  const words = mnemonic.split(" ");
  // No history: arrow-up must not bring back what was typed.
  const lines = createInterface({ input, output, terminal: true, historySize: 0 });
  const stopped = new AbortController();
  lines.once("close", () => stopped.abort());
  lines.once("SIGINT", () => lines.close());
  const ask = (question: string): Promise<string> => lines.question(question, { signal: stopped.signal });
  output.write(SCREEN_ON);
  try {
    for (let attempt = 1; attempt <= ATTEMPTS_MAX; attempt += 1) {
      output.write(`${CLEAR}${page(words, attempt)}`);
      await ask("Press Enter when they are written down: ");
      output.write(CLEAR);
      if (await knowsWords(words, ask)) return;
    }
  } catch (cause) {
    if (!stopped.signal.aborted) throw cause;
  } finally {
    lines.close();
    output.write(`${CLEAR}${SCREEN_OFF}`);
  }
  throw new SignerError("bad_request", "mnemonic: expected some of its words as an answer; nothing was generated");
};

const knowsWords = async (words: readonly string[], ask: (question: string) => Promise<string>): Promise<boolean> => {
  for (const place of pickPlaces(words.length)) {
    const answer = await ask(`Word ${place + 1}: `);
    if (answer.trim().toLowerCase() !== words[place]) return false;
  }
  return true;
};

/** Different places, in ascending order. */
const pickPlaces = (count: number): number[] => {
  const places = new Set<number>();
  while (places.size < QUESTIONS) places.add(randomInt(count));
  return [...places].sort((left, right) => left - right);
};

const page = (words: readonly string[], attempt: number): string => {
  const again = attempt === 1 ? "" : `${styleText("yellow", "That was another word. Here they are again.")}\n\n`;
  const cells = words.map((word, index) => `${String(index + 1).padStart(2)} ${word.padEnd(10)}`);
  const rows = Array.from({ length: Math.ceil(cells.length / COLUMNS) }, (_, row) =>
    cells.slice(row * COLUMNS, (row + 1) * COLUMNS).join(" "),
  );
  return `${again}Your mnemonic. Write it on paper, in this order, and keep it where nobody finds it.
Whoever has it has every key; without it a lost key is lost. It is not shown again.

${rows.join("\n")}

`;
};

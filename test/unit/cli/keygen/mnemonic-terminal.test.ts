/** A person at a terminal: sees the words once, proves to have them, or gets no keys. */

import { PassThrough } from "node:stream";
import { stripVTControlCharacters } from "node:util";
import { describe, expect, it } from "vitest";
import { newMnemonic } from "../../../../cli/keygen/mnemonic.ts";
import { confirmMnemonic } from "../../../../cli/keygen/mnemonic-terminal.ts";

const [SCREEN_ON, SCREEN_OFF] = ["\x1b[?1049h", "\x1b[?1049l"];

/** Somebody who reads what is shown and answers each question. */
const personWho = (answer: (question: { place: number; word: string; shown: number }) => string) => {
  const [input, output] = [new PassThrough(), new PassThrough()];
  let text = "";
  let shown = 0;
  let words: string[] = [];
  let asked: number[] = [];
  const rounds: number[][] = [];
  let read = 0;
  output.setEncoding("utf8").on("data", (chunk: string) => {
    text += chunk;
    // Node's line editor writes a prompt in one piece; each is answered once.
    const plain = stripVTControlCharacters(text.slice(read));
    if (/written down: $/.test(plain)) {
      shown += 1;
      words = [...plain.matchAll(/(\d+) ([a-z]+)/g)].map((match) => match[2] as string);
      asked = [];
      rounds.push(asked);
      read = text.length;
      input.write("\r");
    }
    const place = Number(/Word (\d+): $/.exec(plain)?.[1] ?? 0);
    if (place > 0) {
      asked.push(place);
      read = text.length;
      const typed = answer({ place, word: words[place - 1] as string, shown });
      input.write(typed);
    }
  });
  return { input, output, text: () => text, shown: () => shown, words: () => words, rounds };
};

const mnemonic = newMnemonic();

describe("a new mnemonic", () => {
  it("is shown whole on the second screen, and confirmed by four of its words", async () => {
    const person = personWho(({ word }) => `${word}\r`);
    await confirmMnemonic(mnemonic, person);
    expect(person.words().join(" ")).toBe(mnemonic);
    expect(person.shown()).toBe(1);
    expect(person.rounds.length).toBe(1);
    const [asked] = person.rounds as [number[]];
    expect(new Set(asked).size).toBe(4);
    expect(asked).toEqual([...asked].sort((left, right) => left - right));
    // Everything that shows a word is between the two switches, and the last thing before the end is an empty screen.
    const text = person.text();
    expect(text.indexOf(SCREEN_ON)).toBeLessThan(text.indexOf(mnemonic.split(" ")[0] as string));
    expect(text.endsWith(`\x1b[2J\x1b[H${SCREEN_OFF}`)).toBe(true);
  });

  it("takes answers in any case and with blanks", async () => {
    await confirmMnemonic(
      mnemonic,
      personWho(({ word }) => `  ${word.toUpperCase()} \r`),
    );
  });

  it("is shown again after a wrong word", async () => {
    const person = personWho(({ word, shown }) => (shown === 1 ? "wrong\r" : `${word}\r`));
    await confirmMnemonic(mnemonic, person);
    expect(person.shown()).toBe(2);
    expect(stripVTControlCharacters(person.text())).toContain("That was another word. Here they are again.");
  });

  it.each([
    ["three wrong answers", () => "wrong\r", 3],
    ["empty answers", () => "\r", 3],
    ["Ctrl-C", () => "\x03", 1],
    ["Ctrl-D", () => "\x04", 1],
  ])("is given up after %s, and the screen is given back", async (_what, answer, shown) => {
    const person = personWho(answer);
    await expect(confirmMnemonic(mnemonic, person)).rejects.toThrow(/nothing was generated/);
    expect(person.shown()).toBe(shown);
    expect(person.text().endsWith(SCREEN_OFF)).toBe(true);
  });

  it("is given up when the terminal goes away", async () => {
    const person = personWho(() => "");
    const confirmed = confirmMnemonic(mnemonic, person);
    setTimeout(() => person.input.end(), 50);
    await expect(confirmed).rejects.toThrow(/nothing was generated/);
  });
});

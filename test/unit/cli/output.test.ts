import { expect, it } from "vitest";
import { createProgress } from "../../../cli/output.ts";

const show = (isTTY: boolean, updates: readonly (readonly [number, number])[]): string => {
  let text = "";
  const stream = { isTTY, write: (part: string) => (text += part) } as unknown as NodeJS.WriteStream;
  const progress = createProgress("opening keys", stream);
  for (const [done, total] of updates) progress.update(done, total);
  progress.end();
  return text;
};
const upTo = (total: number) => Array.from({ length: total }, (_, index) => [index + 1, total] as const);

it("a log gets a line every tenth, none for nothing, and the last one at the end", () => {
  const lines = show(false, upTo(10_000)).trimEnd().split("\n");
  expect(lines).toHaveLength(10);
  expect(lines[0]).toBe("opening keys: 1,000 of 10,000");
  expect(lines.at(-1)).toBe("opening keys: 10,000 of 10,000");
});

it.each([1, 3, 7, 1025])("a log of %i ends complete", (total) => {
  expect(show(false, upTo(total))).toMatch(
    new RegExp(`opening keys: ${total.toLocaleString("en")} of ${total.toLocaleString("en")}\n$`),
  );
});

it("a terminal gets its bar at once and ends complete", () => {
  expect(show(true, [[0, 10_000]])).toContain("0 of 10,000");
  expect(show(true, upTo(2000))).toMatch(/2,000 of 2,000 \n$/);
});

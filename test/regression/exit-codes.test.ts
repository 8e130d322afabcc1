/** Wrong options ended with 1, as every failure does: a script could not tell its own mistakes. */

import { afterAll, expect, it } from "vitest";
import { createTestbed } from "../helpers/testudo.ts";

const bed = createTestbed();
afterAll(() => bed.close());

it.each([
  [["up", "--prot", "1"], 2],
  [["up", "--port", "65536"], 2],
  [["nothing"], 2],
  [["slashing", "import"], 2],
  [["up", "--network", "nowhere"], 2],
  [["--help"], 0],
  [["slashing", "--help"], 0],
])("testudo %j exits with %i", async (args, code) => {
  expect((await bed.run(...args)).code).toBe(code);
});

/** The C programs that look at the native signer from inside: its own checks, and valgrind's view of its secrets. */

import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { compilerVersion } from "#enclave/native/builder/compiler.ts";
import { type Mutation, runProgram, withProgram } from "./c-program.ts";
import { SEED } from "./native.ts";

const pathOf = (name: string): string => fileURLToPath(new URL(name, import.meta.url));
const NATIVE = "../../../../enclave-worker/native";

const hasCompiler = (await compilerVersion()) !== undefined;
const hasValgrind =
  hasCompiler &&
  existsSync("/usr/include/valgrind/memcheck.h") &&
  (await runProgram("valgrind", ["--version"]).catch(() => undefined))?.code === 0;
if (!hasCompiler) console.warn("checks in C are skipped: no C compiler");
else if (!hasValgrind) console.warn("the constant-time check is skipped: no valgrind, or no valgrind/memcheck.h");

/** Programs are compiled and run, on a machine that may be busy. */
const TIMEOUT_MS = 120_000;

describe.skipIf(!hasCompiler)("the native signer from inside", { timeout: TIMEOUT_MS }, () => {
  test("multiplies alike both ways, wipes what it used, and keeps its arena in order", async () => {
    await withProgram(pathOf("./self-check.c"), async (make) => {
      expect(await runProgram(await make(), [SEED]), `seed ${SEED}`).toEqual({ code: 0, output: "" });
    });
  });
});

/** Exit code of valgrind when it reported something. */
const REPORTED = 9;
const WAYS = ["blst", "comb", "import"] as const;

const underValgrind = (program: string, way: string) =>
  runProgram("valgrind", [
    ...["-q", `--error-exitcode=${REPORTED}`, `--suppressions=${pathOf(`${NATIVE}/constant-time/accepted.supp`)}`],
    ...[program, way],
  ]);

/** Code as somebody might write it who does not think of caches and branch predictors. */
const LEAKS: readonly { name: string; way: (typeof WAYS)[number]; report: RegExp; mutation: Mutation }[] = [
  {
    name: "a table entry found by its index",
    way: "comb",
    report: /Use of uninitialised value/,
    mutation: {
      unit: "comb_multiply",
      from: "    memcpy(chosen, found, sizeof found);",
      to: "    *chosen = entries[wanted];",
    },
  },
  {
    name: "a scan that stops at the entry it wants",
    way: "comb",
    report: /Conditional jump or move/,
    mutation: {
      unit: "comb_multiply",
      from: "        lanes both = {mask, mask};",
      to: "        lanes both = {mask, mask};\n        if (number > wanted) break;",
    },
  },
  {
    name: "a branch on the scalar's lowest bit",
    way: "comb",
    report: /Conditional jump or move/,
    mutation: {
      unit: "comb_multiply",
      from: "    load_limbs(k, scalar);",
      to: '    load_limbs(k, scalar);\n    if (k[0] & 1) __asm__ __volatile__("nop");',
    },
  },
  {
    name: "a point negated only when it has to be",
    way: "comb",
    report: /Conditional jump or move/,
    mutation: {
      unit: "comb_multiply",
      from: "    blst_fp2_cneg(&chosen->y",
      to: "    if ((negative ^ signs->negate) & 1) blst_fp2_cneg(&chosen->y",
    },
  },
  {
    name: "a zero denominator skipped",
    way: "comb",
    report: /Conditional jump or move/,
    mutation: {
      unit: "affine_batch",
      from: "        denominator->fp[0].l[0] |= zero & 1;",
      to: "        if (zero) denominator->fp[0].l[0] = 1;",
    },
  },
  {
    name: "small scalars multiplied sooner",
    way: "blst",
    report: /Use of uninitialised value/,
    mutation: {
      unit: "multiply",
      from: "scalar->b, SCALAR_BITS);",
      to: "scalar->b, scalar->b[31] == 0 ? 248 : SCALAR_BITS);",
    },
  },
  {
    name: "a key imported another way when it is odd",
    way: "import",
    report: /Conditional jump or move/,
    mutation: {
      unit: "arena",
      from: "        slot->named = true;",
      to: '        slot->named = true;\n        if (scalar->b[0] & 1) __asm__ __volatile__("nop");',
    },
  },
];

describe.skipIf(!hasValgrind)("the constant-time check", () => {
  test(
    "finds no branch and no address that depends on a secret, and finds each that is put in",
    { timeout: TIMEOUT_MS },
    () =>
      withProgram(pathOf(`${NATIVE}/constant-time/check.c`), async (make) => {
        const program = await make();
        const results = await Promise.all(WAYS.map((way) => underValgrind(program, way)));
        expect(results).toEqual(WAYS.map(() => ({ code: 0, output: "" })));
        for (const { name, way, report, mutation } of LEAKS) {
          const { code, output } = await underValgrind(await make(mutation), way);
          expect(code, name).toBe(REPORTED);
          expect(output, name).toMatch(report);
        }
      }),
  );
});

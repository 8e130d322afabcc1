/** The architecture as a program checks it: who may import whom, what the enclave trusts, what every file keeps to. */

import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));
const FOLDERS = ["protocol", "enclave-worker", "pool-manager", "gateway", "infra", "cli"] as const;
type Folder = (typeof FOLDERS)[number];

/** The aliases of package.json's `imports`, which are the only ways from folder to folder. */
const ALIASES = {
  "#protocol/": "protocol/",
  "#enclave/": "enclave-worker/",
  "#pool-manager/": "pool-manager/",
  "#gateway/": "gateway/",
  "#infra/": "infra/",
} as const;

/** What each folder may import from others: a folder, or single files. */
const MAY_IMPORT = {
  protocol: [],
  "enclave-worker": ["protocol/"],
  "pool-manager": ["protocol/"],
  gateway: ["protocol/", "pool-manager/pool.ts", "pool-manager/pool-port.ts"],
  infra: ["protocol/"],
  cli: ["protocol/", "enclave-worker/", "pool-manager/", "gateway/", "infra/"],
} as const satisfies Record<Folder, readonly string[]>;

/** Packages inside the enclave: its trusted computing base beside Node itself. ARCHITECTURE.md says why each. */
const TRUSTED_PACKAGES = [
  "@aws-sdk/client-kms",
  "@chainsafe/bls-keystore",
  "@chainsafe/blst",
  "@chainsafe/persistent-merkle-tree",
  "@chainsafe/ssz",
  "@lodestar/params",
  "@lodestar/types",
  "@peculiar/asn1-cms",
  "@peculiar/asn1-schema",
  "cborg",
  "ioredis",
  "piscina",
];

const LINES_MAX = 400;

const sourcesIn = (folder: string): string[] =>
  readdirSync(join(ROOT, folder), { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".ts"))
    .map((name) => join(folder, name))
    .sort();

const read = (file: string): string => readFileSync(join(ROOT, file), "utf8");

/** Module names of static and dynamic imports, re-exports and `new URL("./x.ts", import.meta.url)`. */
const importsOf = (file: string): string[] => {
  const text = read(file);
  const patterns = [
    /^(?:import|export)\b[^"';]*?from\s+"([^"]+)"/gms,
    /^import\s+"([^"]+)"/gm,
    /\bimport\("([^"]+)"\)/g,
    /new URL\("([^"]+\.ts)", import\.meta\.url\)/g,
  ];
  return patterns.flatMap((pattern) => [...text.matchAll(pattern)].map((match) => match[1] as string));
};

/** The project file an import leads to; undefined for packages and Node's modules. */
const resolveImport = (file: string, name: string): string | undefined => {
  if (name === "#pool") return "pool-manager/pool.ts";
  for (const [alias, folder] of Object.entries(ALIASES)) {
    if (name.startsWith(alias)) return folder + name.slice(alias.length);
  }
  return name.startsWith(".") ? relative(ROOT, join(ROOT, dirname(file), name)) : undefined;
};

const packageOf = (name: string): string =>
  name
    .split("/")
    .slice(0, name.startsWith("@") ? 2 : 1)
    .join("/");

/** Files and packages that are loaded with `entry`; `at start`: without those that it imports later. */
const closureOf = (
  entry: string,
  { which = "all" }: { which?: "all" | "at start" } = {},
): { files: Set<string>; packages: Set<string> } => {
  const files = new Set<string>();
  const packages = new Set<string>();
  const visit = (file: string): void => {
    if (files.has(file)) return;
    files.add(file);
    const later = which === "all" ? [] : [...read(file).matchAll(/\bimport\("([^"]+)"\)/g)].map((match) => match[1]);
    for (const name of importsOf(file)) {
      if (later.includes(name)) continue;
      const target = resolveImport(file, name);
      if (target !== undefined) visit(target);
      else if (!name.startsWith("node:")) packages.add(packageOf(name));
    }
  };
  visit(entry);
  return { files, packages };
};

const sources = FOLDERS.flatMap(sourcesIn);
/** The bench composes everything, as the tests do; its files keep to the same form. */
const written = [...sources, ...sourcesIn("bench")];

describe("imports", () => {
  test.each(sources)("%s keeps to its folder's way out", (file) => {
    const folder = file.split("/")[0] as Folder;
    for (const name of importsOf(file)) {
      const target = resolveImport(file, name);
      if (target === undefined || target.startsWith(`${folder}/`)) continue;
      const allowed: readonly string[] = MAY_IMPORT[folder];
      expect(
        allowed.some((prefix) => target.startsWith(prefix)),
        `${file} imports ${name}`,
      ).toBe(true);
      // A thread or process entry is named by URL; everything else crosses folders by alias alone.
      if (!read(file).includes(`new URL("${name}"`)) expect(name, `${file} leaves its folder`).toMatch(/^#/);
    }
  });

  test("package.json's imports map is the one checked here", () => {
    const { imports } = JSON.parse(read("package.json")) as { imports: Record<string, string> };
    const expected = Object.entries(ALIASES).map(([alias, folder]) => [`${alias}*`, `./${folder}*`]);
    expect(imports).toEqual({ ...Object.fromEntries(expected), "#pool": "./pool-manager/pool.ts" });
  });

  test("there is something to check", () => {
    expect(sources.length).toBeGreaterThan(80);
    expect(importsOf("enclave-worker/main.ts").length).toBeGreaterThan(3);
  });
});

describe("the enclave's trusted computing base", () => {
  const { files, packages } = closureOf("enclave-worker/main.ts");

  test("is protocol/ and enclave-worker/ alone", () => {
    for (const file of files) expect(file).toMatch(/^(protocol|enclave-worker)\//);
  });

  test("has exactly the packages that ARCHITECTURE.md names", () => {
    expect([...packages].sort()).toEqual(TRUSTED_PACKAGES);
    const architecture = read("ARCHITECTURE.md");
    for (const name of packages) expect(architecture).toContain(`\`${name}\``);
  });

  test("loads the way to KMS in attested mode alone: it takes some 38 MiB", () => {
    const atStart = closureOf("enclave-worker/main.ts", { which: "at start" });
    expect(packages.has("@aws-sdk/client-kms")).toBe(true);
    expect([...atStart.packages].filter((name) => /^@aws-sdk|^@peculiar|^cborg/.test(name))).toEqual([]);
  });

  test("has no file in enclave-worker/ that neither it nor the build of its native part loads", () => {
    const built = closureOf("enclave-worker/native/build.ts").files;
    expect(sourcesIn("enclave-worker").filter((file) => !files.has(file) && !built.has(file))).toEqual([]);
  });
});

describe("the gateway", () => {
  test("loads no SSZ, no keys and no store", () => {
    const { packages } = closureOf("gateway/server.ts");
    expect([...packages].sort()).toEqual(["@prometheus-io/client", "fastify"]);
    expect([...closureOf("pool-manager/pool.ts").packages]).toEqual([]);
  });
});

describe("every source file", () => {
  test.each(written)("%s opens with a comment, documents its exports, and is short", (file) => {
    const text = read(file);
    expect(text.split("\n").length, "lines").toBeLessThanOrEqual(LINES_MAX);
    expect(text.startsWith("/**"), "module comment").toBe(true);
    const lines = text.split("\n");
    for (const [index, line] of lines.entries()) {
      if (!/^export (?:const|interface|type|class|function|async function|function\*)/.test(line)) continue;
      const before = lines[index - 1] ?? "";
      expect(before.trimEnd().endsWith("*/"), `${file}:${index + 1} has no doc comment: ${line}`).toBe(true);
    }
  });

  test.each(sources)("%s reads no clock, chance or environment of its own", (file) => {
    if (file.startsWith("cli/") || file.endsWith("/main.ts")) return;
    expect(read(file)).not.toMatch(/process\.(env\.(?!PATH\b)|argv)|Math\.random\(\)/);
  });

  test.each(written)("%s has no path or mark that does not belong there", (file) => {
    expect(read(file)).not.toMatch(/\.\.\/shared|\/work\/|\bTODO\b|\bFIXME\b/);
  });
});

describe("package.json", () => {
  const manifest = JSON.parse(read("package.json")) as Record<string, Record<string, string>>;

  test("has exact versions only", () => {
    for (const group of ["dependencies", "devDependencies", "optionalDependencies"]) {
      for (const version of Object.values(manifest[group] ?? {})) expect(version).toMatch(/^\d+\.\d+\.\d+$/);
    }
  });

  test("names every package in ARCHITECTURE.md", () => {
    const architecture = read("ARCHITECTURE.md");
    for (const group of ["dependencies", "devDependencies"]) {
      for (const name of Object.keys(manifest[group] ?? {})) expect(architecture, name).toContain(`\`${name}\``);
    }
  });
});

/** `testudo slashing`: initialise the protection store, move histories in and out (EIP-3076, version 5). */

import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { Command } from "commander";
import { describeStore } from "#pool-manager/config.ts";
import { listStoredKeys } from "#pool-manager/keys/key-store.ts";
import { toHex } from "#protocol/bytes.ts";
import { SignerError } from "#protocol/errors.ts";
import { exportFromStore, type ImportModules, mergeIntoStore } from "#protocol/slashing/import.ts";
import { INTERCHANGE_BYTES_MAX, parseInterchange, renderInterchange } from "#protocol/slashing/interchange.ts";
import { addStoreOptions, networkOf, type StoreOptionValues, storeLocationOf } from "./options.ts";
import { createProgress } from "./output.ts";
import { openProtection } from "./protection-store.ts";

/** The command. */
export const slashingCommand = (): Command =>
  new Command("slashing")
    .description("Look after the slashing protection store (works while the pool runs, and while it does not).")
    .addCommand(
      addStoreOptions(new Command("init"))
        .description("Mark an empty store as this installation's; `up` does it by itself on the first start.")
        .action(init),
    )
    .addCommand(
      addStoreOptions(new Command("import"))
        .description("Merge an EIP-3076 interchange file by maxima; nothing is ever lowered.")
        .argument("<file>", "interchange file (JSON)")
        .action(importFile),
    )
    .addCommand(
      addStoreOptions(new Command("export"))
        .description("Write an EIP-3076 interchange file of all validators.")
        .argument("[file]", "file to write; standard output without it")
        .action(exportFile),
    );

const init = async (values: StoreOptionValues): Promise<void> => {
  await withProtection(values, { initialise: true }, async ({ root, created }) => {
    const where = describeStore(storeLocationOf(values.store));
    const verb = created ? "initialised" : "is already initialised";
    process.stdout.write(`slashing protection in ${where} ${verb} for the chain ${toHex(root)}\n`);
  });
};

const importFile = async (file: string, values: StoreOptionValues): Promise<void> => {
  const bytes = readInterchange(file);
  await withProtection(values, { initialise: true }, async (modules) => {
    const { validators, failures: malformed } = parseInterchange(bytes, { genesisValidatorsRoot: modules.root });
    const progress = createProgress("importing validators");
    const onProgress = (done: number): void => progress.update(done, validators.size);
    const registered = registeredKeys(values.data);
    const mayCreate = (pubkeyHex: string): boolean => !registered.has(pubkeyHex);
    const report = await mergeIntoStore(modules, validators, { mayCreate, onProgress });
    progress.end();
    const failures = [...malformed, ...report.failures];
    for (const { pubkey, reason } of failures) process.stderr.write(`not imported: ${pubkey}: ${reason}\n`);
    process.stdout.write(`${report.imported.length} validators imported, ${failures.length} failed\n`);
    if (failures.length > 0) process.exitCode = 1;
  });
};

const exportFile = async (file: string | undefined, values: StoreOptionValues): Promise<void> => {
  await withProtection(values, { initialise: false }, async (modules) => {
    const { validators, failures } = await exportFromStore(modules);
    const text = renderInterchange(validators, { genesisValidatorsRoot: modules.root });
    if (file === undefined) process.stdout.write(text);
    else writeFileSync(resolve(file), text, { mode: 0o600 });
    for (const { pubkey, reason } of failures) process.stderr.write(`not exported: ${pubkey}: ${reason}\n`);
    process.stderr.write(
      `${validators.size} validators exported. Keys that still sign here outrun this file: stop Testudo before you ` +
        "move them elsewhere.\n",
    );
    if (failures.length > 0) process.exitCode = 1;
  });
};

/** Public keys, `0x` hex, that have had a record: one that is absent was lost. */
const registeredKeys = (data: string): ReadonlySet<string> => {
  const path = join(data, "keys.sqlite");
  const keys = existsSync(path) ? listStoredKeys(path) : [];
  return new Set(keys.filter(({ registered }) => registered).map(({ pubkey }) => toHex(pubkey)));
};

const withProtection = async (
  values: StoreOptionValues,
  options: { initialise: boolean },
  task: (modules: ImportModules & { root: Uint8Array; created: boolean }) => Promise<void>,
): Promise<void> => {
  const protection = await openProtection(values, { ...options, network: networkOf(values) });
  try {
    await task(protection);
  } finally {
    await protection.close();
  }
};

const readInterchange = (file: string): Uint8Array => {
  let bytes: Uint8Array;
  try {
    bytes = readFileSync(file);
  } catch (cause) {
    throw new SignerError("bad_request", `${file}: cannot be read`, { cause });
  }
  if (bytes.length > INTERCHANGE_BYTES_MAX) {
    throw new SignerError(
      "bad_request",
      `${file}: expected at most ${INTERCHANGE_BYTES_MAX} bytes, got ${bytes.length}`,
    );
  }
  return bytes;
};

/**
 * A consensus `config.yaml` (consensus-specs `configs/`, as devnets publish it): the few members that signing needs,
 * strictly. YAML 1.2 with the failsafe schema: every scalar stays text, so that `0x…` is not turned into a number.
 */

import { parse } from "yaml";
import { SignerError } from "../errors.ts";
import { type JsonObject, ownMember, readBytes, readObject, refuse } from "./json.ts";
import { type NetworkConstants, PRESETS } from "./named-networks.ts";

/** Longest accepted file in characters. Mainnet's is about 8 KiB. */
const FILE_CHARACTERS_MAX = 256 * 1024;
/** Longest slot in milliseconds; the longest in use is 12 s. */
const SLOT_MS_MAX = 3_600_000;

/** What a config.yaml says; its `CONFIG_NAME` is optional there. */
export interface NetworkFile extends NetworkConstants {
  readonly name?: string;
}

/**
 * Reads the text of a config.yaml; unknown members are ignored (there are some hundred).
 * @param file its path, for error texts
 * @throws SignerError `bad_request` naming the file and the member
 */
export const parseNetworkFile = (text: string, file: string): NetworkFile => {
  const members = readObject(parseYaml(text, file), file);
  const version = (fork: string) => readVersion(members, { file, member: `${fork}_FORK_VERSION` });
  const name = ownMember(members, "CONFIG_NAME");
  const base = ownMember(members, "PRESET_BASE");
  return {
    ...(typeof name === "string" && name !== "" && { name }),
    preset: PRESETS.find((preset) => preset === base) ?? refuse(`${file}: PRESET_BASE`, PRESETS.join(" or "), base),
    forkVersions: [version("GENESIS"), version("ALTAIR"), version("BELLATRIX"), version("CAPELLA")],
    secondsPerSlot: readSlotMs(members, file) / 1000,
  };
};

const parseYaml = (text: string, file: string): unknown => {
  if (text.length > FILE_CHARACTERS_MAX) {
    throw new SignerError(
      "bad_request",
      `${file}: expected at most ${FILE_CHARACTERS_MAX} characters, got ${text.length}`,
    );
  }
  try {
    return parse(text, { schema: "failsafe", maxAliasCount: 0, logLevel: "error" });
  } catch (cause) {
    throw new SignerError("bad_request", `${file}: expected YAML, got something else`, { cause });
  }
};

const readVersion = (members: JsonObject, { file, member }: { file: string; member: string }): string => {
  const text = ownMember(members, member);
  readBytes(text, `${file}: ${member}`, 4);
  return text as string;
};

/** `SLOT_DURATION_MS` replaces `SECONDS_PER_SLOT` (consensus specs since Fulu); files that have both must agree. */
const readSlotMs = (members: JsonObject, file: string): number => {
  const seconds = ownMember(members, "SECONDS_PER_SLOT");
  const ms = ownMember(members, "SLOT_DURATION_MS");
  if (ms === undefined)
    return readPositive(seconds, { path: `${file}: SECONDS_PER_SLOT`, max: SLOT_MS_MAX / 1000 }) * 1000;
  const slotMs = readPositive(ms, { path: `${file}: SLOT_DURATION_MS`, max: SLOT_MS_MAX });
  if (seconds !== undefined && String(slotMs) !== `${seconds}000`) {
    return refuse(`${file}: SECONDS_PER_SLOT`, `${slotMs / 1000} as in SLOT_DURATION_MS`, seconds);
  }
  return slotMs;
};

const readPositive = (text: unknown, { path, max }: { path: string; max: number }): number => {
  const value = typeof text === "string" && /^[1-9][0-9]{0,9}$/.test(text) ? Number(text) : Number.NaN;
  return value <= max ? value : refuse(path, `1..${max}`, text);
};

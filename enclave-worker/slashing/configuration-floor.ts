/**
 * The store's marker remembers the least configuration version that is still allowed, so that nobody can bring back an
 * older document, signed as it is, with a laxer policy. Under a sealed configuration nothing at all is signed before a
 * verified marker has allowed its version, and nothing any more once it asks for a later one.
 */

import { SignerError } from "#protocol/errors.ts";
import { type Configuration, checkConfigurationVersion } from "#protocol/sealed/configuration.ts";
import type { MacKeys } from "#protocol/slashing/mac.ts";
import { decodeMarker } from "#protocol/slashing/marker.ts";
import type { MarkerKeeper } from "./marker-keeper.ts";

/** Whether the configuration is still the one to sign under. */
export interface ConfigurationFloor {
  /**
   * Looks at the marker, and makes it ask for this version from now on.
   * @throws SignerError `bad_request` when it asks for a later one, `unavailable | unknown_outcome` without an answer
   */
  hold(): Promise<void>;
  /** @throws SignerError `store_suspect` before the first marker that allows it, `bad_request` after one that does not */
  requireHeld(): void;
  /** Looks again in the background; an answer that does not come changes nothing. */
  look(): void;
}

/** Other enclaves change the marker, too: each change is a new look. */
const ATTEMPTS_MAX = 10;

/** Makes the floor; nothing is read before `hold`. */
export const createConfigurationFloor = (
  configuration: Configuration,
  { keeper, macKeys }: { readonly keeper: () => MarkerKeeper; readonly macKeys: MacKeys },
): ConfigurationFloor => {
  let problem: SignerError | undefined = new SignerError("store_suspect", NOT_PROVEN);
  let looking = false;

  /** Whether the marker allows the version and asks for no less; false: it has changed meanwhile. */
  const attempt = async (): Promise<boolean> => {
    const found = await keeper().find();
    // Absent or unverifiable: the protection's to judge, and no proof of anything. What was proven stays so.
    if (found.kind === "absent") return true;
    const decoded = found.kind === "ok" ? found : decodeMarker(found.bytes, macKeys);
    if (!("marker" in decoded)) return true;
    const minimum = decoded.marker.configVersionMin;
    try {
      checkConfigurationVersion(configuration, { minimum });
    } catch (error) {
      if (error instanceof SignerError) problem = error;
      throw error;
    }
    if (found.kind !== "ok") return true;
    const { version } = configuration;
    const stands =
      minimum === version || (await keeper().replace(found, { ...found.marker, configVersionMin: version }));
    if (stands) problem = undefined;
    return stands;
  };

  const hold = async (): Promise<void> => {
    for (let attempts = 0; attempts < ATTEMPTS_MAX; attempts += 1) if (await attempt()) return;
    throw new SignerError("unavailable", "marker: changed at every look, try again");
  };

  return {
    hold,
    requireHeld: () => {
      if (problem !== undefined) throw problem;
    },
    look: () => {
      if (looking) return;
      looking = true;
      hold()
        .catch(() => undefined)
        .finally(() => (looking = false));
    },
  };
};

const NOT_PROVEN =
  "the slashing store has no marker that this configuration can verify, so nothing tells whether it is the newest: " +
  "use the newest configuration, or find out what happened to the store and run `testudo slashing recover`";

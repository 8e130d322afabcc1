/** All scenarios by name. */

import type { Scenario } from "./scenario.ts";
import { distinct } from "./scenarios/distinct.ts";
import { latency } from "./scenarios/latency.ts";
import { scale } from "./scenarios/scale.ts";
import { slotBurst } from "./scenarios/slot-burst.ts";
import { slotMix } from "./scenarios/slot-mix.ts";
import { soak } from "./scenarios/soak.ts";
import { startup } from "./scenarios/startup.ts";
import { stores } from "./scenarios/stores.ts";

/** One of {@link SCENARIOS}. */
export type ScenarioName = "slot-burst" | "slot-mix" | "distinct" | "latency" | "startup" | "soak" | "scale" | "stores";

/** In the order of the list. */
export const SCENARIOS: Readonly<Record<ScenarioName, Scenario>> = {
  "slot-burst": slotBurst,
  "slot-mix": slotMix,
  distinct,
  latency,
  startup,
  soak,
  scale,
  stores,
};

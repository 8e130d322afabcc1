/** The phases of an enclave and what each accepts: nothing is signed before everything was verified. */

import { SignerError } from "#protocol/errors.ts";
import { CONTROL_OPERATIONS, type EnclavePhase } from "#protocol/messages/control.ts";

/** Names of control operations. */
export type ControlOperation = keyof typeof CONTROL_OPERATIONS;

const KEY_OPERATIONS = [
  "openKeystore",
  "openSecret",
  "generateKey",
  "loadKeys",
  "removeKeys",
  "activate",
  "open",
] as const satisfies ControlOperation[];

const OPERATOR_OPERATIONS = [
  "operate",
  "floors",
  "keepFloors",
  "refresh",
  "macKeys",
] as const satisfies ControlOperation[];

const DEVELOPMENT = [...KEY_OPERATIONS, ...OPERATOR_OPERATIONS, "status", "drain"] as const;

/** Neither secrets nor MAC keys are the parent's to give: keys come in bundles, MAC keys with the configuration. */
const ATTESTED = [
  "loadBundle",
  "removeKeys",
  "activate",
  "open",
  "operate",
  "floors",
  "keepFloors",
  "refresh",
  "status",
  "drain",
] as const satisfies ControlOperation[];

/** How an enclave was configured, for its whole life. */
export type EnclaveMode = "development" | "attested";

/** Control operations that each phase accepts. `status` and `drain` are always welcome. */
const ACCEPTED = {
  booting: { development: ["configure", "configureSealed", "status", "drain"], attested: ["status", "drain"] },
  provisioning: { development: DEVELOPMENT, attested: ATTESTED },
  ready: { development: DEVELOPMENT, attested: ATTESTED },
  draining: { development: ["status", "drain"], attested: ["status", "drain"] },
} as const satisfies Record<EnclavePhase, Record<EnclaveMode, readonly ControlOperation[]>>;

const OPERATION_NAMES = new Map<number, ControlOperation>(
  Object.entries(CONTROL_OPERATIONS).map(([name, number]) => [number, name as ControlOperation]),
);

/** Where an enclave stands. */
export interface PhaseMachine {
  readonly current: EnclavePhase;
  /** Moves on; going back is a defect. */
  advance(to: EnclavePhase): void;
  /** From booting to provisioning, in a mode that stays. */
  configured(mode: EnclaveMode): void;
  /** The name of a control operation that this phase accepts. @throws SignerError `protocol_violation | unavailable` */
  admit(operation: number): ControlOperation;
  /** @throws SignerError `unavailable` unless the enclave is ready to sign */
  requireReady(): void;
}

const ORDER = Object.keys(ACCEPTED) as EnclavePhase[];

/** A machine in phase `booting`. */
export const createPhaseMachine = (): PhaseMachine => {
  let current: EnclavePhase = "booting";
  let mode: EnclaveMode = "development";
  const advance = (to: EnclavePhase): void => {
    if (ORDER.indexOf(to) < ORDER.indexOf(current)) throw new Error(`phase ${current} cannot go back to ${to}`);
    current = to;
  };
  return {
    get current() {
      return current;
    },
    advance,
    configured: (as) => {
      if (current !== "booting") throw new Error(`phase ${current} cannot be configured again`);
      mode = as;
      advance("provisioning");
    },
    admit: (operation) => {
      const name = OPERATION_NAMES.get(operation);
      if (name === undefined) throw new SignerError("protocol_violation", `control: unknown operation ${operation}`);
      if ((ACCEPTED[current][mode] as readonly ControlOperation[]).includes(name)) return name;
      throw new SignerError(
        "unavailable",
        `control: ${name} is not accepted while ${current}${mode === "attested" ? " in attested mode" : ""}`,
      );
    },
    requireReady: () => {
      if (current !== "ready") throw new SignerError("unavailable", `the enclave is ${current}`);
    },
  };
};

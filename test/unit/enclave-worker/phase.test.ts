import { describe, expect, it } from "vitest";
import { type ControlOperation, createPhaseMachine } from "#enclave/phase.ts";
import { CONTROL_OPERATIONS, ENCLAVE_PHASES, type EnclavePhase } from "#protocol/messages/control.ts";

const machineIn = (phase: EnclavePhase) => {
  const machine = createPhaseMachine();
  machine.advance(phase);
  return machine;
};
const codeOf = (action: () => unknown): string => {
  try {
    action();
    return "accepted";
  } catch (error) {
    return (error as { code?: string }).code ?? "defect";
  }
};

const WHILE_WORKING: ControlOperation[] = [
  "openKeystore",
  "openSecret",
  "generateKey",
  "loadKeys",
  "removeKeys",
  "activate",
  "open",
  "operate",
  "floors",
  "keepFloors",
  "refresh",
  "macKeys",
  "status",
  "drain",
];
const WHILE_ATTESTED: ControlOperation[] = [
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
];
const ACCEPTED: Record<EnclavePhase, ControlOperation[]> = {
  booting: ["configure", "configureSealed", "status", "drain"],
  provisioning: WHILE_WORKING,
  ready: WHILE_WORKING,
  draining: ["status", "drain"],
};
const OPERATIONS = Object.entries(CONTROL_OPERATIONS) as [ControlOperation, number][];

describe("an enclave's phase", () => {
  it.each(ENCLAVE_PHASES)("%s accepts exactly its own control operations", (phase) => {
    const machine = machineIn(phase);
    for (const [name, number] of OPERATIONS) {
      const isWelcome = ACCEPTED[phase].includes(name);
      expect([name, codeOf(() => machine.admit(number))]).toEqual([name, isWelcome ? "accepted" : "unavailable"]);
      if (isWelcome) expect(machine.admit(number)).toBe(name);
    }
  });

  it.each(ENCLAVE_PHASES)("%s answers an unknown operation as a broken format", (phase) => {
    const machine = machineIn(phase);
    for (const number of [0, 99, 65_535, -1, 1.5, Number.NaN]) {
      expect(codeOf(() => machine.admit(number))).toBe("protocol_violation");
    }
  });

  it.each(ENCLAVE_PHASES)("%s signs only when it is ready", (phase) => {
    expect(codeOf(() => machineIn(phase).requireReady())).toBe(phase === "ready" ? "accepted" : "unavailable");
  });

  it.each(["provisioning", "ready"] as const)("%s in attested mode takes neither secrets nor MAC keys", (phase) => {
    const machine = createPhaseMachine();
    machine.configured("attested");
    machine.advance(phase);
    for (const [name, number] of OPERATIONS) {
      const expected = WHILE_ATTESTED.includes(name) ? "accepted" : "unavailable";
      expect([name, codeOf(() => machine.admit(number))]).toEqual([name, expected]);
    }
  });

  it("is configured once, in one mode", () => {
    for (const mode of ["development", "attested"] as const) {
      const machine = createPhaseMachine();
      machine.configured(mode);
      expect(machine.current).toBe("provisioning");
      expect(codeOf(() => machine.configured("attested"))).toBe("defect");
      expect(codeOf(() => machine.configured("development"))).toBe("defect");
      expect(codeOf(() => machine.admit(CONTROL_OPERATIONS.configure))).toBe("unavailable");
      expect(codeOf(() => machine.admit(CONTROL_OPERATIONS.configureSealed))).toBe("unavailable");
    }
  });

  it("begins with booting and never goes back", () => {
    expect(createPhaseMachine().current).toBe("booting");
    for (const [from, earlier] of ENCLAVE_PHASES.entries()) {
      for (const [to, later] of ENCLAVE_PHASES.entries()) {
        const machine = machineIn(earlier);
        expect(codeOf(() => machine.advance(later))).toBe(to < from ? "defect" : "accepted");
        expect(machine.current).toBe(to < from ? earlier : later);
      }
    }
  });
});

/** The pool as metrics, read from its view whenever somebody scrapes: nothing is kept between scrapes. */

import { Counter, Gauge, type Registry } from "@prometheus-io/client";
import type { MemberView, PoolView } from "#pool-manager/pool-port.ts";
import { ENCLAVE_COUNTERS, type EnclaveCounter } from "#protocol/messages/control.ts";

const HELP = {
  signed: "Signatures that the enclave released.",
  denied: "Requests that a rule refused.",
  failed: "Requests that failed.",
  repeated: "Signatures released again for the same root, without a new record.",
  conflicts: "Compare-and-sets that met another value than expected.",
  rejectedFrames: "Frames that broke the format.",
  storeRoundTrips: "Round trips to the slashing store.",
} satisfies Record<EnclaveCounter, string>;

/** Adds the pool's series to the registries. */
export const registerPoolMetrics = (registers: Registry[], view: () => PoolView): void => {
  new Gauge({
    name: "testudo_pool_manager_connected",
    help: "Whether the gateway has a live connection to the pool-manager.",
    registers,
    collect() {
      this.set(view().connected ? 1 : 0);
    },
  });
  new Gauge({
    name: "testudo_key_errors",
    help: "Keys that could not be loaded.",
    registers,
    collect() {
      this.set(view().keyErrors);
    },
  });
  new Gauge({
    name: "testudo_enclave_up",
    help: "1 for an enclave that is ready, 0 for one in another state.",
    labelNames: ["cid", "state"],
    registers,
    collect() {
      this.reset();
      for (const { cid, state } of view().members) this.set({ cid, state }, state === "ready" ? 1 : 0);
    },
  });
  registerMemberGauge(registers, view, { name: "keys", help: "Keys that the enclave holds.", read: (s) => s.keys });
  registerMemberGauge(registers, view, {
    name: "in_flight",
    help: "Requests in flight in the enclave.",
    read: (status) => status.inFlight,
  });
  registerMemberGauge(registers, view, {
    name: "store_problem",
    help: "1 while the enclave refuses slashable duties because of its store.",
    read: (status) => (status.storeProblem === undefined ? 0 : 1),
  });
  for (const counter of ENCLAVE_COUNTERS) registerMemberCounter(registers, view, counter);
};

const registerMemberGauge = (
  registers: Registry[],
  view: () => PoolView,
  options: { name: string; help: string; read: (status: NonNullable<MemberView["status"]>) => number },
): void => {
  new Gauge({
    name: `testudo_enclave_${options.name}`,
    help: options.help,
    labelNames: ["cid"],
    registers,
    collect() {
      this.reset();
      for (const { cid, status } of view().members) if (status !== undefined) this.set({ cid }, options.read(status));
    },
  });
};

/** A counter that takes the enclave's own count; a replaced enclave starts at 0 again, as a restarted process does. */
const registerMemberCounter = (registers: Registry[], view: () => PoolView, counter: EnclaveCounter): void => {
  new Counter({
    name: `testudo_enclave_${toSnakeCase(counter)}_total`,
    help: HELP[counter],
    labelNames: ["cid"],
    registers,
    collect() {
      this.reset();
      for (const { cid, status } of view().members) {
        if (status !== undefined) this.inc({ cid }, status.counters[counter]);
      }
    },
  });
};

const toSnakeCase = (name: string): string => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);

import fc from "fast-check";
import { expect, it } from "vitest";
import { createInFlight, type InFlightEntry } from "#pool-manager/in-flight.ts";

it("knows its size and its oldest entry after any adding and removing", () => {
  fc.assert(
    fc.property(fc.array(fc.option(fc.nat(), { freq: 2 }), { maxLength: 60 }), (steps) => {
      const list = createInFlight();
      const model: InFlightEntry[] = [];
      for (const [time, remove] of steps.entries()) {
        if (remove === null || model.length === 0) model.push(list.add(time));
        else list.remove(model.splice(remove % model.length, 1)[0] as InFlightEntry);
        expect(list.size).toBe(model.length);
        expect(list.oldest).toBe(model[0]?.sentAt);
      }
    }),
  );
});

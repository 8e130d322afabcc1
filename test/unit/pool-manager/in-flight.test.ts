import fc from "fast-check";
import { expect, it } from "vitest";
import { InFlight, type Linked } from "#pool-manager/in-flight.ts";

interface Entry extends Linked<Entry> {
  readonly id: number;
}

const idsOf = (list: InFlight<Entry>): number[] => {
  const ids: number[] = [];
  for (let entry = list.oldest; entry !== undefined; entry = entry.after) ids.push(entry.id);
  return ids;
};

it("keeps the order of adding, whatever is removed, as an array does", () => {
  // A number removes the entry at that place, where there is one; `add` adds the next.
  const steps = fc.array(fc.oneof(fc.constant("add" as const), fc.nat(20)), { maxLength: 100 });
  fc.assert(
    fc.property(steps, (list) => {
      const entries = new InFlight<Entry>();
      const model: Entry[] = [];
      let id = 0;
      for (const step of list) {
        if (step === "add") {
          const entry: Entry = { id: id++, before: undefined, after: undefined };
          entries.add(entry);
          model.push(entry);
        } else {
          const [removed] = model.splice(step, 1);
          if (removed === undefined) continue;
          entries.remove(removed);
          expect([removed.before, removed.after]).toEqual([undefined, undefined]);
        }
        expect(idsOf(entries)).toEqual(model.map((entry) => entry.id));
        expect([entries.size, entries.oldest]).toEqual([model.length, model[0]]);
      }
    }),
  );
});

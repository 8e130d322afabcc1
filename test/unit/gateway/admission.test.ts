import { describe, expect, it } from "vitest";
import { createAdmission } from "#gateway/admission.ts";

describe("createAdmission", () => {
  it("refuses the request past the bound and admits one again after a release", () => {
    const admission = createAdmission({ inFlightMax: 2, bodyBytesInFlightMax: 100 });
    const first = admission.enter(1);
    admission.enter(1);
    expect(admission.enter(1)).toBeUndefined();
    first?.release();
    expect(admission.inFlight()).toBe(1);
    expect(admission.enter(1)).toBeDefined();
  });

  it.each([
    [40, 60, true],
    [40, 61, false],
  ])("with %i bytes of 100 held, %i more: %s", (held, more, admitted) => {
    const admission = createAdmission({ inFlightMax: 10, bodyBytesInFlightMax: 100 });
    admission.enter(held);
    expect(admission.enter(more) !== undefined).toBe(admitted);
  });

  it("keeps the place until the last holder has released it", () => {
    const admission = createAdmission({ inFlightMax: 1, bodyBytesInFlightMax: 100 });
    const ticket = admission.enter(100);
    ticket?.hold();
    ticket?.release();
    expect(admission.inFlight()).toBe(1);
    ticket?.release();
    expect(admission.inFlight()).toBe(0);
    expect(admission.enter(100)).toBeDefined();
  });
});

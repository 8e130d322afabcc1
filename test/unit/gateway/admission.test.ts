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

  it("counts a resized request by its new size, and releases that", () => {
    const admission = createAdmission({ inFlightMax: 10, bodyBytesInFlightMax: 100 });
    const ticket = admission.enter(100);
    expect(admission.enter(1)).toBeUndefined();
    ticket?.resize(40);
    const second = admission.enter(60);
    expect(second).toBeDefined();
    expect(admission.enter(1)).toBeUndefined();
    ticket?.release();
    ticket?.resize(100); // too late to count
    second?.release();
    expect(admission.enter(100)).toBeDefined();
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

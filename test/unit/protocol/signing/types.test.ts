import { expect, it } from "vitest";
import { isSlashable, SIGNING_TYPES } from "#protocol/signing/types.ts";

it("knows which types can be slashable", () => {
  expect(SIGNING_TYPES.filter(isSlashable)).toEqual(["ATTESTATION", "BLOCK", "BLOCK_V2"]);
});

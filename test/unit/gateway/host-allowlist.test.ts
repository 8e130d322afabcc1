import { describe, expect, it } from "vitest";
import { GATEWAY_DEFAULTS } from "#gateway/config.ts";
import { createHostCheck } from "#gateway/host-allowlist.ts";

describe("createHostCheck", () => {
  const isAllowed = createHostCheck([...GATEWAY_DEFAULTS.hostAllowlist, "Signer.Internal"], "10.1.2.3");

  it.each([
    ["localhost", true],
    ["localhost:9000", true],
    ["LOCALHOST:9000", true],
    ["127.0.0.1:9000", true],
    ["[::1]:9000", true],
    ["[::1]", true],
    ["signer.internal:9000", true],
    ["10.1.2.3:9000", true],
    [undefined, false],
    ["", false],
    [":9000", false],
    ["evil.example", false],
    ["localhost.evil.example", false],
    ["localhost@evil.example", false],
    ["localhost:9000:9000", false],
    ["localhost:port", false],
    ["localhost,evil.example", false],
    ["127.0.0.2", false],
    ["::1", false],
    ["[::1", false],
  ])("%s → %s", (host, allowed) => {
    expect(isAllowed(host)).toBe(allowed);
  });

  it("allows everything by *", () => {
    expect(createHostCheck(["*"], "127.0.0.1")("evil.example")).toBe(true);
    expect(createHostCheck(["*"], "127.0.0.1")(undefined)).toBe(true);
  });

  it.each(["0.0.0.0", "::"])("does not allow the unspecified address %s that it listens on", (host) => {
    const header = host === "::" ? "[::]:9000" : `${host}:9000`;
    expect(createHostCheck(["localhost"], host)(header)).toBe(false);
  });

  it("puts an IPv6 listen host in brackets", () => {
    expect(createHostCheck([], "fd00::1")("[fd00::1]:9000")).toBe(true);
  });
});

import { describe, expect, it } from "vitest";
import { GATEWAY_DEFAULTS, type GatewayConfig, parseGatewayConfig } from "#gateway/config.ts";
import { BODY_BYTES_MAX, SIGN_DEADLINE_MS_MAX } from "#protocol/limits.ts";

describe("parseGatewayConfig", () => {
  it("gives Web3Signer's addresses when nothing is said", () => {
    const config = parseGatewayConfig();
    expect(config).toEqual(GATEWAY_DEFAULTS);
    expect([config.host, config.port, config.metricsHost, config.metricsPort]).toEqual([
      "127.0.0.1",
      9000,
      "127.0.0.1",
      9001,
    ]);
  });

  it("takes localhost for 127.0.0.1", () => {
    expect(parseGatewayConfig({ host: "localhost" }).host).toBe("127.0.0.1");
  });

  const rows: [string, Partial<GatewayConfig>, boolean][] = [
    ["port 0", { port: 0 }, true],
    ["port 65535", { port: 65_535 }, true],
    ["port 65536", { port: 65_536 }, false],
    ["a fractional port", { port: 1.5 }, false],
    ["127.8.8.8", { host: "127.8.8.8" }, true],
    ["::1", { host: "::1" }, true],
    ["every interface", { host: "0.0.0.0" }, false],
    ["every interface, insecure", { host: "0.0.0.0", insecure: true }, true],
    ["a private address", { host: "10.0.0.1" }, false],
    ["an IPv6 address beyond loopback", { host: "fd00::1" }, false],
    ["a host name", { host: "signer.example", insecure: true }, false],
    ["metrics beyond loopback", { metricsHost: "0.0.0.0" }, false],
    ["metrics beyond loopback, insecure", { metricsHost: "0.0.0.0", insecure: true }, true],
    ["metrics beyond loopback, disabled", { metricsHost: "0.0.0.0", metricsEnabled: false }, true],
    ["the longest sign time", { signTimeoutMs: SIGN_DEADLINE_MS_MAX }, true],
    ["a longer sign time", { signTimeoutMs: SIGN_DEADLINE_MS_MAX + 1 }, false],
    ["no sign time", { signTimeoutMs: 0 }, false],
    ["keep-alive of 65 s", { keepAliveTimeoutMs: 65_000 }, true],
    ["keep-alive shorter than clients' pools", { keepAliveTimeoutMs: 64_999 }, false],
    ["bodies beyond the frame", { bodyBytesMax: BODY_BYTES_MAX + 1 }, false],
    ["room for less than one body", { bodyBytesInFlightMax: BODY_BYTES_MAX - 1 }, false],
    ["one request at a time", { inFlightMax: 1 }, true],
    ["no request at all", { inFlightMax: 0 }, false],
    ["an empty allow-list", { hostAllowlist: [] }, true],
    ["an empty host name", { hostAllowlist: [""] }, false],
    ["an allow-list that is text", { hostAllowlist: "localhost" as never }, false],
    ["insecure as text", { insecure: "false" as never }, false],
    ["an unknown setting", { prot: 9000 } as never, false],
  ];

  it.each(rows)("%s", (_name, overrides, valid) => {
    if (valid) expect(parseGatewayConfig(overrides)).toMatchObject(overrides);
    else expect(() => parseGatewayConfig(overrides)).toThrow(/^bad_request: gateway \w+: expected /);
  });
});

import { Command } from "commander";
import { expect, it } from "vitest";
import { addGatewayOptions, type GatewayOptionValues, gatewayConfigOf } from "../../../cli/gateway.ts";

const configOf = (...args: string[]) =>
  gatewayConfigOf(addGatewayOptions(new Command()).parse(args, { from: "user" }).opts<GatewayOptionValues>());

it("--host-allowlist is for both listeners", () => {
  const config = configOf("--host-allowlist", "signer.example, prometheus.example");
  expect(config.hostAllowlist).toEqual(["signer.example", "prometheus.example"]);
  expect(config.metricsHostAllowlist).toEqual(config.hostAllowlist);
  expect(configOf().metricsHostAllowlist).toEqual(["localhost", "127.0.0.1", "[::1]"]);
});

import { createServer, type Server } from "node:net";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { toListenFailure, toUrl } from "#gateway/listening.ts";
import { runGateway } from "./running-gateway.ts";

const TARGET = { host: "127.0.0.1", port: 80, hostOption: "--host", portOption: "--port" };

describe("toListenFailure", () => {
  it.each([
    ["EADDRINUSE", "127.0.0.1:80 is in use: stop the other program, or choose another port with --port"],
    ["EACCES", "127.0.0.1:80 may not be opened by this user: choose a port above 1023 with --port"],
    ["EADDRNOTAVAIL", "127.0.0.1:80 is no address of this machine: choose another with --host"],
    ["EMFILE", "127.0.0.1:80 cannot be opened (EMFILE)"],
  ])("says what to do about %s", (code, detail) => {
    const cause = Object.assign(new Error("listen"), { code });
    expect(toListenFailure(cause, TARGET)).toMatchObject({ code: "unavailable", detail, cause });
  });

  it("writes an IPv6 address as a URL does", () => {
    const cause = Object.assign(new Error("listen"), { code: "EADDRINUSE" });
    expect(toListenFailure(cause, { ...TARGET, host: "::1" }).detail).toMatch(/^\[::1\]:80 is in use/);
    expect(toUrl({ address: "::1", port: 80 })).toBe("http://[::1]:80");
  });
});

describe("a gateway whose port another program has", () => {
  let other: Server;
  let port: number;
  beforeEach(async () => {
    other = createServer();
    await new Promise<void>((resolve) => other.listen(0, "127.0.0.1", resolve));
    port = (other.address() as { port: number }).port;
  });
  afterEach(() => void other.close());

  it.each([
    ["--port", "port"],
    ["--metrics-port", "metricsPort"],
  ] as const)("names the port and %s", async (option, setting) => {
    await expect(runGateway({ [setting]: port })).rejects.toMatchObject({
      name: "SignerError",
      code: "unavailable",
      detail: `127.0.0.1:${port} is in use: stop the other program, or choose another port with ${option}`,
    });
  });
});

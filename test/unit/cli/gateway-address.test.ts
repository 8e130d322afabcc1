import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, expect, it } from "vitest";
import { createHostCheck } from "#gateway/host-allowlist.ts";
import { fetchPublicKeys, usableUrl } from "../../../cli/gateway-address.ts";

const servers: Server[] = [];
afterEach(() => {
  for (const server of servers.splice(0)) server.close();
});

/** A gateway as far as it matters here: it refuses hosts and is not ready at first. */
const startGateway = async (options: { listenAt: string; hostAllowlist: string[]; notReady?: number }) => {
  const check = createHostCheck(options.hostAllowlist, options.listenAt);
  let { notReady = 0 } = options;
  const server = createServer((request, response) => {
    if (!check(request.headers.host)) response.writeHead(403).end("host not authorized");
    else if (notReady > 0) {
      notReady -= 1;
      response.writeHead(503).end("not ready");
    } else response.end(JSON.stringify([request.url]));
  });
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, options.listenAt, resolve));
  const { port } = server.address() as AddressInfo;
  return `http://${options.listenAt}:${port}`;
};
const DEFAULT = ["localhost", "127.0.0.1", "[::1]"];

it.each([
  ["http://127.0.0.1:9000", DEFAULT, "http://127.0.0.1:9000"],
  ["http://10.0.0.7:9000", ["signer.example"], "http://10.0.0.7:9000"],
  ["http://0.0.0.0:9000", DEFAULT, "http://127.0.0.1:9000"],
  ["http://[::]:9000", DEFAULT, "http://[::1]:9000"],
  ["http://0.0.0.0:9000", ["*"], "http://127.0.0.1:9000"],
  ["http://0.0.0.0:9000", ["signer.example", "other"], "http://signer.example:9000"],
  ["http://0.0.0.0:80", DEFAULT, "http://127.0.0.1"],
])("%s with the allow-list %j is used as %s", (url, hostAllowlist, expected) => {
  expect(usableUrl(url, hostAllowlist)).toBe(expected);
});

it.each([
  ["127.0.0.1", DEFAULT],
  ["0.0.0.0", DEFAULT],
  ["0.0.0.0", ["signer.example"]],
  ["0.0.0.0", ["*"]],
])("the keys of a gateway at %s with the allow-list %j are read", async (listenAt, hostAllowlist) => {
  const url = await startGateway({ listenAt, hostAllowlist, notReady: 2 });
  expect(await fetchPublicKeys(url, { hostAllowlist, timeoutMs: 5_000 })).toEqual(["/api/v1/eth2/publicKeys"]);
});

it("a gateway that never lists its keys is given up with its last answer", async () => {
  const url = await startGateway({ listenAt: "127.0.0.1", hostAllowlist: DEFAULT, notReady: 1_000_000 });
  const fetched = fetchPublicKeys(url, { hostAllowlist: DEFAULT, timeoutMs: 200 });
  await expect(fetched).rejects.toThrow(/lists no keys within 0\.2 s \(last: 503 not ready\)/);
});

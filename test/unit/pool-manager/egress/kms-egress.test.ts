import { once } from "node:events";
import { createServer, type Server } from "node:net";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { createKmsEgress, kmsTargetOf } from "#pool-manager/egress/kms-egress.ts";
import { PORT_EGRESS_KMS } from "#protocol/limits.ts";
import { connectHost, type Listener, listenHost } from "#protocol/transport/hybrid.ts";
import { makeSocketFolder, until } from "../../../helpers/socket-folder.ts";

const quiet = (): void => undefined;
const logger = { debug: quiet, info: quiet, warn: quiet, error: quiet };

let folder: ReturnType<typeof makeSocketFolder>;
let server: Server;
let listener: Listener;

beforeEach(async () => {
  folder = makeSocketFolder();
  server = createServer((socket) => void socket.on("data", () => socket.end("12345")));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
});
afterEach(async () => {
  await listener.close();
  server.close();
  folder.remove();
});

describe("the egress to KMS", () => {
  it("passes bytes to the one target, and counts them", async () => {
    const { port } = server.address() as { port: number };
    const egress = createKmsEgress({ host: "127.0.0.1", port }, logger);
    expect(egress.port).toBe(PORT_EGRESS_KMS);
    listener = await listenHost(folder.path("e"), egress.port, egress.onConnection);
    for (const round of [1, 2]) {
      const socket = await connectHost(folder.path("e"), egress.port, { timeoutMs: 1_000 });
      socket.write("abc");
      const [answer] = (await once(socket, "data")) as [Buffer];
      expect(answer.toString()).toBe("12345");
      socket.destroy();
      await until(() => egress.traffic.sentBytes === 3 * round, "the count");
      expect(egress.traffic).toEqual({ connections: round, sentBytes: 3 * round, receivedBytes: 5 * round });
    }
  });
});

describe("the target", () => {
  const host = "kms.eu-central-1.amazonaws.com";

  it.each([
    [undefined, host, { host, port: 443 }],
    [undefined, undefined, undefined],
    ["https://localhost:4566", host, { host: "localhost", port: 4566 }],
    ["https://kms.internal", undefined, { host: "kms.internal", port: 443 }],
    ["https://[::1]:8443", host, { host: "::1", port: 8443 }],
  ])("of %s and %s", (url, own, expected) => {
    listener = { close: async () => undefined };
    expect(kmsTargetOf(url, { host: own })).toEqual(expected);
  });
});

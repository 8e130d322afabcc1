/** A body whose length is not announced was charged the largest until its answer: most of 2,000 attestations were refused. */

import { request as httpRequest } from "node:http";
import { expect, it } from "vitest";
import { SIGNED } from "../unit/gateway/fake-pool.ts";
import { runGateway, SIGN_PATH } from "../unit/gateway/running-gateway.ts";

const REQUESTS = 2_000;
const BODY = JSON.stringify({ type: "ATTESTATION", filler: "x".repeat(620) });

const signChunked = (port: number): Promise<number> =>
  new Promise((resolve, reject) => {
    const headers = { "transfer-encoding": "chunked", "content-type": "application/json" };
    const request = httpRequest({ port, path: SIGN_PATH, method: "POST", headers, agent: false }, (response) => {
      response.resume();
      response.on("end", () => resolve(response.statusCode ?? 0));
    });
    request.on("error", reject);
    request.end(BODY);
  });

it("admits 2,000 chunked attestations that wait for their signatures at one time", async () => {
  const gateway = await runGateway({ signTimeoutMs: 12_000 });
  const release = Promise.withResolvers<typeof SIGNED>();
  gateway.pool.answer = () => release.promise;
  const answers = Array.from({ length: REQUESTS }, () => signChunked(gateway.port));
  await expect.poll(() => gateway.pool.asked.length, { timeout: 20_000 }).toBe(REQUESTS);
  release.resolve(SIGNED);
  expect(new Set(await Promise.all(answers))).toEqual(new Set([200]));
  await gateway.close();
});

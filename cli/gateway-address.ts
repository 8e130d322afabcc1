/** How a client on this machine reaches a gateway, also one that listens on every address. */

import { get } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import { SignerError } from "#protocol/errors.ts";

/** Hosts that mean "every address", and the loopback address of the same family. */
const LOOPBACK_OF: Readonly<Record<string, string>> = { "0.0.0.0": "127.0.0.1", "[::]": "[::1]" };

/** Longest list that is read: a million keys of 101 bytes. */
const BODY_BYTES_MAX = 128 * 1024 * 1024;
const POLL_MS = 50;
const DETAIL_CHARACTERS_MAX = 200;

/**
 * The URL that works from this machine: an unspecified address is replaced by one that the host allow-list lets pass,
 * loopback if it is among them.
 */
export const usableUrl = (url: string, hostAllowlist: readonly string[]): string => {
  const { hostname, port } = new URL(url);
  const loopback = LOOPBACK_OF[hostname];
  if (loopback === undefined) return url;
  const passes = hostAllowlist.includes("*") || hostAllowlist.includes(loopback);
  return `http://${passes ? loopback : (hostAllowlist[0] ?? loopback)}${port === "" ? "" : `:${port}`}`;
};

/**
 * The list of public keys as clients see it; the gateway hears of it a moment after the pool is ready.
 * @throws SignerError `unavailable` with the last answer when there is none within the time
 */
export const fetchPublicKeys = async (
  url: string,
  { hostAllowlist, timeoutMs }: { hostAllowlist: readonly string[]; timeoutMs: number },
): Promise<string[]> => {
  const { hostname, port } = new URL(url);
  const target = {
    host: (LOOPBACK_OF[hostname] ?? hostname).replace(/^\[(.*)\]$/, "$1"),
    port,
    path: "/api/v1/eth2/publicKeys",
    // By a name that the allow-list knows: the address above need not be among them.
    headers: { host: new URL(usableUrl(url, hostAllowlist)).host },
  };
  const patience = AbortSignal.timeout(timeoutMs);
  for (let last = "no answer"; ; await sleep(POLL_MS)) {
    try {
      const { status, text } = await request(target, patience);
      if (status === 200) return JSON.parse(text) as string[];
      last = `${status} ${text.slice(0, DETAIL_CHARACTERS_MAX)}`;
    } catch (error) {
      if (!patience.aborted) last = (error as Error).message;
    }
    if (!patience.aborted) continue;
    const detail = `the gateway at ${url} lists no keys within ${timeoutMs / 1000} s (last: ${last})`;
    throw new SignerError("unavailable", `${detail}; everything is stopped`);
  }
};

const request = (target: object, signal: AbortSignal): Promise<{ status: number | undefined; text: string }> =>
  new Promise((resolve, reject) => {
    get({ ...target, agent: false, signal }, (response) => {
      const chunks: Buffer[] = [];
      let length = 0;
      response.on("data", (chunk: Buffer) => {
        length += chunk.length;
        if (length > BODY_BYTES_MAX) response.destroy(new Error("the list of keys is too long"));
        else chunks.push(chunk);
      });
      response.once("error", reject);
      response.once("end", () =>
        resolve({ status: response.statusCode, text: Buffer.concat(chunks).toString("utf8") }),
      );
    }).once("error", reject);
  });

/**
 * Which `Host` headers a listener answers to. A page in a browser can reach a signer on loopback by DNS rebinding, but
 * it cannot choose the `Host` header that the browser sends (Web3Signer: `--http-host-allowlist`).
 */

import { isIPv6 } from "node:net";

/** A name or IPv4 address, or an IPv6 address in brackets; then perhaps a port (RFC 9110, 7.2). */
const HOST_HEADER = /^(\[[0-9a-f:.]+\]|[^:[\]]+)(?::\d{0,5})?$/;

/** Addresses that mean "every interface": a legitimate client has no reason to name them, a rebinding page has. */
const UNSPECIFIED = new Set(["0.0.0.0", "[::]"]);

/** Answers whether a `Host` header is allowed. */
export type HostCheck = (hostHeader: string | undefined) => boolean;

/** Makes the check of a list of host names plus the listen host; an entry `*` allows everything. */
export const createHostCheck = (allowlist: readonly string[], listenHost: string): HostCheck => {
  if (allowlist.includes("*")) return () => true;
  const allowed = new Set(allowlist.map(normalise));
  if (!UNSPECIFIED.has(normalise(listenHost))) allowed.add(normalise(listenHost));
  return (hostHeader) => {
    const name = hostHeader === undefined ? undefined : HOST_HEADER.exec(hostHeader.toLowerCase())?.[1];
    return name !== undefined && allowed.has(name);
  };
};

const normalise = (host: string): string => {
  const name = host.trim().toLowerCase();
  return isIPv6(name) ? `[${name}]` : name;
};

/** A certificate authority and server certificates by `openssl`, for tests of TLS to Redis. */

import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** Why TLS cannot be tested on this machine; undefined: it can. */
export const tlsProblem = (): string | undefined => {
  if (spawnSync("openssl", ["version"]).status !== 0) return "openssl is missing";
  const started = spawnSync("redis-server", ["--port", "0", "--tls-port", "0", "--check-only", "1"], {
    encoding: "utf8",
    timeout: 5_000,
  });
  // A build without TLS does not know `tls-port`; one with it stops at the setting that does not exist.
  return `${started.stdout}${started.stderr}`.includes("'tls-port") ? "redis-server was built without TLS" : undefined;
};

/** Files of one authority. */
export interface TlsFiles {
  /** The authority's certificate in PEM. */
  readonly ca: string;
  /** Settings for a server whose certificate has these subject alternative names (`IP:127.0.0.1,DNS:redis.test`). */
  settings(names: string): Record<string, string>;
  remove(): void;
}

/** Makes an authority. */
export const makeTlsFiles = (): TlsFiles => {
  const folder = mkdtempSync(join(tmpdir(), "testudo-tls-"));
  const file = (name: string): string => join(folder, name);
  const openssl = (...words: string[]): void => void execFileSync("openssl", words, { cwd: folder, stdio: "ignore" });
  const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
  openssl("req", "-x509", ...key, "-keyout", "ca.key", "-out", "ca.pem", "-days", "2", "-subj", "/CN=Testudo test CA");
  let count = 0;
  return {
    ca: readFileSync(file("ca.pem"), "utf8"),
    settings: (names) => {
      count += 1;
      const name = `server-${count}`;
      openssl("req", ...key, "-keyout", `${name}.key`, "-out", `${name}.csr`, "-subj", "/CN=redis");
      writeFileSync(file(`${name}.ext`), `subjectAltName=${names}\n`);
      openssl(
        ...["x509", "-req", "-in", `${name}.csr`, "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial"],
        ...["-days", "2", "-extfile", `${name}.ext`, "-out", `${name}.pem`],
      );
      return {
        "tls-cert-file": file(`${name}.pem`),
        "tls-key-file": file(`${name}.key`),
        "tls-ca-cert-file": file("ca.pem"),
        "tls-auth-clients": "no",
      };
    },
    remove: () => rmSync(folder, { recursive: true, force: true }),
  };
};

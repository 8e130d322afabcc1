/** Attestation documents for the simulator, verified as AWS verifies them, under a root of the developer's own. */

import { authenticateAttestation } from "#protocol/attestation/verify.ts";
import type { AttestationVerifier } from "./attestation.ts";

/** A verifier that believes documents under this root alone. @param root DER */
export const createDocumentVerifier =
  (root: Uint8Array): AttestationVerifier =>
  (document, nowMs) => {
    const verdict = authenticateAttestation(document, { atMs: nowMs, roots: [root] });
    if (!verdict.ok) return { ok: false, reason: `${verdict.reason}: ${verdict.detail}` };
    const { pcrs, publicKey } = verdict.document;
    const hex = [...pcrs].map(([index, value]) => [index, Buffer.from(value).toString("hex")] as const);
    return { ok: true, pcrs: new Map(hex), publicKey };
  };

/** A validator client for a demonstration: asks for an attestation of the current epoch, and checks what it gets itself. */

import { PublicKey, Signature, verify } from "@chainsafe/blst";
import { ssz } from "@lodestar/types";
import { fromHex, PUBKEY_BYTES, ROOT_BYTES, SIGNATURE_BYTES, toHex } from "#protocol/bytes.ts";
import { computeDomain, computeSigningRoot, DOMAIN_TYPES } from "#protocol/signing/domain.ts";
import { NAMED_NETWORKS, SLOTS_PER_EPOCH_OF } from "#protocol/signing/named-networks.ts";

/** Who asks whom. */
export interface Asking {
  /** Of the gateway. */
  readonly url: string;
  /** 0x-hex. */
  readonly pubkey: string;
  readonly signal: AbortSignal;
}

/** An answer of the gateway. */
export interface SignAnswer {
  readonly status: number;
  readonly body: string;
}

const { mainnet } = NAMED_NETWORKS;
const SECONDS_PER_EPOCH = SLOTS_PER_EPOCH_OF.mainnet * mainnet.secondsPerSlot;
/** Deneb's; any version will do that is not before Altair. */
const FORK_VERSION = Uint8Array.of(4, 0, 0, 0);

/** Mainnet's epoch at a time in ms since 1970. */
export const epochAt = (nowMs: number): number =>
  Math.floor((nowMs / 1000 - mainnet.genesisTimeSeconds) / SECONDS_PER_EPOCH);

/** Asks for the signature of an attestation with this target. @param head byte that the attested block's root is made of */
export const askForAttestation = async (
  { url, pubkey, signal }: Asking,
  { target, head }: { readonly target: number; readonly head: number },
): Promise<SignAnswer> => {
  const version = toHex(FORK_VERSION);
  const answer = await fetch(`${url}/api/v1/eth2/sign/${pubkey}`, {
    method: "POST",
    headers: { accept: "application/json", "content-type": "application/json" },
    body: JSON.stringify({
      type: "ATTESTATION",
      fork_info: {
        fork: { previous_version: version, current_version: version, epoch: "0" },
        genesis_validators_root: mainnet.genesisValidatorsRoot,
      },
      attestation: ssz.phase0.AttestationData.toJson(attestationData(target, head)),
    }),
    signal,
  });
  return { status: answer.status, body: await answer.text() };
};

/** Asks, and verifies the signature under the public key. @throws Error with the answer when it is none */
export const signVerified = async (
  asking: Asking,
  duty: { readonly target: number; readonly head: number },
): Promise<string> => {
  const { status, body } = await askForAttestation(asking, duty);
  const { signature } = status === 200 ? (JSON.parse(body) as { signature?: string }) : {};
  if (signature === undefined) throw new Error(`expected a signature, got ${status}: ${body}`);
  const isGenuine = verify(
    signingRoot(duty.target, duty.head),
    PublicKey.fromBytes(fromHex(asking.pubkey, PUBKEY_BYTES, "pubkey")),
    Signature.fromBytes(fromHex(signature, SIGNATURE_BYTES, "signature")),
    true,
    true,
  );
  if (!isGenuine) throw new Error(`the signature ${signature} does not verify under ${asking.pubkey}`);
  return signature;
};

const attestationData = (target: number, head: number) => ({
  slot: target * SLOTS_PER_EPOCH_OF.mainnet,
  index: 0,
  beaconBlockRoot: new Uint8Array(ROOT_BYTES).fill(head),
  source: { epoch: target - 1, root: new Uint8Array(ROOT_BYTES).fill(1) },
  target: { epoch: target, root: new Uint8Array(ROOT_BYTES).fill(2) },
});

const signingRoot = (target: number, head: number): Uint8Array => {
  const genesisValidatorsRoot = fromHex(mainnet.genesisValidatorsRoot, ROOT_BYTES, "genesis validators root");
  const domain = computeDomain(DOMAIN_TYPES.beaconAttester, { forkVersion: FORK_VERSION, genesisValidatorsRoot });
  return computeSigningRoot(ssz.phase0.AttestationData.hashTreeRoot(attestationData(target, head)), domain);
};

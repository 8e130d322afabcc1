/**
 * Duties as validator clients send them, each with its signing root computed by `naive-ssz.ts`, and clients to ask for
 * and check signatures: `@chainsafe/blst` verifies, nothing of ours does.
 */

import { PublicKey, Signature, verify } from "@chainsafe/blst";
import { type Answer, type SendOptions, sendTo } from "../unit/gateway/running-gateway.ts";
import * as naive from "./naive-ssz.ts";

/** Mainnet's genesis validators root (eth-clients/mainnet). */
export const MAINNET_ROOT = "0x4b363db94e286120d76eb905340fdd4e54bfe9f06bf33ff6cf5ad27f511bfe95";
/** Slots per epoch of the mainnet preset. */
export const SLOTS_PER_EPOCH = 32;
const ZERO_ROOT = `0x${"00".repeat(32)}`;
/** Deneb on mainnet, in force since before every epoch that these duties use. */
const VERSION = "0x04000000";

/** A request body and the root that its signature must be over, 0x-hex. */
export interface Asked {
  readonly body: Readonly<Record<string, unknown>>;
  readonly root: string;
}

/** 32 bytes that name themselves. */
export const rootOf = (byte: number): string => `0x${byte.toString(16).padStart(2, "0").repeat(32)}`;

const chainOf = (genesisValidatorsRoot: string) => ({
  fork: { previous_version: VERSION, current_version: VERSION, epoch: "0" },
  genesis_validators_root: genesisValidatorsRoot,
});

const asked = (
  type: string,
  message: { member: string; json: unknown; root: Uint8Array; domainType: string; chain: string },
): Asked => ({
  body: { type, fork_info: chainOf(message.chain), [message.member]: message.json },
  root: naive.signingRoot(message.root, {
    domainType: message.domainType,
    version: VERSION,
    genesisValidatorsRoot: message.chain,
  }),
});

/** An attestation; `head` makes two of the same epochs differ. */
export const attestation = (
  { source, target }: { source: number; target: number },
  {
    head = 0xaa,
    slot = target * SLOTS_PER_EPOCH,
    chain = MAINNET_ROOT,
  }: { head?: number; slot?: number; chain?: string } = {},
): Asked => {
  const roots = { head: rootOf(head), source: rootOf(0x51), target: rootOf(0x52) };
  const root = naive.container(
    naive.uint64(slot),
    naive.uint64(0),
    naive.bytes(roots.head),
    naive.container(naive.uint64(source), naive.bytes(roots.source)),
    naive.container(naive.uint64(target), naive.bytes(roots.target)),
  );
  const json = {
    slot: String(slot),
    index: "0",
    beacon_block_root: roots.head,
    source: { epoch: String(source), root: roots.source },
    target: { epoch: String(target), root: roots.target },
  };
  return asked("ATTESTATION", { member: "attestation", json, root, domainType: "0x01000000", chain });
};

/** A block header; `body` makes two of the same slot differ. */
export const block = (
  slot: number,
  { body = 0xbb, chain = MAINNET_ROOT }: { body?: number; chain?: string } = {},
): Asked => {
  const header = {
    slot: String(slot),
    proposer_index: "7",
    parent_root: rootOf(0x61),
    state_root: rootOf(0x62),
    body_root: rootOf(body),
  };
  const root = naive.container(
    naive.uint64(slot),
    naive.uint64(7),
    naive.bytes(header.parent_root),
    naive.bytes(header.state_root),
    naive.bytes(header.body_root),
  );
  const json = { version: "DENEB", block_header: header };
  return asked("BLOCK_V2", { member: "beacon_block", json, root, domainType: "0x00000000", chain });
};

/** A RANDAO reveal, which no slashing rule knows. */
export const randao = (epoch: number, { chain = MAINNET_ROOT }: { chain?: string } = {}): Asked => {
  const json = { epoch: String(epoch) };
  return asked("RANDAO_REVEAL", {
    member: "randao_reveal",
    json,
    root: naive.uint64(epoch),
    domainType: "0x02000000",
    chain,
  });
};

/** A builder registration of `pubkey`. */
export const registration = (pubkey: string, genesisForkVersion = "0x00000000"): Asked => {
  const json = { fee_recipient: `0x${"ab".repeat(20)}`, gas_limit: "36000000", timestamp: "1700000000", pubkey };
  const root = naive.container(
    naive.bytes(json.fee_recipient),
    naive.uint64(json.gas_limit),
    naive.uint64(json.timestamp),
    naive.bytes(json.pubkey),
  );
  return {
    body: { type: "VALIDATOR_REGISTRATION", validator_registration: json },
    root: naive.signingRoot(root, {
      domainType: "0x00000001",
      version: genesisForkVersion,
      genesisValidatorsRoot: ZERO_ROOT,
    }),
  };
};

/** Asks the Web3Signer API at `url` to sign; JSON, unless the headers say otherwise. Text and bytes go out as they are. */
export const sign = (
  url: string,
  pubkey: string,
  body: unknown,
  headers: Record<string, string> = { accept: "application/json", "content-type": "application/json" },
): Promise<Answer> => {
  const options: SendOptions = {
    method: "POST",
    headers,
    body: typeof body === "string" || Buffer.isBuffer(body) ? body : JSON.stringify(body),
  };
  return sendTo(`${url}/api/v1/eth2/sign/${pubkey}`, options);
};

/** The signature of a 200 answer in JSON. Fails with the whole answer otherwise. */
export const signatureOf = ({ status, body }: Pick<Answer, "status" | "body">): string => {
  const { signature } = JSON.parse(body) as { signature?: unknown };
  if (status === 200 && typeof signature === "string") return signature;
  throw new Error(`expected 200 with a signature, got ${status}: ${body}`);
};

/** Whether `signature` is that of `pubkey` over `root`; all 0x-hex. */
export const isSignatureOf = (signature: string, { pubkey, root }: { pubkey: string; root: string }): boolean =>
  verify(naive.hex(root), PublicKey.fromHex(pubkey), Signature.fromHex(signature));

/** Asks for a signature, and fails unless it comes and verifies. */
export const signVerified = async (url: string, pubkey: string, duty: Asked): Promise<string> => {
  const signature = signatureOf(await sign(url, pubkey, duty.body));
  if (!isSignatureOf(signature, { pubkey, root: duty.root })) throw new Error(`the signature does not verify`);
  return signature;
};

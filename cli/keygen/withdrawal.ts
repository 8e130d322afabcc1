/**
 * Where a validator's stake goes when it is withdrawn, and how much is deposited. A mistake here loses money that no
 * signer can bring back, so an address is checked as far as it can be (EIP-55).
 */

import { createHash } from "node:crypto";
import { quote, toHex } from "#protocol/bytes.ts";
import { SignerError } from "#protocol/errors.ts";

/** Length of withdrawal credentials in bytes (consensus spec, `Bytes32`). */
const CREDENTIALS_BYTES = 32;
/** Prefixes of withdrawal credentials (consensus specs, phase0 and electra "Withdrawal prefixes"). */
const BLS_PREFIX = 0x00;
const EXECUTION_PREFIX = 0x01;
const COMPOUNDING_PREFIX = 0x02;

const GWEI_PER_ETH = 1_000_000_000;
/** What activates a validator, and the most that a validator without compounding counts (`MIN_ACTIVATION_BALANCE`). */
const STANDARD_GWEI = 32 * GWEI_PER_ETH;
/** The most that a compounding validator counts (electra, `MAX_EFFECTIVE_BALANCE_ELECTRA`). */
const COMPOUNDING_GWEI_MAX = 2048 * GWEI_PER_ETH;

/** Who gets the stake. */
export type Withdrawal =
  /** Whoever holds the mnemonic; an address is named later (BLS-to-execution change). */
  | { readonly kind: "bls" }
  | { readonly kind: "execution" | "compounding" /** 20 bytes */; readonly address: Uint8Array };

/**
 * Reads an execution address. In mixed case it must have the right checksum; in one case it has none (EIP-55).
 * @throws SignerError `bad_request`
 */
export const parseAddress = (text: string): Uint8Array => {
  const wrong = (problem: string): SignerError =>
    new SignerError("bad_request", `--withdrawal-address: ${problem}, got ${quote(text)}`);
  if (!/^0x[0-9a-fA-F]{40}$/.test(text)) throw wrong("expected 0x and 40 hex digits");
  const digits = text.slice(2);
  const address = new Uint8Array(Buffer.from(digits, "hex"));
  const isMixed = digits !== digits.toLowerCase() && digits !== digits.toUpperCase();
  if (isMixed && text !== checksummed(address)) throw wrong("expected another checksum (EIP-55): a digit is wrong");
  if (address.every((byte) => byte === 0)) throw wrong("expected an address that somebody owns");
  return address;
};

/** An address with its checksum in the case of its letters (EIP-55). */
export const checksummed = (address: Uint8Array): string => {
  const digits = toHex(address).slice(2);
  const hash = createHash("keccak-256").update(digits, "ascii").digest("hex");
  const cased = [...digits].map((digit, index) =>
    Number.parseInt(hash[index] as string, 16) >= 8 ? digit.toUpperCase() : digit,
  );
  return `0x${cased.join("")}`;
};

/** The 32 bytes that a deposit carries. */
export const withdrawalCredentials = (withdrawal: Withdrawal, withdrawalPubkey: Uint8Array): Uint8Array => {
  const credentials = new Uint8Array(CREDENTIALS_BYTES);
  if (withdrawal.kind === "bls") {
    credentials.set(createHash("sha256").update(withdrawalPubkey).digest());
    credentials[0] = BLS_PREFIX;
    return credentials;
  }
  credentials[0] = withdrawal.kind === "compounding" ? COMPOUNDING_PREFIX : EXECUTION_PREFIX;
  credentials.set(withdrawal.address, CREDENTIALS_BYTES - withdrawal.address.length);
  return credentials;
};

/**
 * Reads an amount: ETH with up to nine decimals, or whole gwei with that word behind it.
 * @returns gwei
 * @throws SignerError `bad_request` when it is out of range for the kind of credentials
 */
export const parseAmount = (text: string, { kind }: Withdrawal): number => {
  const gwei = gweiOf(text);
  const max = kind === "compounding" ? COMPOUNDING_GWEI_MAX : STANDARD_GWEI;
  if (gwei !== undefined && gwei >= STANDARD_GWEI && gwei <= max) return gwei;
  const more = kind === "compounding" ? "" : " (more with --compounding, up to 2048)";
  throw new SignerError(
    "bad_request",
    `--amount: expected 32${kind === "compounding" ? "..2048" : ""} ETH, or the same as 32000000000gwei${more}, got ${quote(text)}`,
  );
};

/** Gwei as ETH, for people. */
export const formatEth = (gwei: number): string => {
  const decimals = String(gwei % GWEI_PER_ETH)
    .padStart(9, "0")
    .replace(/0+$/, "");
  return `${Math.floor(gwei / GWEI_PER_ETH)}${decimals === "" ? "" : `.${decimals}`}`;
};

const gweiOf = (text: string): number | undefined => {
  const gwei = /^([0-9]{1,15}) ?gwei$/i.exec(text)?.[1];
  if (gwei !== undefined) return Number(gwei);
  const [, whole, decimals = ""] = /^([0-9]{1,6})(?:\.([0-9]{1,9}))?$/.exec(text) ?? [];
  return whole === undefined ? undefined : Number(whole) * GWEI_PER_ETH + Number(decimals.padEnd(9, "0"));
};

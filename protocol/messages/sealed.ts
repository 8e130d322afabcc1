/**
 * The control operations of the attested mode: the parent hands over what it read from the table, sealed and signed as it
 * is, and AWS credentials for the calls that open it. Credentials are in these messages and nowhere else; both ends wipe
 * the messages.
 */

import { ByteReader, ByteWriter } from "../bytes.ts";
import { SignerError } from "../errors.ts";
import { BUNDLE_KEYS_MAX } from "../sealed/limits.ts";
import { decodeSealedKeys, encodeSealedKeys, type SealedKey } from "./control.ts";
import type { SignerChoice } from "./signer.ts";

/** AWS credentials of the parent's role, for one unseal. Text, because the SDK takes no bytes. */
export interface UnsealCredentials {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly sessionToken?: string | undefined;
}

/** The few things that the parent may choose in the attested mode; none of them decides what may be signed. */
export interface ParentChoices {
  readonly cid: number;
  /** Signing threads. */
  readonly threads: number;
  readonly signer: SignerChoice;
  /** The store's marker may be created: only on the first start of a data folder. */
  readonly initialiseStore: boolean;
  /** `https://host[:port]` of a KMS simulator, and the CA of its certificate in PEM. A Nitro Enclave refuses both. */
  readonly kmsEndpoint?: string;
  readonly kmsCa?: string;
}

/** A configuration as it was sealed and signed. */
export interface SealedConfiguration {
  /** `protocol/sealed/configuration.ts`. */
  readonly document: Uint8Array;
  readonly signature: Uint8Array;
  /** `protocol/sealed/header.ts`. */
  readonly secretsHeader: Uint8Array;
  /** `protocol/sealed/sealed-secrets.ts`. */
  readonly sealedSecrets: Uint8Array;
}

/** Payload of `configureSealed`. */
export interface ConfigureSealed {
  readonly choices: ParentChoices;
  readonly credentials: UnsealCredentials;
  readonly configuration: SealedConfiguration;
}

/** Payload of `loadBundle`. */
export interface LoadBundle {
  readonly credentials: UnsealCredentials;
  /** Encoded bundle header. */
  readonly header: Uint8Array;
  /** 1..{@link BUNDLE_KEYS_MAX} keys of this bundle. */
  readonly keys: readonly SealedKey[];
}

/** AWS bounds no credential; session tokens of roles with many tags have some 2 KiB. */
const CREDENTIAL_BYTES_MAX = 16 * 1024;

/** The caller wipes the result when it was sent. */
export const encodeConfigureSealed = ({ choices, credentials, configuration }: ConfigureSealed): Uint8Array => {
  const { document, signature, secretsHeader, sealedSecrets } = configuration;
  const writer = new ByteWriter().sizedText(JSON.stringify(choices));
  return writeCredentials(writer, credentials)
    .sizedBytes(document)
    .sizedBytes(signature)
    .sizedBytes(secretsHeader)
    .sizedBytes(sealedSecrets)
    .finish();
};

/**
 * Wipes its input. The choices come back as parsed JSON: `enclave-worker/config.ts` checks them.
 * @throws SignerError `protocol_violation`
 */
export const decodeConfigureSealed = (
  payload: Uint8Array,
): Omit<ConfigureSealed, "choices"> & { readonly choices: unknown } => {
  try {
    const reader = new ByteReader(payload, "configure sealed");
    const choices = parseChoices(reader.sizedText("choices"));
    const credentials = readCredentials(reader);
    const configuration = {
      document: reader.sizedBytes("document").slice(),
      signature: reader.sizedBytes("signature").slice(),
      secretsHeader: reader.sizedBytes("secrets header").slice(),
      sealedSecrets: reader.sizedBytes("sealed secrets").slice(),
    };
    reader.end();
    return { choices, credentials, configuration };
  } finally {
    payload.fill(0);
  }
};

/** The caller wipes the result when it was sent. */
export const encodeLoadBundle = ({ credentials, header, keys }: LoadBundle): Uint8Array =>
  writeCredentials(new ByteWriter(), credentials).sizedBytes(header).sizedBytes(encodeSealedKeys(keys)).finish();

/** Wipes its input. @throws SignerError `protocol_violation` */
export const decodeLoadBundle = (payload: Uint8Array): LoadBundle => {
  try {
    const reader = new ByteReader(payload, "load bundle");
    const credentials = readCredentials(reader);
    const header = reader.sizedBytes("header").slice();
    const keys = decodeSealedKeys(reader.sizedBytes("keys"));
    reader.end();
    if (keys.length < 1 || keys.length > BUNDLE_KEYS_MAX) {
      throw new SignerError(
        "protocol_violation",
        `load bundle: expected 1..${BUNDLE_KEYS_MAX} keys, got ${keys.length}`,
      );
    }
    return { credentials, header, keys };
  } finally {
    payload.fill(0);
  }
};

const writeCredentials = (writer: ByteWriter, credentials: UnsealCredentials): ByteWriter => {
  const { accessKeyId, secretAccessKey, sessionToken = "" } = credentials;
  return writer.sizedText(accessKeyId).sizedText(secretAccessKey).sizedText(sessionToken);
};

const readCredentials = (reader: ByteReader): UnsealCredentials => {
  const read = (name: string): string => {
    const text = reader.sizedText(name);
    if (text.length <= CREDENTIAL_BYTES_MAX) return text;
    throw new SignerError("protocol_violation", `${name}: expected at most ${CREDENTIAL_BYTES_MAX} bytes`);
  };
  const accessKeyId = read("access key id");
  const secretAccessKey = read("secret access key");
  const sessionToken = read("session token");
  return { accessKeyId, secretAccessKey, ...(sessionToken !== "" && { sessionToken }) };
};

const parseChoices = (text: string): unknown => {
  try {
    return JSON.parse(text);
  } catch {
    throw new SignerError("protocol_violation", "choices: expected JSON");
  }
};

/** The ARN of a KMS key: the one name that says partition, region, account and key, so that none of them is asked of the parent. */

import { quote } from "../bytes.ts";
import { SignerError } from "../errors.ts";

/** A parsed key ARN. */
export interface KeyArn {
  /** The whole ARN. */
  readonly arn: string;
  readonly region: string;
  /** Host name of KMS in that region; undefined where the partition is not known here. */
  readonly host: string | undefined;
}

/** AWS KMS API reference, `KeyId`: at most 2048 characters; those with a key id are below 128. */
const ARN_CHARACTERS_MAX = 256;
const KEY_ARN =
  /^arn:(aws(?:-[a-z]{1,8}){0,3}):kms:([a-z]{2}(?:-[a-z]{1,12}){1,3}-\d{1,2}):\d{12}:key\/[0-9A-Za-z-]{1,64}$/;

/** DNS suffixes of the partitions that have Nitro Enclaves (AWS general reference, KMS endpoints). */
const SUFFIXES: ReadonlyMap<string, string> = new Map([
  ["aws", "amazonaws.com"],
  ["aws-us-gov", "amazonaws.com"],
  ["aws-cn", "amazonaws.com.cn"],
]);

/**
 * Reads a key ARN. Key ids and aliases are refused: they do not name the account.
 * @throws SignerError `bad_request`
 */
export const parseKeyArn = (text: string): KeyArn => {
  const match = text.length <= ARN_CHARACTERS_MAX ? KEY_ARN.exec(text) : null;
  if (match === null) {
    const expected = "expected arn:aws:kms:<region>:<account>:key/<id>";
    throw new SignerError("bad_request", `KMS key: ${expected} (no alias, no bare key id), got ${quote(text)}`);
  }
  const [, partition = "", region = ""] = match;
  const suffix = SUFFIXES.get(partition);
  return { arn: text, region, host: suffix === undefined ? undefined : `kms.${region}.${suffix}` };
};

/** Key policies: who may do what, by which measurements and which context. */

import { describe, expect, test } from "vitest";
import {
  assertPolicy,
  evaluatePolicy,
  type KeyPolicy,
  type PolicyRequest,
  type PolicyStatement,
} from "#infra/local/kms/policy.ts";

const ACCOUNT = "111122223333";
const request = (change: Partial<PolicyRequest> = {}): PolicyRequest => ({
  action: "kms:Decrypt",
  principal: `arn:aws:sts::${ACCOUNT}:assumed-role/parent/i-1`,
  encryptionContext: { group: "main" },
  pcrs: new Map([
    [0, "aa"],
    [8, "bb"],
  ]),
  ...change,
});
const allow = (change: Partial<PolicyStatement> = {}): PolicyStatement => ({
  Effect: "Allow",
  Principal: "*",
  Action: "kms:Decrypt",
  Resource: "*",
  ...change,
});
const decide = (statements: PolicyStatement[], change: Partial<PolicyRequest> = {}): string => {
  const policy = { Statement: statements };
  assertPolicy(policy);
  return evaluatePolicy(policy, request(change));
};
const by = (Condition: NonNullable<PolicyStatement["Condition"]>): PolicyStatement => allow({ Condition });

describe("statements", () => {
  const deny = allow({ Effect: "Deny" });
  const other = allow({ Action: "kms:Encrypt" });
  test.each<[string, PolicyStatement[], string]>([
    ["an allow", [allow()], "allow"],
    ["none that applies", [other], "no allow"],
    ["a deny", [deny], "explicit deny"],
    ["a deny before an allow", [deny, allow()], "explicit deny"],
    ["a deny behind an allow", [allow(), deny], "explicit deny"],
    ["a deny of something else", [allow(), { ...deny, Action: "kms:Encrypt" }], "allow"],
    ["a list of actions", [allow({ Action: ["kms:Encrypt", "kms:Decrypt"] })], "allow"],
    ["a pattern", [allow({ Action: "kms:*" })], "allow"],
    ["a pattern that is another's", [allow({ Action: "kms:Generate*" })], "no allow"],
    ["a dot is no pattern", [allow({ Action: "kms.Decrypt" })], "no allow"],
    ["the account", [allow({ Principal: { AWS: `arn:aws:iam::${ACCOUNT}:root` } })], "allow"],
    ["another account", [allow({ Principal: { AWS: "arn:aws:iam::000000000000:root" } })], "no allow"],
    [
      "the caller among others",
      [allow({ Principal: { AWS: ["arn:aws:iam::1:user/x", request().principal] } })],
      "allow",
    ],
    ["another caller", [allow({ Principal: { AWS: `${request().principal}0` } })], "no allow"],
  ])("%s", (_name, statements, decision) => {
    expect(decide(statements)).toBe(decision);
  });
});

describe("conditions", () => {
  const image = "kms:RecipientAttestation:ImageSha384";
  test.each<[string, PolicyStatement, string]>([
    ["the image", by({ StringEquals: { [image]: "aa" } }), "allow"],
    ["another image", by({ StringEquals: { [image]: "ab" } }), "no allow"],
    ["the image in capitals", by({ StringEquals: { [image]: "AA" } }), "no allow"],
    ["the image in capitals, whatever the case", by({ StringEqualsIgnoreCase: { [image]: "AA" } }), "allow"],
    ["one of two images", by({ StringEquals: { [image]: ["00", "aa"] } }), "allow"],
    ["a PCR", by({ StringEquals: { "kms:RecipientAttestation:PCR8": "bb" } }), "allow"],
    ["a PCR with another's value", by({ StringEquals: { "kms:RecipientAttestation:PCR8": "aa" } }), "no allow"],
    ["a PCR that is not there", by({ StringEquals: { "kms:RecipientAttestation:PCR31": "bb" } }), "no allow"],
    ["two keys, one wrong", by({ StringEquals: { [image]: "aa", "kms:RecipientAttestation:PCR8": "00" } }), "no allow"],
    [
      "two operators, one wrong",
      by({ StringEquals: { [image]: "aa" }, StringNotEquals: { [image]: "aa" } }),
      "no allow",
    ],
    ["the context", by({ StringEquals: { "kms:EncryptionContext:group": "main" } }), "allow"],
    ["a context of another value", by({ StringEquals: { "kms:EncryptionContext:group": "mai" } }), "no allow"],
    ["a context that is not there", by({ StringEquals: { "kms:EncryptionContext:constructor": "main" } }), "no allow"],
    ["a pattern of the context", by({ StringLike: { "kms:EncryptionContext:group": "ma*" } }), "allow"],
    ["none that is there", by({ Null: { "kms:EncryptionContext:other": "true" } }), "allow"],
    ["one that has to be there", by({ Null: { [image]: "true" } }), "no allow"],
    ["not another", by({ StringNotEquals: { [image]: ["00", "11"] } }), "allow"],
    ["not this", by({ StringNotEquals: { [image]: ["00", "aa"] } }), "no allow"],
  ])("%s", (_name, statement, decision) => {
    expect(decide([statement])).toBe(decision);
  });

  test("nothing about an attestation holds where there is none, and a negation does", () => {
    const none = { pcrs: undefined };
    expect(decide([by({ StringEquals: { [image]: "aa" } })], none)).toBe("no allow");
    expect(decide([by({ StringLike: { [image]: "*" } })], none)).toBe("no allow");
    const deny: PolicyStatement = { ...by({ StringNotEquals: { [image]: "aa" } }), Effect: "Deny" };
    expect(decide([allow(), deny], none)).toBe("explicit deny");
    expect(decide([allow(), deny])).toBe("allow");
  });
});

describe("a policy that cannot be followed is refused", () => {
  test.each<[string, unknown]>([
    ["none", undefined],
    ["no statements", { Statement: [] }],
    ["too many", { Statement: Array(65).fill(allow()) }],
    ["an effect", { Statement: [{ ...allow(), Effect: "Maybe" }] }],
    ["a resource", { Statement: [{ ...allow(), Resource: "arn:x" }] }],
    ["a principal", { Statement: [{ ...allow(), Principal: { Service: "ec2" } }] }],
    ["no action", { Statement: [{ ...allow(), Action: [] }] }],
    ["an action that is no text", { Statement: [{ ...allow(), Action: [1] }] }],
    ["NotAction", { Statement: [{ ...allow(), NotAction: "kms:*" }] }],
    ["an operator", { Statement: [by({ StringEqualsIfExists: { "kms:EncryptionContext:a": "b" } })] }],
    ["a condition key", { Statement: [by({ StringEquals: { "aws:SourceIp": "1.2.3.4" } })] }],
    ["PCR32", { Statement: [by({ StringEquals: { "kms:RecipientAttestation:PCR32": "aa" } })] }],
    ["a value", { Statement: [by({ StringEquals: { "kms:EncryptionContext:a": 1 as never } })] }],
  ])("%s", (_name, policy) => {
    expect(() => assertPolicy(policy as KeyPolicy)).toThrow(
      expect.objectContaining({ type: "MalformedPolicyDocumentException" }),
    );
  });
});

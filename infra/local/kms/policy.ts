/**
 * Key policies: the part of AWS's policy language that keys for enclaves need (AWS IAM user guide, policy evaluation
 * logic; AWS KMS developer guide, condition keys for attested platforms). What is not understood is refused when a policy
 * is set, so that no condition is ever ignored.
 */

import { KmsFault } from "./errors.ts";

/** One statement of a key policy. */
export interface PolicyStatement {
  readonly Sid?: string;
  readonly Effect: "Allow" | "Deny";
  readonly Principal: "*" | { readonly AWS: string | readonly string[] };
  readonly Action: string | readonly string[];
  readonly Resource: "*";
  readonly Condition?: Readonly<Record<string, Readonly<Record<string, string | readonly string[]>>>>;
}

/** A key policy. */
export interface KeyPolicy {
  readonly Version?: "2012-10-17";
  readonly Statement: readonly PolicyStatement[];
}

/** What a policy decides on. */
export interface PolicyRequest {
  /** `kms:Decrypt`. */
  readonly action: string;
  /** ARN of the caller. */
  readonly principal: string;
  readonly encryptionContext: Readonly<Record<string, string>>;
  /** Measurements of the attested caller, lower-case hex by index; undefined: the request has no Recipient. */
  readonly pcrs: ReadonlyMap<number, string> | undefined;
}

/** How a policy decided. */
export type PolicyDecision = "allow" | "explicit deny" | "no allow";

/** Compares a value that is there with one that is asked for. */
type Comparison = (asked: string, actual: string) => boolean;

const equals: Comparison = (asked, actual) => asked === actual;
const equalsIgnoringCase: Comparison = (asked, actual) => asked.toLowerCase() === actual.toLowerCase();
const like: Comparison = (asked, actual) => toPattern(asked).test(actual);

/** Operators on one value. A negated one holds where the value is absent, the others do not. */
const OPERATORS: ReadonlyMap<string, { readonly compare: Comparison; readonly negated: boolean }> = new Map([
  ["StringEquals", { compare: equals, negated: false }],
  ["StringNotEquals", { compare: equals, negated: true }],
  ["StringEqualsIgnoreCase", { compare: equalsIgnoringCase, negated: false }],
  ["StringNotEqualsIgnoreCase", { compare: equalsIgnoringCase, negated: true }],
  ["StringLike", { compare: like, negated: false }],
  ["StringNotLike", { compare: like, negated: true }],
]);
const NULL_OPERATOR = "Null";

const PCR_KEY = /^kms:RecipientAttestation:(?:PCR([0-9]|[12][0-9]|3[01])|ImageSha384)$/i;
const CONTEXT_KEY = /^kms:EncryptionContext:(.+)$/i;
const STATEMENT_FIELDS = ["Sid", "Effect", "Principal", "Action", "Resource", "Condition"];
const STATEMENTS_MAX = 64;

/** Decides: a deny that applies wins, else an allow that applies, else no. */
export const evaluatePolicy = (policy: KeyPolicy, request: PolicyRequest): PolicyDecision => {
  const applying = policy.Statement.filter((statement) => applies(statement, request));
  if (applying.some(({ Effect }) => Effect === "Deny")) return "explicit deny";
  return applying.some(({ Effect }) => Effect === "Allow") ? "allow" : "no allow";
};

/**
 * Refuses a policy that this simulator would not follow to the letter.
 * @throws KmsFault `MalformedPolicyDocumentException`
 */
export const assertPolicy = (policy: KeyPolicy): void => {
  const malformed = (problem: string): KmsFault => new KmsFault("MalformedPolicyDocumentException", problem);
  if (!Array.isArray(policy?.Statement) || policy.Statement.length === 0 || policy.Statement.length > STATEMENTS_MAX) {
    throw malformed(`Statement: expected a list of 1 to ${STATEMENTS_MAX}`);
  }
  for (const statement of policy.Statement as readonly PolicyStatement[]) {
    for (const field of Object.keys(statement)) {
      if (!STATEMENT_FIELDS.includes(field)) throw malformed(`${field}: not supported`);
    }
    if (statement.Effect !== "Allow" && statement.Effect !== "Deny") throw malformed("Effect: expected Allow or Deny");
    if (statement.Resource !== "*") throw malformed('Resource: expected "*"');
    if (statement.Principal !== "*" && listOf(statement.Principal?.AWS).length === 0) {
      throw malformed('Principal: expected "*" or {"AWS": …}');
    }
    if (listOf(statement.Action).length === 0) throw malformed("Action: expected a name or a list of names");
    for (const [operator, conditions] of Object.entries(statement.Condition ?? {})) {
      if (operator !== NULL_OPERATOR && !OPERATORS.has(operator)) throw malformed(`${operator}: not supported`);
      for (const [key, values] of Object.entries(conditions)) {
        if (!PCR_KEY.test(key) && !CONTEXT_KEY.test(key)) throw malformed(`${key}: not supported`);
        if (listOf(values).length === 0) throw malformed(`${key}: expected a text or a list of texts`);
      }
    }
  }
};

const listOf = (value: string | readonly string[] | undefined): readonly string[] => {
  const list = Array.isArray(value) ? (value as readonly unknown[]) : [value];
  return list.every((entry) => typeof entry === "string") ? (list as readonly string[]) : [];
};

const applies = (statement: PolicyStatement, request: PolicyRequest): boolean =>
  (statement.Principal === "*" ||
    listOf(statement.Principal.AWS).some((name) => isPrincipal(name, request.principal))) &&
  listOf(statement.Action).some((action) => toPattern(action).test(request.action)) &&
  Object.entries(statement.Condition ?? {}).every(([operator, conditions]) =>
    Object.entries(conditions).every(([key, values]) =>
      holds(operator, { asked: listOf(values), actual: contextValue(key, request) }),
    ),
  );

/** The root of an account stands for every principal in it: the account's own policies are taken to allow everything. */
const isPrincipal = (name: string, principal: string): boolean => {
  if (name === "*" || name === principal) return true;
  const root = /^arn:[a-z-]+:iam::(\d{12}):root$/.exec(name);
  return root !== null && principal.split(":")[4] === root[1];
};

const holds = (
  operator: string,
  { asked, actual }: { readonly asked: readonly string[]; readonly actual: string | undefined },
): boolean => {
  if (operator === NULL_OPERATOR) return asked.includes(String(actual === undefined));
  const rule = OPERATORS.get(operator);
  if (rule === undefined) return false;
  if (actual === undefined) return rule.negated;
  return asked.some((value) => rule.compare(value, actual)) !== rule.negated;
};

const contextValue = (key: string, { pcrs, encryptionContext }: PolicyRequest): string | undefined => {
  const pcr = PCR_KEY.exec(key);
  // The image's digest is PCR0 (AWS Nitro Enclaves user guide, PCRs).
  if (pcr !== null) return pcrs?.get(Number(pcr[1] ?? 0));
  const name = CONTEXT_KEY.exec(key)?.[1] ?? "";
  return Object.hasOwn(encryptionContext, name) ? encryptionContext[name] : undefined;
};

/** `*` and `?` of AWS's patterns. */
const toPattern = (text: string): RegExp => {
  const escaped = text
    .replace(/[.+^${}()|[\]\\]/g, "\\$&")
    .replaceAll("*", ".*")
    .replaceAll("?", ".");
  return new RegExp(`^${escaped}$`, "s");
};

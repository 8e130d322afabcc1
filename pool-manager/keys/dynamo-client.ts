/**
 * Calls of Amazon DynamoDB: bounded in time and number, with failures of our closed set. Credentials and their refreshing
 * are the SDK's default chain (environment, profile, IMDSv2 of an EC2 role). Throttled and failed calls are asked again
 * by the SDK, with growing random delays; a write that was sent twice this way shows itself as refused by its own
 * condition, so writers look what is there before they believe a refusal.
 */

import { DynamoDBClient } from "@aws-sdk/client-dynamodb";
import { SignerError } from "#protocol/errors.ts";

/** Which table. */
export interface DynamoOptions {
  readonly region: string;
  readonly table: string;
  /** The fleet: the table's partition. */
  readonly group: string;
  /** Instead of AWS's own endpoint of the region: dynalite, or a VPC endpoint. */
  readonly endpoint?: string | undefined;
}

/** Bounds of one call; tests shorten them. */
export interface DynamoBounds {
  /** Attempts of the SDK, the first included. */
  readonly attemptsMax: number;
  /** For all attempts together. */
  readonly deadlineMs: number;
}

/** One group's part of one table. */
export interface DynamoSession {
  readonly options: DynamoOptions;
  readonly client: DynamoDBClient;
  /**
   * Runs one call under the deadline.
   * @param what the call in words, for messages
   * @throws SignerError `unavailable` | `bad_request`; {@link ConditionFailed} when the call had a condition that does not hold
   */
  call<Answer>(what: string, run: (call: { readonly abortSignal: AbortSignal }) => Promise<Answer>): Promise<Answer>;
  /** Ends connections and calls. */
  close(): void;
}

/** The condition of a write does not hold. */
export class ConditionFailed extends Error {}

/** DynamoDB answers within 10 ms; eight attempts of the SDK outlast some ten seconds of throttling. */
const BOUNDS: DynamoBounds = { attemptsMax: 8, deadlineMs: 30_000 };
const CONNECTION_TIMEOUT_MS = 3_000;
/** A page of 1 MB over a slow line takes a second. */
const ATTEMPT_TIMEOUT_MS = 10_000;
/** Calls at the same time, from importers. */
const SOCKETS_MAX = 64;
/** Table names (Amazon DynamoDB API reference, `TableName`). */
const TABLE = /^[A-Za-z0-9_.-]{3,255}$/;
const REGION = /^[a-z0-9-]{1,32}$/;

/** @throws SignerError `bad_request` naming the option that is none */
export const openDynamo = (options: DynamoOptions, bounds: Partial<DynamoBounds> = {}): DynamoSession => {
  const { attemptsMax, deadlineMs } = { ...BOUNDS, ...bounds };
  checkOptions(options);
  const client = new DynamoDBClient({
    region: options.region,
    ...(options.endpoint !== undefined && { endpoint: options.endpoint }),
    maxAttempts: attemptsMax,
    requestHandler: {
      connectionTimeout: CONNECTION_TIMEOUT_MS,
      requestTimeout: ATTEMPT_TIMEOUT_MS,
      throwOnRequestTimeout: true,
      httpsAgent: { maxSockets: SOCKETS_MAX },
      httpAgent: { maxSockets: SOCKETS_MAX },
    },
  });
  const closing = new AbortController();
  return {
    options,
    client,
    call: async (what, run) => {
      const deadline = AbortSignal.timeout(deadlineMs);
      try {
        return await run({ abortSignal: AbortSignal.any([deadline, closing.signal]) });
      } catch (thrown) {
        const where = `DynamoDB table ${options.table} (${options.endpoint ?? options.region}): ${what}`;
        if (closing.signal.aborted) throw new SignerError("unavailable", `${where}: closed`, { cause: thrown });
        if (!deadline.aborted) throw failureOf(thrown, where);
        const detail = `${where}: no answer within ${deadlineMs} ms; check the route to it`;
        throw new SignerError("unavailable", detail, { cause: thrown });
      }
    },
    close: () => {
      closing.abort();
      client.destroy();
    },
  };
};

const checkOptions = ({ table, region, endpoint }: DynamoOptions): void => {
  if (!TABLE.test(table)) throw new SignerError("bad_request", `table: expected 3..255 of A-Z a-z 0-9 _ . -`);
  if (!REGION.test(region)) throw new SignerError("bad_request", `region: expected a name such as eu-central-1`);
  if (endpoint === undefined) return;
  const protocol = URL.canParse(endpoint) ? new URL(endpoint).protocol : "";
  if (protocol === "https:" || protocol === "http:") return;
  throw new SignerError("bad_request", "DynamoDB endpoint: expected https://host[:port], or http of this machine");
};

/** What to do, by the error's name (Amazon DynamoDB developer guide, "Error handling"; AWS SDK credential providers). */
const ADVICE: ReadonlyMap<string, { readonly code: "bad_request" | "unavailable"; readonly advice: string }> = new Map([
  [
    "ResourceNotFoundException",
    { code: "bad_request", advice: "no such table: check name and region, or make it (--create-table)" },
  ],
  ["ValidationException", { code: "bad_request", advice: "check that its keys are group (S) and pubkey (S)" }],
  ["AccessDeniedException", { code: "unavailable", advice: "check the role's rights (docs/keys.md)" }],
  [
    "CredentialsProviderError",
    { code: "unavailable", advice: "no AWS credentials were found: role, profile or environment" },
  ],
  ["ExpiredTokenException", { code: "unavailable", advice: "the AWS credentials have expired" }],
  ["UnrecognizedClientException", { code: "unavailable", advice: "the AWS credentials are refused" }],
  [
    "InvalidSignatureException",
    { code: "unavailable", advice: "the AWS credentials are refused; check the clock, too" },
  ],
  ["ProvisionedThroughputExceededException", { code: "unavailable", advice: "throttled: raise the table's capacity" }],
  ["ThrottlingException", { code: "unavailable", advice: "throttled: raise the table's capacity" }],
  ["RequestLimitExceeded", { code: "unavailable", advice: "throttled: the account's quota is used up" }],
]);
const NAME_CHARACTERS_MAX = 80;

/** Of the SDK's error only its name or code: texts can repeat what was sent. */
const failureOf = (thrown: unknown, where: string): Error => {
  if (thrown instanceof SignerError) return thrown;
  const { name = "", code } = thrown as { name?: string; code?: unknown };
  if (name === "ConditionalCheckFailedException") return new ConditionFailed(where);
  const known = ADVICE.get(name);
  if (known !== undefined) return new SignerError(known.code, `${where}: ${known.advice} (${name})`, { cause: thrown });
  const reason = (typeof code === "string" ? code : name).replace(/[^\x20-\x7e]+/g, " ").slice(0, NAME_CHARACTERS_MAX);
  return new SignerError("unavailable", `${where}: failed (${reason}); try again, or check the route to it`, {
    cause: thrown,
  });
};

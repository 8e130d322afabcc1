/**
 * `GET /healthcheck`: what works and what does not, in the shape of Web3Signer's (Vert.x health checks) with one more
 * check, `enclaves-check`. A check with children gives its own verdict: a member that is being replaced is DOWN, the
 * pool is not.
 */

import type { FastifyInstance } from "fastify";
import type { MemberView, PoolView } from "#pool-manager/pool-port.ts";
import { JSON_TYPE } from "../errors.ts";
import { refuseOtherMethods } from "../routes.ts";

type Status = "UP" | "DOWN";

interface Check {
  readonly id: string;
  readonly status: Status;
  readonly data?: Readonly<Record<string, unknown>>;
  readonly checks?: readonly Check[];
}

const PATH = "/healthcheck";
/** Statuses of the route's two answers: DOWN is an answer in full, not a failure. */
const STATUS_UP = 200;
const STATUS_DOWN = 503;

/** Adds the route. */
export const registerHealthcheck = (app: FastifyInstance, { view }: { view: () => PoolView }): void => {
  app.get(PATH, async (_request, reply) => {
    const health = describeHealth(view());
    void reply.code(health.status === "UP" ? STATUS_UP : STATUS_DOWN).type(JSON_TYPE);
    return JSON.stringify(health);
  });
  refuseOtherMethods(app, PATH, ["GET"]);
};

/** The whole answer for a view of the pool. */
export const describeHealth = (view: PoolView): { status: Status; checks: readonly Check[]; outcome: Status } => {
  const checks = [
    { id: "default-check", status: "UP" },
    checkKeys(view),
    checkStore(view),
    checkEnclaves(view),
  ] as const;
  const status = toStatus(checks.every((check) => check.status === "UP"));
  return { status, checks, outcome: status };
};

/** As Web3Signer: one key that could not be loaded makes it DOWN. */
const checkKeys = (view: PoolView): Check => {
  const status = toStatus(view.publicKeys !== undefined && view.keyErrors === 0);
  const data = { "keys-loaded": view.publicKeys?.length ?? 0, "error-count": view.keyErrors };
  return { id: "keys-check", status, checks: [{ id: "keystores-bulk-loading", status, data }] };
};

/** DOWN when any enclave says that the store is suspect or unreachable, even while others reach it. */
const checkStore = (view: PoolView): Check => {
  const problem = view.members.filter(isAlive).find(({ status }) => status?.storeProblem !== undefined);
  const reason =
    problem !== undefined
      ? `enclave ${problem.cid}: ${problem.status?.storeProblem}`
      : view.members.some(({ state, status }) => state === "ready" && status !== undefined)
        ? undefined
        : "no ready enclave reports a verified store";
  return {
    id: "slashing-protection-db-health-check",
    status: toStatus(reason === undefined),
    ...(reason === undefined ? {} : { data: { reason } }),
  };
};

const checkEnclaves = (view: PoolView): Check => {
  const ready = view.members.some(({ state }) => state === "ready");
  const reason = ready ? undefined : describeProblems(view.members);
  return {
    id: "enclaves-check",
    status: toStatus(ready),
    data: { "pool-manager-connected": view.connected, ...(reason === undefined ? {} : { reason }) },
    checks: view.members.map((member) => ({
      id: `enclave-${member.cid}`,
      status: toStatus(member.state === "ready"),
      data: {
        cid: member.cid,
        state: member.state,
        keys: member.status?.keys ?? 0,
        // Left out of the JSON when there is none.
        signer: member.status?.signer,
        problem: member.problem,
        storeProblem: member.status?.storeProblem,
      },
    })),
  };
};

/** What keeps the members from being ready; undefined when nobody says. */
const describeProblems = (members: readonly MemberView[]): string | undefined => {
  const problems = members.filter(({ problem }) => problem !== undefined);
  return problems.length === 0
    ? undefined
    : problems.map(({ cid, problem }) => `enclave ${cid}: ${problem}`).join("; ");
};

/** A member whose words count: the last status of a dead one is history. */
const isAlive = ({ state }: MemberView): boolean => state !== "gone" && state !== "failed";

const toStatus = (good: boolean): Status => (good ? "UP" : "DOWN");

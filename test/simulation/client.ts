/** Validator clients: each asks a gateway, and another one when it hears nothing good. */

import { toSignerError } from "#protocol/errors.ts";
import { describeDuty, encodeAsking } from "./duty.ts";
import type { Gateway } from "./parent.ts";
import type { Request } from "./plan.ts";
import { countOne } from "./stats.ts";
import type { SimulatedKey, World } from "./world.ts";

/** Sends all requests of the plan at their time. */
export const startClients = (world: World, gateways: readonly Gateway[]): void => {
  const { clock, plan } = world;
  for (const request of plan.requests) {
    clock.after(request.atMs - clock.nowMs, () => void ask(world, gateways, request));
  }
};

const ask = async (world: World, gateways: readonly Gateway[], request: Request): Promise<void> => {
  const { clock, stats } = world;
  const key = world.keys[request.key] as SimulatedKey;
  for (let attempt = 0; attempt <= request.retries; attempt += 1) {
    const gateway = gateways[(request.gateway + attempt * request.stride) % gateways.length] as Gateway;
    const place = `client asks ${gateway.name} (r${request.id}.${attempt})`;
    world.tell(() => `${place}: ${describeDuty(request.duty)} of ${key.name}`);
    stats.operations += 1;
    try {
      const outcome = await gateway.pool.sign({
        pubkey: key.pubkey,
        body: encodeAsking({ requestId: request.id, attempt, duty: request.duty }),
        slashable: request.slashableHint,
        timeoutMs: request.timeoutMs,
      });
      world.tell(
        () => `client hears r${request.id}.${attempt}: ${outcome.kind === "signed" ? "signed" : outcome.rule}`,
      );
      return;
    } catch (error) {
      const { code } = toSignerError(error);
      if (code === "internal" && !isExpected(error)) throw error;
      countOne(stats.failures, code);
      world.tell(() => `client hears r${request.id}.${attempt}: ${code}`);
      await clock.sleep(request.retryAfterMs);
    }
  }
};

/** The one defect that is injected; every other one is a real one, in the simulation or in what it runs. */
const isExpected = (error: unknown): boolean =>
  error instanceof Error && error.message.includes("the signature failed");

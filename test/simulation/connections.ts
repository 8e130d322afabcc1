/**
 * Connections between gateways and enclaves: what `protocol/rpc.ts` promises its callers (one answer, a deadline,
 * `connection_lost`), over messages that are late, lost, doubled or held by a cut.
 */

import { SignerError, toSignerError } from "#protocol/errors.ts";
import { decodeSignCommand } from "#protocol/messages/sign.ts";
import type { RpcClient, RpcClientOptions } from "#protocol/rpc.ts";
import { decodeAsking } from "./duty.ts";
import type { Enclave } from "./enclave.ts";
import type { World } from "./world.ts";

/** A stream that was opened to an enclave. */
export interface SimulatedStream {
  /** Makes it the asking end, as `createRpcClient` does. */
  toClient(options: RpcClientOptions): RpcClient;
  /** Ends a stream that nobody wants any more. */
  destroy(): void;
}

interface Waiting {
  readonly resolve: (payload: Uint8Array) => void;
  readonly reject: (error: SignerError) => void;
}

/** Longest delay of a message: longer than any patience. */
const LATE_MS_MAX = 8_000;
/** A killed process's connections are noticed to be gone within this. */
const NOTICE_MS = 2;

/** Opens a stream from `gateway` to `enclave`, which is alive. */
export const openStream = (world: World, enclave: Enclave, gateway: string): SimulatedStream => ({
  destroy: () => undefined,
  toClient: (options) => {
    const { clock, noise } = world;
    const waiting = new Set<Waiting>();
    let closed = false;

    const close = (detail: string): void => {
      if (closed) return;
      closed = true;
      enclave.connections.delete(onCrash);
      const reason = new SignerError("connection_lost", detail);
      for (const entry of [...waiting]) entry.reject(reason);
      options.onClose?.(reason);
    };
    const onCrash = (): void => void clock.after(NOTICE_MS * noise.delayMs(gateway), () => close("peer closed"));
    enclave.connections.add(onCrash);

    /** A message takes its time, and waits where the enclave is cut off. */
    const transmit = (place: string, late: boolean, arrive: () => void): void => {
      const delayMs = late ? noise.longMs(place, LATE_MS_MAX) : noise.delayMs(place);
      clock.after(Math.max(delayMs, enclave.cutOffUntilMs - clock.nowMs), () => {
        if (clock.nowMs < enclave.cutOffUntilMs) transmit(place, false, arrive);
        else arrive();
      });
    };

    const deliver = async (payload: Uint8Array, place: string, settle: (answer: Answer) => void): Promise<void> => {
      if (!enclave.alive) return;
      const answer = await enclave.handle(payload).then(
        (value): Answer => ({ ok: true, value }),
        (error: unknown): Answer => ({ ok: false, error: toSignerError(error) }),
      );
      if (!enclave.alive || noise.happens("answer lost", place)) return;
      if (!answer.ok) world.tell(() => `${enclave.name} fails ${place}: ${answer.error.code}`);
      transmit(`${place} answer`, noise.happens("answer delayed", place), () => settle(answer));
    };

    const request: RpcClient["request"] = (_operation, payload, { timeoutMs }) =>
      new Promise((resolve, reject) => {
        if (closed) return reject(new SignerError("connection_lost", "connection is closed"));
        const { requestId, attempt } = decodeAsking(decodeSignCommand(payload).body);
        const place = `r${requestId}.${attempt} ${gateway} to ${enclave.name}`;
        const settle = (answer: Answer): void => {
          if (!waiting.delete(entry)) return;
          clock.cancel(timer);
          if (answer.ok) resolve(answer.value);
          else reject(answer.error);
        };
        const entry: Waiting = {
          resolve: (value) => settle({ ok: true, value }),
          reject: (error) => settle({ ok: false, error }),
        };
        const timer = clock.after(timeoutMs, () =>
          entry.reject(new SignerError("deadline_exceeded", `no answer within ${timeoutMs} ms`)),
        );
        waiting.add(entry);
        world.tell(() => place);
        if (noise.happens("connection broken", place)) clock.after(noise.longMs(place, 20), () => close("broken"));
        if (!noise.happens("request lost", place)) {
          const late = noise.happens("request delayed", place);
          transmit(`${place} request`, late, () => void deliver(payload, place, settle));
        }
        if (noise.happens("request duplicated", place)) {
          transmit(`${place} duplicate`, true, () => void deliver(payload, place, () => undefined));
        }
      });

    return {
      request,
      get inFlight() {
        return waiting.size;
      },
      get closed() {
        return closed;
      },
      close: () => close("closed by this side"),
    };
  },
});

type Answer = { readonly ok: true; readonly value: Uint8Array } | { readonly ok: false; readonly error: SignerError };

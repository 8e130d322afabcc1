/** The enclave's two ports on a hybrid vsock address. A peer that breaks the format loses its connection, no more. */

import type { Socket } from "node:net";
import { SignerError } from "#protocol/errors.ts";
import { PORT_CONTROL, PORT_DATA } from "#protocol/limits.ts";
import { describeError, type Logger } from "#protocol/log.ts";
import { encodeAttestOutcome, OPERATION_ATTEST } from "#protocol/messages/attest.ts";
import { decodeSignCommand, encodeSignOutcome, OPERATION_SIGN } from "#protocol/messages/sign.ts";
import { type RpcHandler, serveRpc } from "#protocol/rpc.ts";
import { type Listener, listenGuest } from "#protocol/transport/hybrid.ts";
import type { Controller } from "./control.ts";

/** Listens at the hybrid path until closed. */
export const serveEnclave = (path: string, controller: Controller, logger: Logger): Promise<Listener> => {
  const data: RpcHandler = async (operation, payload) => {
    if (operation === OPERATION_ATTEST) return encodeAttestOutcome(await controller.attest(payload));
    if (operation !== OPERATION_SIGN)
      throw new SignerError("protocol_violation", `data: unknown operation ${operation}`);
    return encodeSignOutcome(await controller.sign(decodeSignCommand(payload)));
  };
  const serve = (port: string, handler: RpcHandler) => (socket: Socket) => {
    serveRpc(socket, {
      handler: logged(port, handler, logger),
      onViolation: (error) => {
        controller.count("rejectedFrames");
        logger.warn("connection closed: peer broke the format", { port, reason: error.detail });
      },
    });
  };
  return listenGuest(
    path,
    new Map([
      [PORT_DATA, serve("data", data)],
      [PORT_CONTROL, serve("control", controller.control)],
    ]),
  );
};

/** Defects leave a log line; a peer hears only that one happened. */
const logged =
  (port: string, handler: RpcHandler, logger: Logger): RpcHandler =>
  async (operation, payload) => {
    try {
      return await handler(operation, payload);
    } catch (error) {
      if (!(error instanceof SignerError) || error.code === "internal") {
        logger.error("request failed", { port, operation, reason: describeError(error) });
      }
      throw error;
    }
  };

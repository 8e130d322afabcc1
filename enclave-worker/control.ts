/** What the enclave does for the pool-manager: one function per control operation, admitted by the phase machine. */

import { randomBytes } from "node:crypto";
import { setImmediate as nextTurn, setTimeout as sleep } from "node:timers/promises";
import { SecretKey } from "@chainsafe/blst";
import { toHex } from "#protocol/bytes.ts";
import { SignerError, toSignerError } from "#protocol/errors.ts";
import { SIGN_DEADLINE_MS_MAX } from "#protocol/limits.ts";
import {
  decodeConfigure,
  decodeOpenKeystore,
  decodePubkeys,
  decodeSealedKeys,
  ENCLAVE_COUNTERS,
  type EnclaveCounter,
  encodeLoadReport,
  encodeSealedKey,
  encodeStatus,
} from "#protocol/messages/control.ts";
import type { SignCommand, SignOutcome } from "#protocol/messages/sign.ts";
import type { RpcHandler } from "#protocol/rpc.ts";
import { parseEnclaveConfig } from "./config.ts";
import { createEnclave, type Enclave, type EnclaveModules } from "./enclave.ts";
import { SECRET_KEY_BYTES } from "./keys/arena.ts";
import { derivePubkey, seal, unseal } from "./keys/seal.ts";
import { type ControlOperation, createPhaseMachine } from "./phase.ts";
import type { GuardedKey } from "./slashing/guard.ts";

/** The enclave as its ports see it. */
export interface Controller {
  /** Handles the control port. */
  readonly control: RpcHandler;
  /** Signs when ready. */
  sign(command: SignCommand): Promise<SignOutcome>;
  count(counter: EnclaveCounter): void;
  /** Takes no new request, and waits for those in flight, at most as long as a request may take. */
  drain(): Promise<void>;
  close(): Promise<void>;
}

/** Keys opened in one turn of the event loop: 32 × ≈130 µs, so that a reload does not hold up signing. */
const KEYS_PER_TURN = 32;
const DRAIN_POLL_MS = 10;

/** Makes the controller of an enclave that was not configured yet. */
export const createController = (modules: Omit<EnclaveModules, "count">): Controller => {
  const phase = createPhaseMachine();
  const counters = Object.fromEntries(ENCLAVE_COUNTERS.map((name) => [name, 0])) as Record<EnclaveCounter, number>;
  const count = (counter: EnclaveCounter): void => {
    counters[counter] += 1;
  };
  const guarded = new Map<string, GuardedKey>();
  let enclave: Enclave | undefined;
  let inFlight = 0;

  const configured = (): Enclave => {
    if (enclave === undefined) throw new SignerError("unavailable", "the enclave is not configured");
    return enclave;
  };

  const sealed = (secret: Uint8Array): Uint8Array => {
    try {
      const pubkey = derivePubkey(secret);
      const bytes = seal(configured().sealingKey, pubkey, secret);
      return encodeSealedKey({ pubkey, sealed: bytes, registered: false });
    } finally {
      secret.fill(0);
    }
  };

  const drain = async (): Promise<void> => {
    phase.advance("draining");
    const patienceMs = modules.now() + SIGN_DEADLINE_MS_MAX;
    while (inFlight > 0 && modules.now() < patienceMs) await sleep(DRAIN_POLL_MS);
  };

  const operations: Record<ControlOperation, RpcHandler> = {
    configure: (_, payload) => {
      const { settings, secrets } = decodeConfigure(payload);
      enclave = createEnclave(parseEnclaveConfig(settings), secrets, { ...modules, count });
      phase.advance("provisioning");
      return new Uint8Array();
    },
    openKeystore: async (_, payload) => {
      const { keystore, password } = decodeOpenKeystore(payload);
      try {
        return sealed((await configured().opener.open(keystore, password)).secret);
      } finally {
        password.fill(0);
      }
    },
    openSecret: (_, payload) => sealed(parseSecretText(payload)),
    generateKey: () => {
      const entropy = randomBytes(SECRET_KEY_BYTES);
      const secret = SecretKey.fromKeygen(entropy).toBytes();
      entropy.fill(0);
      return sealed(secret);
    },
    loadKeys: async (_, payload) => {
      const { keys, sealingKey } = configured();
      const failures: { pubkey: Uint8Array; reason: string }[] = [];
      let loaded = 0;
      for (const [index, key] of decodeSealedKeys(payload).entries()) {
        if (index % KEYS_PER_TURN === 0) await nextTurn();
        try {
          const secret = unseal(sealingKey, key.pubkey, key.sealed);
          keys.add(key.pubkey, secret);
          secret.fill(0);
          guarded.set(toHex(key.pubkey), { pubkey: key.pubkey, registered: key.registered });
          loaded += 1;
        } catch (error) {
          failures.push({ pubkey: key.pubkey, reason: toSignerError(error).detail });
        }
      }
      return encodeLoadReport(loaded, failures);
    },
    removeKeys: (_, payload) => {
      for (const pubkey of decodePubkeys(payload)) {
        configured().keys.remove(pubkey);
        configured().protection.forget(pubkey);
        guarded.delete(toHex(pubkey));
      }
      return new Uint8Array();
    },
    activate: async () => {
      await configured().protection.activate([...guarded.values()]);
      await configured().selfTest();
      if (phase.current === "provisioning") phase.advance("ready");
      return new Uint8Array();
    },
    status: () => {
      const { problem, genesisValidatorsRoot, initialised } = enclave?.protection ?? { initialised: false };
      return encodeStatus({
        phase: phase.current,
        keys: enclave?.keys.size ?? 0,
        ...(problem !== undefined && { storeProblem: problem }),
        ...(genesisValidatorsRoot !== undefined && { genesisValidatorsRootHex: toHex(genesisValidatorsRoot) }),
        storeInitialised: initialised,
        inFlight,
        counters,
      });
    },
    drain: async () => {
      await drain();
      return new Uint8Array();
    },
  };

  return {
    control: (operation, payload) => operations[phase.admit(operation)](operation, payload),
    sign: async (command) => {
      phase.requireReady();
      inFlight += 1;
      try {
        const outcome = await configured().pipeline(command);
        count(outcome.kind);
        return outcome;
      } catch (error) {
        count("failed");
        throw error;
      } finally {
        inFlight -= 1;
      }
    },
    count,
    drain,
    close: async () => enclave?.close(),
  };
};

/** A secret key as hex text. The error must not quote it. */
const parseSecretText = (payload: Uint8Array): Uint8Array => {
  const match = /^(?:0x)?([0-9a-f]{64})$/i.exec(Buffer.from(payload).toString("latin1").trim());
  if (match === null) throw new SignerError("bad_request", "secret key: expected 0x and 64 hex digits");
  return Buffer.from(match[1] as string, "hex");
};

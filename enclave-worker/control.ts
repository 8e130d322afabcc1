/** What the enclave does for the pool-manager: one function per control operation, admitted by the phase machine. */

import { randomBytes } from "node:crypto";
import { setImmediate as nextTurn, setTimeout as sleep } from "node:timers/promises";
import { SecretKey } from "@chainsafe/blst";
import { ByteReader, toHex } from "#protocol/bytes.ts";
import { SignerError, toSignerError } from "#protocol/errors.ts";
import { PAGE_ENTRIES_MAX, SIGN_DEADLINE_MS_MAX } from "#protocol/limits.ts";
import type { AttestOutcome } from "#protocol/messages/attest.ts";
import {
  decodeConfigure,
  decodeMacKeys,
  decodeOpenKeystore,
  decodePubkeys,
  decodeSealedKeys,
  ENCLAVE_COUNTERS,
  type EnclaveCounter,
  encodeLoadReport,
  encodeOperatorReport,
  encodeSealedKey,
  encodeStatus,
  OPERATOR_FAILURES_MAX,
  type SealedKey,
} from "#protocol/messages/control.ts";
import { decodeConfigureSealed, decodeLoadBundle } from "#protocol/messages/sealed.ts";
import type { SignCommand, SignOutcome } from "#protocol/messages/sign.ts";
import { decodeEntries, encodeEntries } from "#protocol/messages/store.ts";
import { decodeOperatorCommand } from "#protocol/operator/command.ts";
import type { RpcHandler } from "#protocol/rpc.ts";
import { wipeSecrets } from "#protocol/sealed/sealed-secrets.ts";
import type { Unsealed, Unsealer } from "./attested/unsealer.ts";
import { createWitness } from "./attested/witness.ts";
import { attestedConfig, parseAttestedChoices, parseEnclaveConfig } from "./config.ts";
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
  /** A document about this enclave and the keys that it holds, when ready. @throws SignerError */
  attest(nonce: Uint8Array): Promise<AttestOutcome>;
  count(counter: EnclaveCounter): void;
  /** Takes no new request, and waits for those in flight, at most as long as a request may take. */
  drain(): Promise<void>;
  close(): Promise<void>;
}

/** Keys opened in one turn of the event loop: 32 × ≈130 µs, so that a reload does not hold up signing. */
const KEYS_PER_TURN = 32;
const DRAIN_POLL_MS = 10;
/** What there is to say of the store before the settings came. */
const NO_PROTECTION = {
  problem: undefined,
  reachesStore: true,
  genesisValidatorsRoot: undefined,
  initialised: false,
  commandSequence: 0,
} as const;

/** Makes the controller of an enclave that was not configured yet. */
export const createController = (modules: Omit<EnclaveModules, "count" | "isOpen">): Controller => {
  const phase = createPhaseMachine();
  const counters = Object.fromEntries(ENCLAVE_COUNTERS.map((name) => [name, 0])) as Record<EnclaveCounter, number>;
  const count = (counter: EnclaveCounter): void => {
    counters[counter] += 1;
  };
  /** Loaded keys, and those among them that may sign: their records are known to stand in the store. */
  const loaded = new Map<string, GuardedKey>();
  const activated = new Set<string>();
  const opened = new Set<string>();
  const isOpen = (pubkey: Uint8Array): boolean => opened.has(toHex(pubkey));
  const witness = createWitness(opened);
  let enclave: Enclave | undefined;
  let unsealer: Promise<Unsealer> | undefined;
  let unsealed: Unsealed | undefined;
  let unsealing = false;
  let inFlight = 0;

  const configured = (): Enclave => {
    if (enclave === undefined) throw new SignerError("unavailable", "the enclave is not configured");
    return enclave;
  };

  const sealed = (secret: Uint8Array): Uint8Array => {
    try {
      const pubkey = derivePubkey(secret);
      const bytes = seal(sealingKeyOf(configured()), pubkey, secret);
      return encodeSealedKey({ pubkey, sealed: bytes, registered: false });
    } finally {
      secret.fill(0);
    }
  };

  /** A failure leaves the enclave as it was: the parent may ask again, with fresh credentials. */
  const configureSealed = async (payload: Uint8Array): Promise<void> => {
    const { choices, ...message } = decodeConfigureSealed(payload);
    if (unsealing) throw new SignerError("unavailable", "the enclave is being configured");
    unsealing = true;
    try {
      const checked = parseAttestedChoices(choices);
      unsealer ??= openUnsealer(modules);
      unsealer.catch(() => (unsealer = undefined));
      const opened = await (await unsealer).unseal(message, checked);
      try {
        if (phase.current !== "booting") throw new SignerError("unavailable", `the enclave is ${phase.current}`);
        const config = attestedConfig(opened.configuration, checked);
        enclave = createEnclave(config, opened.secrets, { ...modules, count, isOpen });
      } catch (error) {
        wipeSecrets(opened.secrets);
        throw error;
      }
      unsealed = opened;
      phase.configured("attested");
      const { version, group, authority } = opened.configuration;
      modules.logger.info("configured by attestation", { version, group, authority: toHex(authority) });
    } finally {
      unsealing = false;
    }
  };

  const loadBundle = async (payload: Uint8Array): Promise<Uint8Array> => {
    const bundle = decodeLoadBundle(payload);
    if (unsealed === undefined) throw new SignerError("unavailable", "the enclave has no sealed configuration");
    const failures = await unsealed.openBundle(bundle, ({ pubkey, registered }, secret) => {
      configured().keys.add(pubkey, secret);
      loaded.set(toHex(pubkey), { pubkey, registered });
    });
    return encodeLoadReport(bundle.keys.length - failures.length, failures);
  };

  const drain = async (): Promise<void> => {
    phase.advance("draining");
    const patienceMs = modules.now() + SIGN_DEADLINE_MS_MAX;
    while (inFlight > 0 && modules.now() < patienceMs) await sleep(DRAIN_POLL_MS);
  };

  /** What is not accepted may hold secrets or credentials all the same. */
  const admit = (operation: number, payload: Uint8Array): ControlOperation => {
    try {
      return phase.admit(operation);
    } catch (error) {
      payload.fill(0);
      throw error;
    }
  };

  const operations: Record<ControlOperation, RpcHandler> = {
    configure: (_, payload) => {
      if (unsealing) throw new SignerError("unavailable", "the enclave is being configured");
      const { settings, secrets } = decodeConfigure(payload);
      enclave = createEnclave(parseEnclaveConfig(settings), secrets, { ...modules, count, isOpen });
      phase.configured("development");
      return new Uint8Array();
    },
    configureSealed: async (_, payload) => {
      await configureSealed(payload);
      return new Uint8Array();
    },
    loadBundle: (_, payload) => loadBundle(payload),
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
      const failures: { pubkey: Uint8Array; reason: string }[] = [];
      const page = decodeSealedKeys(payload);
      for (const [index, key] of page.entries()) {
        if (index % KEYS_PER_TURN === 0) await nextTurn();
        try {
          loadKey(configured(), key);
          loaded.set(toHex(key.pubkey), { pubkey: key.pubkey, registered: key.registered });
        } catch (error) {
          failures.push({ pubkey: key.pubkey, reason: toSignerError(error).detail });
        }
      }
      return encodeLoadReport(page.length - failures.length, failures);
    },
    removeKeys: async (_, payload) => {
      for (const [index, pubkey] of decodePubkeys(payload).entries()) {
        if (index % KEYS_PER_TURN === 0) await nextTurn();
        const name = toHex(pubkey);
        for (const names of [opened, activated, loaded]) names.delete(name);
        witness.keysChanged();
        configured().keys.remove(pubkey);
        configured().protection.forget(pubkey);
      }
      return new Uint8Array();
    },
    activate: async () => {
      const keys = [...loaded].filter(([name]) => !activated.has(name));
      await configured().activate(keys.map(([, key]) => key));
      for (const [name] of keys) activated.add(name);
      return new Uint8Array();
    },
    open: async () => {
      await configured().selfTest();
      for (const name of activated) opened.add(name);
      witness.keysChanged();
      if (phase.current === "provisioning") phase.advance("ready");
      return new Uint8Array();
    },
    operate: async (_, payload) => {
      const received = decodeOperatorCommand(payload);
      const { written, unchanged, blank, failures } = await configured().operator.execute(received);
      modules.logger.info("operator command executed", {
        command: received.command.command,
        written,
        unchanged,
        failed: failures.length,
      });
      const named = failures.slice(0, OPERATOR_FAILURES_MAX);
      return encodeOperatorReport({ written, unchanged, blank, failed: failures.length, failures: named });
    },
    floors: (_, payload) => {
      const page = new ByteReader(payload, "floors").u32("page");
      const records = configured().protection.workshop().guard?.records() ?? [];
      const entries = [...records].slice(page * PAGE_ENTRIES_MAX, (page + 1) * PAGE_ENTRIES_MAX);
      return encodeEntries(entries.map(({ pubkey, record }) => ({ key: pubkey, value: record })));
    },
    keepFloors: (_, payload) => {
      configured().operator.keepFloors(decodeEntries(payload));
      return new Uint8Array();
    },
    macKeys: (_, payload) => {
      configured().protection.acceptMacKeys(decodeMacKeys(payload).macKeys);
      return new Uint8Array();
    },
    refresh: async () => {
      await configured().protection.refresh();
      return new Uint8Array();
    },
    status: () => {
      const protection = enclave?.protection ?? NO_PROTECTION;
      const { problem, reachesStore, genesisValidatorsRoot, initialised, commandSequence } = protection;
      return encodeStatus({
        phase: phase.current,
        keys: opened.size,
        ...(problem !== undefined && { storeProblem: problem }),
        reachesStore,
        ...(enclave !== undefined && { signer: enclave.signer }),
        ...(genesisValidatorsRoot !== undefined && { genesisValidatorsRootHex: toHex(genesisValidatorsRoot) }),
        storeInitialised: initialised,
        commandSequence,
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
    control: (operation, payload) => operations[admit(operation, payload)](operation, payload),
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
    attest: async (nonce) => {
      phase.requireReady();
      return witness.attest(nonce, unsealed?.nsm);
    },
    count,
    drain,
    close: async () => enclave?.close(),
  };
};

/** Everything of the attested mode is loaded when it is needed: the KMS client alone takes 38 MiB. */
const openUnsealer = async (modules: Omit<EnclaveModules, "count" | "isOpen">): Promise<Unsealer> => {
  const { findNsm } = await import("./attested/nsm-here.ts");
  const { createUnsealer } = await import("./attested/unsealer.ts");
  return createUnsealer({ ...modules, ...findNsm(modules) });
};

/** Attested mode has none, and its phases do not come here. */
const sealingKeyOf = ({ sealingKey }: Enclave): Uint8Array => {
  if (sealingKey !== undefined) return sealingKey;
  throw new SignerError("unavailable", "the enclave has no sealing key: its keys come in sealed bundles");
};

const loadKey = (enclave: Enclave, key: SealedKey): void => {
  const { keys } = enclave;
  const secret = unseal(sealingKeyOf(enclave), key.pubkey, key.sealed);
  try {
    keys.add(key.pubkey, secret);
  } finally {
    secret.fill(0);
  }
};

/** A secret key as hex text, decoded without ever being a string; wipes its input. The error does not quote it. */
const parseSecretText = (payload: Uint8Array): Uint8Array => {
  const digits = payload[0] === 0x30 && ((payload[1] ?? 0) | 0x20) === 0x78 ? payload.subarray(2) : payload;
  const secret = new Uint8Array(SECRET_KEY_BYTES);
  const valid = digits.length === SECRET_KEY_BYTES * 2 && digits.every((digit) => hexValue(digit) >= 0);
  for (let index = 0; valid && index < SECRET_KEY_BYTES; index += 1) {
    secret[index] = hexValue(digits[index * 2] as number) * 16 + hexValue(digits[index * 2 + 1] as number);
  }
  payload.fill(0);
  if (!valid) throw new SignerError("bad_request", "secret key: expected 0x and 64 hex digits");
  return secret;
};

/** Value of an ASCII hex digit, or -1. */
const hexValue = (digit: number): number => {
  const lower = digit | 0x20;
  if (digit >= 0x30 && digit <= 0x39) return digit - 0x30;
  return lower >= 0x61 && lower <= 0x66 ? lower - 0x61 + 10 : -1;
};

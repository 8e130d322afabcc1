/**
 * Every limit and port that both ends must agree on, with unit and reason. Limits of one process alone live in its
 * own `config.ts`.
 */

/** vsock port on which an enclave takes signing requests from gateways (DESIGN: data port). */
export const PORT_DATA = 5000;
/** vsock port on which an enclave takes commands of the pool-manager. */
export const PORT_CONTROL = 5001;
/** Parent-side vsock port behind which the pool-manager's embedded slashing store answers (`messages/store.ts`). */
export const PORT_EGRESS_STORE = 8000;
/**
 * First of the parent-side vsock ports that the pool-manager relays, blindly, to Redis: address number i of the
 * operator's list is behind this port + i, so that an enclave can reach nothing else.
 */
export const PORT_EGRESS_REDIS = 8001;
/** Parent-side vsock port that the pool-manager relays, blindly, to the one KMS endpoint of an attested pool. */
export const PORT_EGRESS_KMS = 8100;
/** Parent-side vsock port of the software NSM (development): an enclave without `/dev/nsm` asks there. */
export const PORT_NSM = 8200;
/** Redis addresses that enclaves may reach: three Sentinels and thirteen servers, or a cluster of five shards of three. */
export const REDIS_ADDRESSES_MAX = 16;
/** CID of the first enclave; 0..2 are reserved and 3 is the parent (vsock(7), AWS Nitro Enclaves user guide). */
export const CID_FIRST = 16;
/** Enclaves a parent instance may run (AWS Nitro Enclaves user guide: up to four). */
export const ENCLAVES_MAX = 4;

/**
 * Longest accepted signing request body. The largest legitimate one is a full Altair block in JSON (two attester
 * slashings of 2 × 2048 indices, 128 attestations, 16 deposits): about 0.5 MiB.
 */
export const BODY_BYTES_MAX = 1024 * 1024;
/** Longest frame payload: a body plus the request's own fields, or a batch of control data. */
export const FRAME_PAYLOAD_BYTES_MAX = BODY_BYTES_MAX + 64 * 1024;
/** Requests in flight on one data connection; above it the client answers `overloaded`. */
export const IN_FLIGHT_PER_CONNECTION_MAX = 8192;
/** Unsent bytes that a connection may hold before it answers `overloaded`: 16 bodies of the largest size. */
export const WRITE_BUFFER_BYTES_MAX = 16 * BODY_BYTES_MAX;
/**
 * Unsent frames that a connection may hold, whatever their size: Node keeps a few hundred bytes for each, which is far
 * more than the twelve of the smallest. Four times the requests in flight, so that a peer that reads never meets it.
 */
export const WRITE_BUFFER_FRAMES_MAX = 4 * IN_FLIGHT_PER_CONNECTION_MAX;
/**
 * Payload bytes of the requests in flight that one connection may make the answering end hold; above it they are
 * answered `overloaded`. 64 bodies of the largest size, or 80,000 attestations of 800 bytes: the count of requests
 * (`IN_FLIGHT_PER_CONNECTION_MAX`) is reached first by any load of real duties.
 */
export const REQUEST_BYTES_IN_FLIGHT_MAX = 64 * BODY_BYTES_MAX;
/**
 * Longest time from the first byte of a frame to its last. The largest frame crosses a local socket in milliseconds; a
 * peer that needs ten seconds is stopped, or holds our memory on purpose.
 */
export const FRAME_TIMEOUT_MS = 10_000;
/** Time for the hybrid-vsock handshake line. Local sockets answer in microseconds; an emulated guest in tens of ms. */
export const CONNECT_TIMEOUT_MS = 5_000;

/**
 * Longest time any signing request may take. Validator clients give up after 5 s (Teku) to 12 s (Lighthouse), and a
 * duty is worthless after the slot (12 s) in any case.
 */
export const SIGN_DEADLINE_MS_MAX = 12_000;
/** Keys that one pool serves. Bounds every per-key map: 1,000,000 keys ≈ 136 MiB of records. */
export const KEYS_MAX = 1_000_000;
/** Public keys or records a paged message carries: 8192 × (48 + 136) bytes ≈ 1.4 MiB is too much, 4096 fits. */
export const PAGE_ENTRIES_MAX = 4096;
/** Longest EIP-2335 keystore file (a real one is below 1 KiB). */
export const KEYSTORE_BYTES_MAX = 16 * 1024;
/** Longest keystore password in bytes of UTF-8. */
export const PASSWORD_BYTES_MAX = 1024;

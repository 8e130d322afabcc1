/** The port of whatever starts enclaves: local processes today; QEMU guests and nitro-cli use the same. */

/** What to start. */
export interface LaunchRequest {
  readonly cid: number;
  /** Hybrid vsock path at which the enclave shall answer; its egress sockets are at `<path>_<port>`. */
  readonly path: string;
  /** SSZ preset of the network: process-wide in the enclave. */
  readonly preset: string;
}

/** A started enclave. */
export interface LaunchedEnclave {
  /** Resolves with a reason when the enclave is gone, however it ended. */
  readonly exited: Promise<string>;
  /** Ends it at once, and waits until it is gone. */
  kill(): Promise<void>;
}

/** Starts enclaves. */
export interface Launcher {
  launch(request: LaunchRequest): LaunchedEnclave;
}

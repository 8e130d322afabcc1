/** A process that logs to its standard error as it is told over its channel, and says whether it was held up. */

import { createLogSink } from "#protocol/log-sink.ts";

/** What the child is told. */
export type LogSinkCommand =
  | { readonly kind: "write"; readonly lines: readonly string[] }
  | { readonly kind: "flush"; readonly timeoutMs: number }
  /** Ends the process with the code, as a `main.ts` does. */
  | { readonly kind: "exit"; readonly code: number };

const sink = createLogSink({ fd: 2, bytesMax: 64 * 1024, process: "child" });

process.on("message", async (command: LogSinkCommand) => {
  if (command.kind === "write") for (const line of command.lines) sink.write(line);
  else if (command.kind === "flush") await sink.flush(command.timeoutMs);
  else process.exit(command.code);
  process.send?.("done"); // the event loop runs
});
process.send?.("ready");

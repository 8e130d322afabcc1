/** Progress on standard error: one line that is rewritten on a terminal, a line for each step elsewhere. */

/** Shows what happens now. */
export interface Status {
  show(text: string): void;
  /** Ends the line. */
  end(): void;
}

/** Makes it; times are since then. */
export const createStatus = (stream: NodeJS.WriteStream = process.stderr): Status => {
  const startedMs = performance.now();
  let isOpen = false;
  return {
    show: (text) => {
      const line = `${((performance.now() - startedMs) / 1_000).toFixed(0).padStart(4)} s  ${text}`;
      if (!stream.isTTY) {
        stream.write(`${line}\n`);
        return;
      }
      stream.write(`\r\x1b[2K${line.slice(0, stream.columns - 1)}`);
      isOpen = true;
    },
    end: () => {
      if (isOpen) stream.write("\n");
      isOpen = false;
    },
  };
};

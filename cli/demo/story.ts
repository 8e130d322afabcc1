/** Tells a demonstration: numbered steps, what happens in each, and what it proves. */

import { styleText } from "node:util";

/** One step's voice. */
export type Say = (line: string) => void;

/** A step. */
export interface Step<Result> {
  readonly title: string;
  /** Said when it has worked. */
  readonly proves: string;
  readonly work: (say: Say) => Promise<Result> | Result;
}

/** Tells steps one after the other. */
export interface Story {
  /** @throws StepFailed */
  step<Result>(step: Step<Result>): Promise<Result>;
}

/** A step that did not do what it was to show. */
export class StepFailed extends Error {
  constructor(number: number, title: string, cause: unknown) {
    super(`step ${number} (${title}) failed: ${reasonOf(cause)}`, { cause });
    this.name = "StepFailed";
  }
}

/** @param write where the story goes; @param now monotonic clock in ms */
export const createStory = (write: (text: string) => void, now: () => number): Story => {
  let number = 0;
  return {
    step: async ({ title, proves, work }) => {
      number += 1;
      const startedMs = now();
      write(`\n${styleText("bold", `${number}. ${title}`)}\n`);
      try {
        const result = await work((line) => write(`   ${line}\n`));
        const seconds = ((now() - startedMs) / 1000).toFixed(1);
        write(`   ${styleText("green", "✓")} ${proves} ${styleText("gray", `(${seconds} s)`)}\n`);
        return result;
      } catch (error) {
        throw new StepFailed(number, title, error);
      }
    },
  };
};

/** What was waiting when everything was stopped says no more than that; why it was stopped is behind it. */
const reasonOf = (error: unknown): string => {
  if (!(error instanceof Error)) return String(error);
  return error.name === "AbortError" && error.cause instanceof Error ? error.cause.message : error.message;
};

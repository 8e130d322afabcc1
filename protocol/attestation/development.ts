/**
 * The permission to take documents of enclaves in debug mode. It is an object of its own, made here and nowhere else, so
 * that no option, setting or message can become one: only code that imports this file can ask for it. A test sees to it
 * that what runs in production does not.
 */

/** Shown to `verify.ts` by development code. */
export class DevelopmentTrust {
  readonly allowDebugMode = true;
  // A class with a private member: no literal of the same shape passes for one.
  readonly #made = true;

  /** Whether a value was made by this class; a copy over a channel was not. */
  static isGenuine(value: unknown): boolean {
    return typeof value === "object" && value !== null && #made in value;
  }
}

/** The one error of building: something that a person must read, in words for that person. */

/** Why the addon was not built. */
export class BuildError extends Error {
  override readonly name = "BuildError";
}

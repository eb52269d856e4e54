/** A rule that cannot be used; the message says why, for whoever wrote it. */
export class SigmaError extends Error {
  override readonly name = "SigmaError";
}

/** Two ends that share less are taken for parts of a log that don't touch. */
const LEAST_OVERLAP_BYTES = 16;

/**
 * What was added to a log of which only the end can be read, from two such ends.
 *
 * The later one starts somewhere within the earlier, or after it; then some may be lost, and all of it is new.
 */
export function newPart(before: Buffer, now: Buffer): Buffer {
  if (before.length === 0) return now;
  if (now.length >= before.length && now.subarray(0, before.length).equals(before)) return now.subarray(before.length);
  // The longest end of `before` that `now` begins with: the window has moved on by what comes before it.
  const head = now.subarray(0, Math.min(LEAST_OVERLAP_BYTES, now.length));
  for (let at = before.indexOf(head); at >= 0; at = before.indexOf(head, at + 1)) {
    const common = before.subarray(at);
    if (now.subarray(0, common.length).equals(common)) return now.subarray(common.length);
  }
  return now;
}

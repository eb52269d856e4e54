// Long lists are read in chunks, each starting after the last row of the one before, so that no query holds up the others
// for long and a page costs what it shows.

/** Where a row stands: when it came to be, then its id. Both compare as text. */
export interface Position {
  readonly at: string;
  readonly id: string;
}

/** Reads at most `size` rows after a position, in order. */
export type ReadAfter<Row> = (after: Position | undefined, size: number) => Promise<Row[]>;

/** Rows per query: short enough that a list of 100,000 lets other requests through in between. */
const CHUNK = 1000;

/**
 * The rows of several reads as one list in order, in chunks. The reads must not have rows in common.
 * @param limit  how many are wanted at most, where that is known: chunks are then no longer than that
 */
export async function* walk<Row>(
  reads: readonly ReadAfter<Row>[],
  positionOf: (row: Row) => Position,
  after: Position | undefined,
  limit: number | undefined,
): AsyncGenerator<Row[]> {
  const size = Math.min(CHUNK, limit ?? CHUNK);
  for (let position = after; ; ) {
    const parts: Row[][] = [];
    for (const read of reads) parts.push(await read(position, size));
    const complete = parts.every((rows) => rows.length < size);
    const rows =
      parts.length === 1 ? (parts[0] ?? []) : parts.flat().sort((a, b) => order(positionOf(a), positionOf(b)));
    // Each read gave its first `size`, so the first `size` of all are certain; what is beyond is read again.
    const chunk = complete || rows.length <= size ? rows : rows.slice(0, size);
    const last = chunk.at(-1);
    if (last !== undefined) yield chunk;
    if (complete || last === undefined) return;
    position = positionOf(last);
  }
}

const order = (a: Position, b: Position): number =>
  a.at < b.at ? -1 : a.at > b.at ? 1 : a.id < b.id ? -1 : a.id > b.id ? 1 : 0;

/** A position as the text that a page token seals. `at` has no blank. */
export const positionText = ({ at, id }: Position): string => `${at} ${id}`;

export function parsePosition(text: string | undefined): Position | undefined {
  if (text === undefined) return undefined;
  const blank = text.indexOf(" ");
  return { at: text.slice(0, blank), id: text.slice(blank + 1) };
}

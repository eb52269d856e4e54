// Keys in order, and what lies below a delimiter as one common prefix. Order is that of the keys' UTF-8 bytes, which is that
// of their code points and the database's own.
import type { Db } from "../database/database.ts";
import type { ObjectRecord } from "./object.ts";
import { objectOf } from "./object-rows.ts";

export interface ListingRequest {
  readonly bucket: string;
  readonly prefix: string;
  /** Empty: nothing is rolled up. */
  readonly delimiter: string;
  /** The last key or common prefix of the page before; empty at the beginning. */
  readonly after: string;
  /** Keys and common prefixes together. */
  readonly limit: number;
}

export interface Listing {
  readonly objects: readonly ObjectRecord[];
  readonly prefixes: readonly string[];
  /** Where the next page begins after; absent on the last. */
  readonly next?: string;
}

/** Rows are fetched so many at a time; those below a common prefix are skipped, the rest of them without being fetched. */
const MOST_ROWS = 1000;

/** Costs a query per common prefix or thousand keys, however many lie below the prefixes. */
export async function listObjects(db: Db, request: ListingRequest): Promise<Listing> {
  const { bucket, prefix, delimiter, limit } = request;
  const end = successor(prefix);
  const objects: ObjectRecord[] = [];
  const prefixes: string[] = [];
  let last = request.after;
  let from = startAfter(request);
  const found = () => objects.length + prefixes.length;
  while (from !== undefined) {
    // One more than wanted says whether there are more.
    const wanted = Math.min(limit - found() + 1, MOST_ROWS);
    let query = db
      .selectFrom("s3_objects")
      .selectAll()
      .where("bucket", "=", bucket)
      .where("key", from.inclusive ? ">=" : ">", from.key)
      .orderBy("key")
      .limit(wanted);
    if (prefix !== "" && !from.inclusive) query = query.where("key", ">=", prefix);
    if (end !== undefined) query = query.where("key", "<", end);
    const rows = await query.execute();
    let skipping: string | undefined;
    from = undefined;
    for (const row of rows) {
      if (skipping !== undefined && row.key.startsWith(skipping)) continue;
      if (found() === limit) return { objects, prefixes, next: last };
      skipping = commonPrefix(row.key, prefix, delimiter);
      if (skipping === undefined) objects.push(objectOf(row));
      else prefixes.push(skipping);
      last = skipping ?? row.key;
    }
    if (rows.length < wanted) break;
    if (skipping === undefined) from = { key: last, inclusive: false };
    else {
      const beyond = successor(skipping);
      from = beyond === undefined ? undefined : { key: beyond, inclusive: true };
    }
  }
  return { objects, prefixes };
}

interface Start {
  readonly key: string;
  readonly inclusive: boolean;
}

/** A page that ended with a common prefix goes on behind all that it stands for. */
function startAfter({ prefix, delimiter, after }: ListingRequest): Start | undefined {
  if (after === "") return { key: prefix, inclusive: true };
  if (commonPrefix(after, prefix, delimiter) !== after) {
    // An empty page at the very beginning would ask for what is before the prefix.
    return { key: after, inclusive: false };
  }
  const beyond = successor(after);
  return beyond === undefined ? undefined : { key: beyond, inclusive: true };
}

/** Up to and with the first delimiter behind the prefix; undefined if there is none. */
export function commonPrefix(key: string, prefix: string, delimiter: string): string | undefined {
  if (delimiter === "" || !key.startsWith(prefix)) return undefined;
  const at = key.indexOf(delimiter, prefix.length);
  return at < 0 ? undefined : key.slice(0, at + delimiter.length);
}

/** The first text, in the order of code points, that is after all that begin so; undefined if none is. */
export function successor(prefix: string): string | undefined {
  const points = [...prefix];
  for (let last = points.pop(); last !== undefined; last = points.pop()) {
    const point = last.codePointAt(0) ?? 0;
    if (point === 0x10ffff) continue;
    // Surrogates are no characters.
    return points.join("") + String.fromCodePoint(point === 0xd7ff ? 0xe000 : point + 1);
  }
  return undefined;
}

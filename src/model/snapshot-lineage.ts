// Which snapshots are generations of one disk: of the same volume, or one made from the other, however many steps apart.
import type { SnapshotId } from "../base/ids.ts";
import type { Db } from "../database/database.ts";
import { type Snapshot, uploadOf } from "./snapshot.ts";

/** A chain longer than this is not followed to its end. */
const MOST_STEPS = 1_000;

/** Do the two have a volume or a forebear in common? */
export async function areRelated(db: Db, a: Snapshot, b: Snapshot): Promise<boolean> {
  const forebears = await lineage(db, a);
  for (const id of await lineage(db, b)) if (forebears.has(id)) return true;
  return false;
}

/** The snapshot, its volume, and everything that it was made from: parents of uploads, sources of copies, bases of volumes. */
async function lineage(db: Db, snapshot: Snapshot): Promise<Set<string>> {
  const found = new Set<string>();
  let next: Snapshot | undefined = snapshot;
  while (next !== undefined && found.size < MOST_STEPS && !found.has(next.id)) {
    found.add(next.id);
    if (next.volume_id !== null) found.add(next.volume_id);
    const from: SnapshotId | null = await madeFrom(db, next);
    if (from === null) break;
    const row = await db.selectFrom("snapshots").selectAll().where("id", "=", from).executeTakeFirst();
    // A deleted forebear still binds those that came of it.
    if (row === undefined) found.add(from);
    next = row as Snapshot | undefined;
  }
  return found;
}

async function madeFrom(db: Db, snapshot: Snapshot): Promise<SnapshotId | null> {
  if (snapshot.source_snapshot_id !== null) return snapshot.source_snapshot_id;
  const parent = uploadOf(snapshot)?.parent ?? null;
  if (parent !== null || snapshot.volume_id === null) return parent;
  const volume = await db
    .selectFrom("volumes")
    .select("snapshot_id")
    .where("id", "=", snapshot.volume_id)
    .executeTakeFirst();
  return (volume?.snapshot_id ?? null) as SnapshotId | null;
}

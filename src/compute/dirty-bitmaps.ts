// Which dirty bitmap says what changed since which snapshot. Pure.
//
// A volume's bitmap is named after the snapshot at whose instant it was born: `bm-snap-…` holds what was written since.
// Between captures there is one and it records. While a capture runs there are two: the old one, frozen, is what the
// capture reads; the new one records since the new instant. When it has finished the old one goes; when it has failed
// the new one is merged back into the old.
//
//   (none)  --begin s1-->  [s1 rec]  --finish-->  [s1 rec]  --begin s2-->  [s1 frozen, s2 rec]
//                                                                --finished--> [s2 rec]
//                                                                --failed----> [s1 rec], with s2's marks
//
// A server can die between any two steps, and QEMU too. Only the rows know whether s2 finished, so nothing is repaired
// on sight: the next capture says which snapshot was the last, and `reconcileBitmaps` brings the volume there first.
import { isId, type SnapshotId } from "../base/ids.ts";
import { KIB } from "../base/units.ts";
import type { QmpBitmap, TransactionAction } from "./qmp-schema.ts";

/** Bytes that one bit stands for. */
export const BITMAP_GRANULARITY = 64 * KIB;

const PREFIX = "bm-";
export const bitmapName = (snapshotId: SnapshotId): string => `${PREFIX}${snapshotId}`;

export interface BitmapPlan {
  /** The snapshot whose bitmap can be trusted once `actions` are done; `null`: none, read all that is allocated. */
  readonly base: SnapshotId | null;
  /** For one QMP transaction: all or none, and no guest write in between. */
  readonly actions: readonly TransactionAction[];
}

/**
 * What to do with the bitmaps found on a node before a capture, given the volume's last finished snapshot.
 * Bitmaps that aren't ours are left alone.
 */
export function reconcileBitmaps(node: string, found: readonly QmpBitmap[], last: SnapshotId | null): BitmapPlan {
  const ours = found.filter(
    (bitmap) => bitmap.name?.startsWith(PREFIX) && isId("snapshot", bitmap.name.slice(PREFIX.length)),
  );
  const base = last === null ? undefined : ours.find((bitmap) => bitmap.name === bitmapName(last));
  const others = ours.filter((bitmap) => bitmap !== base);
  const remove = (bitmap: QmpBitmap): TransactionAction => bitmapAction("remove", node, bitmap.name ?? "");
  if (base === undefined || last === null || base.inconsistent === true) {
    return { base: null, actions: ours.map(remove) };
  }
  if (base.recording) return { base: last, actions: others.map(remove) };
  // Frozen by a capture that never finished: what was written since is in the bitmap born at that instant, the only other.
  const [born, ...surplus] = others;
  if (born === undefined || surplus.length > 0 || born.inconsistent === true || !born.recording) {
    return { base: null, actions: ours.map(remove) };
  }
  return { base: last, actions: mergeBack(node, bitmapName(last), born.name ?? "") };
}

/** Gives the old bitmap the marks of the new, lets it record again, drops the new. */
export function mergeBack(node: string, old: string, young: string): TransactionAction[] {
  return [
    { type: "block-dirty-bitmap-merge", data: { node, target: old, bitmaps: [young] } },
    bitmapAction("enable", node, old),
    bitmapAction("remove", node, young),
  ];
}

export const bitmapAction = (verb: "enable" | "disable" | "remove", node: string, name: string): TransactionAction => ({
  type: `block-dirty-bitmap-${verb}`,
  data: { node, name },
});

/** A bitmap that records from the transaction's instant on, and is kept in the overlay when QEMU quits. */
export const addBitmap = (node: string, name: string): TransactionAction => ({
  type: "block-dirty-bitmap-add",
  data: { node, name, persistent: true, granularity: BITMAP_GRANULARITY },
});

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { parseId, type SnapshotId } from "../base/ids.ts";
import { bitmapName, mergeBack, reconcileBitmaps } from "./dirty-bitmaps.ts";
import type { QmpBitmap, TransactionAction } from "./qmp-schema.ts";

const snapshot = (n: number): SnapshotId => parseId("snapshot", `snap-${n.toString(16).padStart(17, "0")}`);
const bitmap = (name: string, over: Partial<QmpBitmap> = {}): QmpBitmap => ({
  name,
  granularity: 65536,
  count: 0,
  recording: true,
  busy: false,
  persistent: true,
  ...over,
});
const [s1, s2, s3] = [snapshot(1), snapshot(2), snapshot(3)];
const remove = (name: string): TransactionAction => ({ type: "block-dirty-bitmap-remove", data: { node: "v", name } });

test("a recording bitmap of the last snapshot is trusted as it is", () => {
  assert.deepEqual(reconcileBitmaps("v", [bitmap(bitmapName(s1))], s1), { base: s1, actions: [] });
});

test("a capture that finished without its server: its bitmap is the one, the frozen one goes", () => {
  const found = [bitmap(bitmapName(s1), { recording: false }), bitmap(bitmapName(s2))];
  assert.deepEqual(reconcileBitmaps("v", found, s2), { base: s2, actions: [remove(bitmapName(s1))] });
});

test("a capture that never finished: the old bitmap gets the young one's marks and records again", () => {
  const found = [bitmap(bitmapName(s1), { recording: false }), bitmap(bitmapName(s2))];
  assert.deepEqual(reconcileBitmaps("v", found, s1), {
    base: s1,
    actions: mergeBack("v", bitmapName(s1), bitmapName(s2)),
  });
});

for (const [why, found, last] of [
  ["of another snapshot", [bitmap(bitmapName(s1))], s2],
  ["of no snapshot that is still there", [bitmap(bitmapName(s1))], null],
  ["inconsistent", [bitmap(bitmapName(s1), { inconsistent: true, recording: false })], s1],
  ["frozen, its successor lost", [bitmap(bitmapName(s1), { recording: false })], s1],
  [
    "frozen, its successor inconsistent",
    [bitmap(bitmapName(s1), { recording: false }), bitmap(bitmapName(s2), { inconsistent: true })],
    s1,
  ],
  [
    "frozen, and two could be its successor",
    [bitmap(bitmapName(s1), { recording: false }), bitmap(bitmapName(s2)), bitmap(bitmapName(s3))],
    s1,
  ],
] as const) {
  test(`a bitmap that is ${why} is not trusted, and all of ours go`, () => {
    assert.deepEqual(reconcileBitmaps("v", found, last), {
      base: null,
      actions: found.map(({ name }) => remove(name ?? "")),
    });
  });
}

test("bitmaps of others are left alone", () => {
  assert.deepEqual(reconcileBitmaps("v", [bitmap("backup-tool"), bitmap("bm-mine")], s1), { base: null, actions: [] });
});

// A model of a volume: guest writes, captures that finish or fail, servers that die between any two steps. Whatever
// happens, the bitmap that is trusted must know every block written since its snapshot.
interface Model {
  bitmaps: Map<string, { recording: boolean; marks: Set<number> }>;
  /** Blocks written since each snapshot. */
  since: Map<SnapshotId, Set<number>>;
}

function apply(model: Model, actions: readonly TransactionAction[]): void {
  for (const { type, data } of actions) {
    const name = String(data.name ?? data.target);
    const one = model.bitmaps.get(name);
    assert.ok(one, `${type} of ${name}, which is not there`);
    if (type === "block-dirty-bitmap-remove") model.bitmaps.delete(name);
    if (type === "block-dirty-bitmap-enable") one.recording = true;
    if (type === "block-dirty-bitmap-merge") {
      for (const source of data.bitmaps as string[])
        for (const mark of model.bitmaps.get(source)!.marks) one.marks.add(mark);
    }
  }
}

test("whatever the order of writes, captures, failures and crashes, no change since the base is missed", () => {
  const step = fc.oneof(
    fc.record({ kind: fc.constant("write" as const), block: fc.nat(15) }),
    fc.record({
      kind: fc.constant("capture" as const),
      end: fc.constantFrom("ok", "failed", "crash before row", "crash after row"),
    }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 30 }), fc.array(fc.nat(15), { maxLength: 4 }), (steps, writesMeanwhile) => {
      const model: Model = { bitmaps: new Map(), since: new Map() };
      let last: SnapshotId | null = null;
      let count = 0;
      const write = (block: number) => {
        for (const one of model.bitmaps.values()) if (one.recording) one.marks.add(block);
        for (const blocks of model.since.values()) blocks.add(block);
      };
      for (const one of steps) {
        if (one.kind === "write") {
          write(one.block);
          continue;
        }
        const found = [...model.bitmaps].map(([name, { recording }]) => bitmap(name, { recording }));
        const plan = reconcileBitmaps("v", found, last);
        apply(model, plan.actions);
        const young = snapshot(++count);
        const old = plan.base === null ? null : bitmapName(plan.base);
        if (plan.base !== null && old !== null) {
          const marks = model.bitmaps.get(old)!.marks;
          for (const block of model.since.get(plan.base)!) assert.ok(marks.has(block), `block ${block} was missed`);
          model.bitmaps.get(old)!.recording = false;
        }
        model.bitmaps.set(bitmapName(young), { recording: true, marks: new Set() });
        model.since.set(young, new Set());
        writesMeanwhile.forEach(write);
        if (one.end === "ok" && old !== null) model.bitmaps.delete(old);
        if (one.end === "failed") {
          if (old === null) model.bitmaps.delete(bitmapName(young));
          else apply(model, mergeBack("v", old, bitmapName(young)));
        }
        if (one.end === "ok" || one.end === "crash after row") last = young;
      }
    }),
  );
});

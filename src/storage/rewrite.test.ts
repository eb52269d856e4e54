// What a collection moves: frames that are wholly reached come out as they went in, others lose what is not.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { test } from "node:test";
import { OWNER, pattern, temporaryStore, writeDisk } from "../../test/support/storage-disk.ts";
import { newId } from "../base/ids.ts";
import { MIB } from "../base/units.ts";
import { FRAME_HEADER_BYTES, FRAME_ROW_BYTES } from "./format.ts";
import { readPackFooter } from "./pack-check.ts";
import type { SnapshotStore } from "./store.ts";

/** Stored bytes of every frame, by pack. */
async function framesOf({ directory }: SnapshotStore): Promise<Map<string, string[]>> {
  const files = await readdir(join(directory, "packs"), { recursive: true, withFileTypes: true });
  const packs = new Map<string, string[]>();
  for (const file of files) {
    if (!file.isFile()) continue;
    const path = join(file.parentPath, file.name);
    const frames: string[] = [];
    packs.set(basename(path), frames);
    const bytes = await readFile(path);
    const rows = readPackFooter(path).frames;
    for (let row = 0; row < rows.length; row += FRAME_ROW_BYTES) {
      const [offset, length] = [rows.readUInt32LE(row), rows.readUInt32LE(row + 4)];
      frames.push(bytes.toString("latin1", offset + FRAME_HEADER_BYTES, offset + length));
    }
  }
  return packs;
}

for (const key of [undefined, randomBytes(32)]) {
  test(`a collection copies whole frames${key ? ", sealed anew" : " as they are"}`, async (t) => {
    const { store, directory, reopen } = await temporaryStore(t, { workers: 1, ...(key && { key }) });
    const keep = async (disk: Buffer) => {
      await writeDisk(join(directory, "disk"), disk);
      const id = newId("snapshot");
      const source = { kind: "file", path: join(directory, "disk") } as const;
      return store.capture({ owner: OWNER, snapshotId: id, bytes: disk.length, base: null, source });
    };
    // Compressible, so that compressing again would show; every second part of 300 KiB goes.
    const whole = Buffer.concat(
      Array.from({ length: 24 }, (_, n) => Buffer.concat([pattern({ block: 0, blocks: 75, seed: n + 1 })])),
    );
    const half = Buffer.from(whole);
    for (let part = 0; part < 24; part++) if (part % 3 !== 0) half.fill(0, part * 75 * 4096, (part + 1) * 75 * 4096);
    const first = await keep(whole);
    const second = await keep(half);
    const before = await framesOf(store);
    await store.delete(first.id);
    const { rewrittenBytes, freedBytes } = await store.collect();
    assert.ok(rewrittenBytes > 0 && freedBytes > MIB / 2, `${rewrittenBytes} moved, ${freedBytes} freed`);

    const after = await framesOf(store);
    const old = new Set([...before.values()].flat());
    const moved = [...after].filter(([pack]) => !before.has(pack)).flatMap(([, frames]) => frames);
    assert.ok(moved.length > 4, `${moved.length} frames in new packs`);
    const same = moved.filter((frame) => old.has(frame)).length;
    // Under its own key a pack's bytes are no other pack's.
    if (key !== undefined) assert.equal(same, 0);
    else assert.ok(same > moved.length / 3, `${same} of ${moved.length} frames are as they were`);

    await store.rebuildIndex();
    const again = await reopen();
    assert.ok((await (await again.open(second.id)).read(0, half.length)).equals(half));
    assert.deepEqual((await again.scrub({ bytesPerSecond: 1e12 })).damage, []);
  });
}

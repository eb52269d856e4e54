// Archives: whatever disks go in come out; whatever is cut, flipped or made up is refused.
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { ArchiveError, readArchive, readArchiveHead, writeArchive } from "./image-archive.ts";
import type { DiskReader } from "./parts.ts";

const BLOCK = 4096;

/** @param blocks  a byte that fills each block; 0: a hole */
function diskOf(blocks: readonly number[]): DiskReader & { readonly content: Buffer } {
  const content = Buffer.concat(blocks.map((byte) => Buffer.alloc(BLOCK, byte)));
  return {
    content,
    bytes: content.length,
    async *extents() {
      for (const [index, byte] of blocks.entries()) if (byte !== 0) yield { offset: index * BLOCK, bytes: BLOCK };
    },
    read: async (offset, bytes) => content.subarray(offset, offset + bytes),
  };
}

/** As a real head is read: it may have been changed, too. */
function sizesOf(head: unknown): number[] {
  const sizes = (head as { sizes?: unknown } | null)?.sizes;
  if (Array.isArray(sizes) && sizes.every((size) => Number.isInteger(size) && size > 0 && size < 100_000)) return sizes;
  throw new ArchiveError("no sizes");
}

async function packed(disks: readonly DiskReader[]): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of writeArchive({ sizes: disks.map(({ bytes }) => bytes) }, disks, () => {})) {
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

/** Cut at whatever places. */
async function* pieces(bytes: Buffer, length: number): AsyncGenerator<Buffer> {
  for (let at = 0; at < bytes.length; at += length) yield bytes.subarray(at, at + length);
}

async function unpacked(bytes: Buffer, length = 1000): Promise<Buffer[]> {
  let disks: Buffer[] = [];
  const begin = async (head: unknown): Promise<number[]> => {
    disks = sizesOf(head).map((size) => Buffer.alloc(size));
    return sizesOf(head);
  };
  await readArchive(pieces(bytes, length), begin, async (disk, offset, content) => {
    content.copy(disks[disk] ?? Buffer.alloc(0), offset);
  });
  return disks;
}

const someDisks = fc.array(fc.array(fc.constantFrom(0, 1, 2, 255), { minLength: 1, maxLength: 6 }), {
  minLength: 1,
  maxLength: 3,
});

test("an archive gives back its disks, however its bytes are cut", () =>
  fc.assert(
    fc.asyncProperty(someDisks, fc.integer({ min: 1, max: 9000 }), async (layouts, length) => {
      const disks = layouts.map(diskOf);
      assert.deepEqual(
        await unpacked(await packed(disks), length),
        disks.map(({ content }) => content),
      );
    }),
    { numRuns: 60 },
  ));

test("one that is cut, longer, or changed in any byte is refused", () =>
  fc.assert(
    fc.asyncProperty(someDisks, fc.nat(), fc.integer({ min: 1, max: 255 }), async (layouts, where, bits) => {
      const whole = await packed(layouts.map(diskOf));
      const at = where % whole.length;
      const flipped = Buffer.from(whole);
      flipped[at] = (flipped[at] ?? 0) ^ bits;
      const harmed = [whole.subarray(0, at), Buffer.concat([whole, Buffer.from([bits])]), flipped];
      for (const bytes of harmed) await assert.rejects(unpacked(bytes), ArchiveError);
    }),
    { numRuns: 60 },
  ));

test("garbage is refused, not believed", () =>
  fc.assert(
    fc.asyncProperty(fc.uint8Array({ maxLength: 300 }), fc.boolean(), async (garbage, begun) => {
      const bytes = Buffer.concat([Buffer.from(begun ? "INGOT-IMAGE-1\n" : ""), garbage]);
      await assert.rejects(unpacked(bytes), ArchiveError);
      await assert.rejects(readArchiveHead(pieces(bytes, 7)), ArchiveError);
    }),
  ));

test("the head is read from an archive's beginning", async () => {
  const whole = await packed([diskOf([1, 2, 3])]);
  assert.deepEqual(await readArchiveHead(pieces(whole.subarray(0, 100), 9)), { sizes: [3 * BLOCK] });
});

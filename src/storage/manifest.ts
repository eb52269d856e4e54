// The tree over a disk's pages (FORMAT.md §2): building, walking.
import type { BlobReader } from "./blob-reader.ts";
import { decodeNode, encodeNode, ID_BYTES, NODE_FAN_OUT, type NodeRow, topLevel } from "./format.ts";

export interface Blob {
  readonly id: Buffer;
  readonly bytes: Buffer;
}

/** Segment number → id of its page. A segment that is all zero is absent. */
export type SegmentPages = Map<number, Buffer>;

export interface Tree {
  /** `null`: the disk is all zero. */
  readonly top: Buffer | null;
  /** Every node, children before parents. */
  readonly nodes: readonly Blob[];
}

/** The tree over `pages` of a disk of `bytes`. Unchanged subtrees come out with the ids that they had. */
export function buildTree(pages: SegmentPages, bytes: number, blobId: (bytes: Buffer) => Buffer): Tree {
  const nodes: Blob[] = [];
  let children: SegmentPages = pages;
  for (let level = 1; level <= topLevel(bytes); level++) {
    const byParent = new Map<number, NodeRow[]>();
    for (const number of [...children.keys()].sort((a, b) => a - b)) {
      const parent = Math.floor(number / NODE_FAN_OUT);
      const rows = byParent.get(parent) ?? [];
      rows.push({ place: number % NODE_FAN_OUT, id: children.get(number)! });
      byParent.set(parent, rows);
    }
    const parents: SegmentPages = new Map();
    for (const [number, rows] of byParent) {
      const node = encodeNode(level, rows);
      const id = blobId(node);
      nodes.push({ id, bytes: node });
      parents.set(number, id);
    }
    children = parents;
  }
  return { top: children.get(0) ?? null, nodes };
}

/** All pages of a snapshot, from its nodes alone; `onNode` sees each node's id. */
export async function segmentPages(
  blobs: BlobReader,
  top: Buffer | null,
  bytes: number,
  onNode: (id: Buffer) => void = () => {},
): Promise<SegmentPages> {
  const pages: SegmentPages = new Map();
  const walk = async (id: Buffer, level: number, first: number): Promise<void> => {
    onNode(id);
    for (const row of decodeNode(await blobs.blob(id), level)) {
      const number = first * NODE_FAN_OUT + row.place;
      if (level === 1) pages.set(number, row.id);
      else await walk(row.id, level - 1, number);
    }
  };
  if (top !== null) await walk(top, topLevel(bytes), 0);
  return pages;
}

/** Ids side by side, for handing many to a worker in one buffer; all zero stands for "none". */
export function packIds(ids: readonly (Buffer | null | undefined)[]): Uint8Array<ArrayBuffer> {
  const packed = new Uint8Array(ids.length * ID_BYTES);
  ids.forEach((id, i) => {
    if (id) packed.set(id, i * ID_BYTES);
  });
  return packed;
}

export function idAt(packed: Uint8Array, i: number): Buffer | null {
  const id = Buffer.from(packed.subarray(i * ID_BYTES, (i + 1) * ID_BYTES));
  return id.every((byte) => byte === 0) ? null : id;
}

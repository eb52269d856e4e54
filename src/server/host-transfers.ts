// Store and buckets as transfers use them.
import type { Readable } from "node:stream";
import { MIB } from "../base/units.ts";
import type { Objects } from "../objects/objects.ts";
import type { NamedPart } from "../objects/uploads.ts";
import { exportDisk, importDisk } from "../storage/import-disk.ts";
import type { BlockServer, SnapshotStore } from "../storage/store.ts";
import type { TransferObjects, TransferStorage } from "../transfers/parts.ts";

/** S3 takes 10,000 parts: so large an object holds any volume. */
const PART_BYTES = 512 * MIB;

export const transferStorage = (store: SnapshotStore, blocks: BlockServer, scratch: string): TransferStorage => ({
  describe: (id) => store.describe(id),
  importDisk: (disk, options) => importDisk(store, disk, { ...options, scratch }),
  copy: (id, from) => store.copy(id, from),
  open: (id) => store.open(id),
  async exportDisk(id, path, options) {
    const stored = await store.describe(id);
    if (stored === undefined) throw new Error(`the store has no content of ${id}`);
    await blocks.ensure();
    await exportDisk(blocks.export(id, stored.bytes), path, { ...options, compress: options.format === "vmdk" });
  },
});

export const transferObjects = (objects: Objects): TransferObjects => ({
  get: (bucket, key) => objects.get(bucket, key),
  async write({ bucket, key, task }, { metadata, tags }, content) {
    const initiator = `ingot:${task}`;
    for (const upload of await objects.uploads(bucket)) {
      if (upload.initiator === initiator) await objects.abort(bucket, upload.key, upload.id);
    }
    const upload = await objects.createUpload({ bucket, key, headers: {}, metadata, tags, checksum: null, initiator });
    try {
      const parts: NamedPart[] = [];
      const chunks = new Parts(content);
      do {
        const { number, etag } = await objects.writePart(upload, parts.length + 1, { source: chunks.next() });
        parts.push({ number, etag, checksums: {} });
      } while (!chunks.ended);
      const whole = { conditions: {}, bytes: undefined, checksums: {} };
      await objects.complete({ bucket, key, uploadId: upload.id, parts, ...whole });
    } catch (error) {
      await objects.abort(bucket, key, upload.id).catch(() => {});
      throw error;
    } finally {
      content.destroy();
    }
  },
});

/** A stream, cut into parts. */
class Parts {
  ended = false;
  readonly #source: AsyncIterator<Buffer>;
  #left: Buffer | undefined;

  constructor(content: Readable) {
    this.#source = (content as AsyncIterable<Buffer>)[Symbol.asyncIterator]();
  }

  async *next(): AsyncGenerator<Buffer> {
    for (let room = PART_BYTES; room > 0; ) {
      const chunk = this.#left ?? (await this.#read());
      if (chunk === undefined) return;
      this.#left = chunk.length > room ? chunk.subarray(room) : undefined;
      const given = chunk.subarray(0, room);
      room -= given.length;
      yield given;
    }
    // A part must not be empty, but for the only one: is there more?
    this.#left ??= await this.#read();
  }

  async #read(): Promise<Buffer | undefined> {
    const { done, value } = await this.#source.next();
    if (done === true) {
      this.ended = true;
      return undefined;
    }
    return value;
  }
}

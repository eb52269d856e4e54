// Objects in an S3 bucket. What readers open as files (index segments, wrapped keys) is mirrored in the store's folder,
// which also holds what is under way: tmp/, drafts/, the cache of packs.

import { createReadStream } from "node:fs";
import { readdir, readFile, rename, stat, unlink, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { systemCode } from "../base/errors.ts";
import { type BucketLocation, openBucketClient, refusalStatus, takeBucket } from "../base/external-bucket.ts";
import { MIB } from "../base/units.ts";
import type { Backend } from "./backend.ts";
import { makeDirectory, syncDirectory } from "./folder-backend.ts";

const PART_BYTES = 16 * MIB;
const PARTS_AT_ONCE = 2;
const CONFLICT_ATTEMPTS = 5;

export interface S3Backend extends Backend {
  /**
   * Takes the bucket for this folder, and brings the folder's mirror to what the bucket has. Once, before anything else.
   * @throws Error when another folder has it: two owners would collect each other's blobs
   */
  prepare(): Promise<void>;
  /** Bytes `from` to `to` (exclusive; less at the object's end). @throws Error with code ENOENT */
  range(name: string, from: number, to: number): Promise<Buffer>;
  /** @throws Error with code ENOENT */
  size(name: string): Promise<number>;
  close(): void;
}

const isMirrored = (name: string): boolean => name.startsWith("index/") || name.startsWith("keys/");

/** @param directory  the store's folder on this machine */
export async function s3Backend(location: BucketLocation, directory: string): Promise<S3Backend> {
  const sdk = await import("@aws-sdk/client-s3");
  const client = await openBucketClient(location);
  const at = (name: string) => ({ Bucket: location.bucket, Key: `${location.prefix}${name}` });
  const missing = (name: string, cause: unknown): Error =>
    Object.assign(new Error(`${name} is not in the bucket`, { cause }), { code: "ENOENT" });
  const isMissing = (error: unknown): boolean => refusalStatus(error) === 404;

  const keepLocally = async (name: string, bytes: Uint8Array): Promise<void> => {
    const path = join(directory, name);
    await makeDirectory(dirname(path));
    const tmp = `${path}.${process.pid}.new`;
    await writeFile(tmp, bytes, { mode: 0o600, flush: true });
    await rename(tmp, path);
    await syncDirectory(dirname(path));
  };

  const read = async (name: string): Promise<Buffer | null> => {
    try {
      const { Body } = await client.send(new sdk.GetObjectCommand(at(name)));
      return Buffer.from((await Body?.transformToByteArray()) ?? []);
    } catch (error) {
      if (isMissing(error)) return null;
      throw new Error(`read ${name} from the bucket`, { cause: error });
    }
  };

  async function* list(prefix: string): AsyncGenerator<{ name: string; bytes: number }> {
    const pages = sdk.paginateListObjectsV2(
      { client },
      { Bucket: location.bucket, Prefix: `${location.prefix}${prefix}` },
    );
    for await (const { Contents = [] } of pages) {
      for (const { Key = "", Size = 0 } of Contents) yield { name: Key.slice(location.prefix.length), bytes: Size };
    }
  }

  const upload = async (path: string, name: string, bytes: number): Promise<void> => {
    if (bytes <= PART_BYTES) {
      await client.send(new sdk.PutObjectCommand({ ...at(name), Body: await readFile(path) }));
      return;
    }
    const { UploadId } = await client.send(new sdk.CreateMultipartUploadCommand(at(name)));
    try {
      const parts: { PartNumber: number; ETag: string | undefined }[] = [];
      let next = 0;
      const one = async (): Promise<void> => {
        for (;;) {
          const number = next++;
          const start = number * PART_BYTES;
          if (start >= bytes) return;
          const end = Math.min(bytes, start + PART_BYTES);
          const chunks: Buffer[] = [];
          for await (const chunk of createReadStream(path, { start, end: end - 1 })) chunks.push(chunk as Buffer);
          const { ETag } = await client.send(
            new sdk.UploadPartCommand({ ...at(name), UploadId, PartNumber: number + 1, Body: Buffer.concat(chunks) }),
          );
          parts.push({ PartNumber: number + 1, ETag });
        }
      };
      await Promise.all(Array.from({ length: PARTS_AT_ONCE }, one));
      parts.sort((a, b) => a.PartNumber - b.PartNumber);
      await client.send(
        new sdk.CompleteMultipartUploadCommand({ ...at(name), UploadId, MultipartUpload: { Parts: parts } }),
      );
    } catch (error) {
      await client.send(new sdk.AbortMultipartUploadCommand({ ...at(name), UploadId })).catch(() => {});
      throw error;
    }
  };

  const create = async (name: string, bytes: Uint8Array): Promise<boolean> => {
    for (let attempt = 1; ; attempt++) {
      try {
        await client.send(new sdk.PutObjectCommand({ ...at(name), Body: bytes, IfNoneMatch: "*" }));
      } catch (cause) {
        // Two at once: S3 asks the loser to look again.
        if (refusalStatus(cause) === 409 && attempt < CONFLICT_ATTEMPTS) continue;
        if (refusalStatus(cause) !== 412) throw new Error(`create ${name} in the bucket`, { cause });
        // Taken; but by an earlier attempt of ours, whose answer was lost, if it is the very same.
        if ((await read(name))?.equals(bytes) !== true) return false;
      }
      if (isMirrored(name)) await keepLocally(name, bytes);
      return true;
    }
  };

  return {
    async prepare() {
      await takeBucket(client, location, join(directory, "bucket-owner"));
      for (const folder of ["index/", "keys/"]) {
        await makeDirectory(join(directory, folder));
        const wanted = new Map<string, number>();
        for await (const { name, bytes } of list(folder)) wanted.set(name, bytes);
        for (const entry of await readdir(join(directory, folder))) {
          const name = `${folder}${entry}`;
          const { size } = await stat(join(directory, name));
          if (wanted.get(name) === size) wanted.delete(name);
          else await unlink(join(directory, name));
        }
        for (const name of wanted.keys()) {
          const bytes = await read(name);
          if (bytes !== null) await keepLocally(name, bytes);
        }
      }
    },
    async publish(path, name) {
      try {
        await upload(path, name, (await stat(path)).size);
        if (isMirrored(name)) {
          await makeDirectory(dirname(join(directory, name)));
          await rename(path, join(directory, name));
        } else await unlink(path);
      } catch (cause) {
        throw new Error(`publish ${name} in the bucket`, { cause });
      }
    },
    create,
    read,
    list,
    async remove(name) {
      // First where readers see it: what is gone from the bucket must not be named any more.
      if (isMirrored(name)) {
        await unlink(join(directory, name)).catch((error: unknown) => {
          if (systemCode(error) !== "ENOENT") throw error;
        });
      }
      try {
        await client.send(new sdk.DeleteObjectCommand(at(name)));
      } catch (cause) {
        if (!isMissing(cause)) throw new Error(`remove ${name} from the bucket`, { cause });
      }
    },
    async range(name, from, to) {
      try {
        const { Body } = await client.send(new sdk.GetObjectCommand({ ...at(name), Range: `bytes=${from}-${to - 1}` }));
        return Buffer.from((await Body?.transformToByteArray()) ?? []);
      } catch (error) {
        if (isMissing(error)) throw missing(name, error);
        // A range that begins after the end.
        if (refusalStatus(error) === 416) return Buffer.alloc(0);
        throw new Error(`read bytes ${from} to ${to} of ${name} from the bucket`, { cause: error });
      }
    },
    async size(name) {
      try {
        const { ContentLength } = await client.send(new sdk.HeadObjectCommand(at(name)));
        return ContentLength ?? 0;
      } catch (error) {
        if (isMissing(error)) throw missing(name, error);
        throw new Error(`ask for the size of ${name} in the bucket`, { cause: error });
      }
    },
    close: () => client.destroy(),
  };
}

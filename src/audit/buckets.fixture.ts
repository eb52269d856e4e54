// Buckets in memory, which can be made to refuse.
import { Readable } from "node:stream";
import { gunzipSync } from "node:zlib";
import { ApiError, type ErrorCode } from "../base/api-error.ts";
import type { AccountId, Region } from "../base/ids.ts";
import type { ObjectStore, PutOptions } from "../model/object-store.ts";

export interface KeptObject {
  bytes: Buffer;
  readonly options: PutOptions;
  /** How often it was put. */
  puts: number;
}

export class Buckets implements ObjectStore {
  readonly owners = new Map<string, { accountId: AccountId; region: Region }>();
  readonly objects = new Map<string, KeptObject>();
  /** Thrown by the next puts, the first one first; null: that one succeeds. */
  readonly failures: (ErrorCode | null)[] = [];
  /** Thrown after an object was put: as a kill between put and its commit. */
  dieAfterPut = false;

  add(bucket: string, accountId: string): this {
    this.owners.set(bucket, { accountId: accountId as AccountId, region: "us-east-1" as Region });
    return this;
  }
  /** Keys of a bucket that match, sorted. */
  keys(bucket: string, pattern: RegExp): string[] {
    return [...this.objects.keys()]
      .filter((name) => name.startsWith(`${bucket}/`) && pattern.test(name))
      .map((name) => name.slice(bucket.length + 1))
      .sort();
  }
  // biome-ignore lint/suspicious/noExplicitAny: a file's JSON, as a test looks at it.
  json(bucket: string, key: string): any {
    const there = this.objects.get(`${bucket}/${key}`);
    if (there === undefined) throw new Error(`no object ${key}`);
    return JSON.parse(gunzipSync(there.bytes).toString());
  }

  async bucketOwner(bucket: string) {
    return this.owners.get(bucket);
  }
  async put(bucket: string, key: string, body: Buffer | Readable, options: PutOptions = {}) {
    const failure = this.failures.shift() ?? null;
    if (failure !== null) throw new ApiError(failure, "made to fail");
    if (!Buffer.isBuffer(body)) throw new Error("trails put whole files");
    const name = `${bucket}/${key}`;
    this.objects.set(name, { bytes: body, options, puts: (this.objects.get(name)?.puts ?? 0) + 1 });
    if (this.dieAfterPut) {
      this.dieAfterPut = false;
      throw new Error("killed after the put");
    }
    return { etag: '"0"' };
  }
  async get(bucket: string, key: string) {
    const there = this.objects.get(`${bucket}/${key}`);
    if (there === undefined) return undefined;
    return {
      key,
      bytes: there.bytes.length,
      etag: '"0"',
      lastModified: new Date(0),
      body: Readable.from([there.bytes]),
      metadata: there.options.metadata ?? {},
    };
  }
  async list(bucket: string, options: { prefix?: string; after?: string } = {}) {
    const objects = this.keys(bucket, /./)
      .filter((key) => key.startsWith(options.prefix ?? "") && key > (options.after ?? ""))
      .map((key) => ({ key, bytes: 0, etag: '"0"', lastModified: new Date(0) }));
    return { objects, truncated: false };
  }
  async delete(bucket: string, key: string) {
    this.objects.delete(`${bucket}/${key}`);
  }
}

// Buckets, as the parts of Ingot see them: trails deliver into one, images are exported to one and stored in one.
// Whoever calls this has checked the permission; nothing here asks who the caller is.
import type { Readable } from "node:stream";
import type { AccountId, Region } from "../base/ids.ts";

export interface ObjectStore {
  /** Whose bucket that is, and where; undefined when there is none of that name. */
  bucketOwner(bucket: string): Promise<BucketOwner | undefined>;

  /**
   * Writes a whole object, durably: resolved means that it outlives a power cut. It replaces what had that key in one step;
   * a reader sees the old one or the new one. One that is torn off, or whose `body` fails, leaves nothing.
   *
   * @throws ApiError `NoSuchBucket`, `PreconditionFailed` (`ifNoneMatch` and the key is taken), `KeyTooLongError`
   */
  put(bucket: string, key: string, body: Buffer | Readable, options?: PutOptions): Promise<{ readonly etag: string }>;

  /**
   * Opens an object for reading; undefined when the bucket or the key is not there. What is read is what was there at the
   * call, even when the key is overwritten or deleted meanwhile. The reader ends the stream or destroys it.
   *
   * @param range bytes of the object, both ends included and within it
   */
  get(bucket: string, key: string, range?: ByteRange): Promise<OpenedObject | undefined>;

  /**
   * Keys in ascending order of their UTF-8 bytes.
   * @throws ApiError `NoSuchBucket`
   */
  list(bucket: string, options?: ListOptions): Promise<ObjectPage>;

  /** Nothing happens when the key is not there. @throws ApiError `NoSuchBucket` */
  delete(bucket: string, key: string): Promise<void>;
}

export interface BucketOwner {
  readonly accountId: AccountId;
  readonly region: Region;
}

export interface PutOptions {
  /** The `x-amz-meta-` headers, names in lower case without that prefix. */
  readonly metadata?: Readonly<Record<string, string>>;
  readonly contentType?: string;
  readonly contentEncoding?: string;
  /** `*`: only if nothing has that key. */
  readonly ifNoneMatch?: "*";
}

export interface ByteRange {
  readonly first: number;
  readonly last: number;
}

export interface StoredObject {
  readonly key: string;
  /** Of the whole object. */
  readonly bytes: number;
  /** As S3 shows it, quotes included: `"d41d8cd98f00b204e9800998ecf8427e"`. */
  readonly etag: string;
  readonly lastModified: Date;
}

export interface OpenedObject extends StoredObject {
  /** The bytes asked for. */
  readonly body: Readable;
  readonly metadata: Readonly<Record<string, string>>;
  readonly contentType?: string;
  readonly contentEncoding?: string;
}

export interface ListOptions {
  readonly prefix?: string;
  /** Keys after this one only. */
  readonly after?: string;
  /** At most 1000, which is also the default. */
  readonly limit?: number;
}

export interface ObjectPage {
  readonly objects: readonly StoredObject[];
  /** Whether more follow. */
  readonly truncated: boolean;
}

// The object store: buckets and objects in the database, their content in files of the data directory or in
// a bucket of somebody's S3.
import { createHash } from "node:crypto";
import type { Readable } from "node:stream";
import { ApiError } from "../base/api-error.ts";
import type { Clock } from "../base/clock.ts";
import { systemCode } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import { GIB } from "../base/units.ts";
import type { Database, Db } from "../database/database.ts";
import type { Grant } from "../model/access.ts";
import type { ObjectStore, OpenedObject, PutOptions, StoredObject } from "../model/object-store.ts";
import { type ChecksumAlgorithm, runningChecksum } from "../protocol/checksums.ts";
import { type Bucket, deleteBucket, findBucket } from "./buckets.ts";
import { collect } from "./collect.ts";
import { Content, type ContentHome, cut, type Piece, type Written } from "./content.ts";
import { type Listing, type ListingRequest, listObjects } from "./listing.ts";
import {
  checkKey,
  checkWriteConditions,
  noSuchKey,
  type ObjectChecksum,
  type ObjectDescription,
  type ObjectRecord,
  type WriteConditions,
} from "./object.ts";
import { deleteObjectRow, findObject, mustHaveBucket, piecesOf, replaceObject, unreferred } from "./object-rows.ts";
import {
  abortUpload,
  type Completion,
  completeUpload,
  createUpload,
  findUpload,
  type Part,
  partsOf,
  putPart,
  type Upload,
  uploadsOf,
} from "./uploads.ts";

/** One PUT, or one part; S3's limit. */
export const MAX_PUT_BYTES = 5 * GIB;
const MAX_PAGE = 1000;

/** Bytes on their way in, and what their sender says of them. */
export interface Incoming {
  readonly source: AsyncIterable<Buffer> | Iterable<Buffer>;
  /** Of what it says; checked before anything is kept. */
  readonly md5?: Buffer | undefined;
  /** Computed and kept with the object; `expected`, base64, is asked when all has come: it may follow the body. */
  readonly checksum?:
    | { readonly algorithm: ChecksumAlgorithm; readonly expected: () => string | undefined }
    | undefined;
}

/** An object that stays readable until `read`'s stream has ended or `release` was called: one of the two must be. */
export interface ReadableObject {
  readonly object: ObjectRecord;
  /** Both ends included. */
  read(first: number, last: number): Readable;
  release(): void;
}

/** A copy's source: the whole object, or bytes of it. */
export interface CopySource {
  readonly bucket: string;
  readonly key: string;
  /** Judges the source as it is when it is copied. @throws ApiError */
  check(object: ObjectRecord): void;
  range?(object: ObjectRecord): { readonly first: number; readonly last: number };
}

export class Objects implements ObjectStore {
  readonly #database: Database;
  readonly #content: Content;
  readonly #clock: Clock;
  readonly #collected: Promise<void>;

  private constructor(database: Database, content: Content, clock: Clock, collected: Promise<void>) {
    this.#database = database;
    this.#content = content;
    this.#clock = clock;
    this.#collected = collected;
  }

  /** Opens the store, and begins to remove what a kill has left. Nobody else may use `home`, which it closes. */
  static async open(parts: {
    readonly database: Database;
    readonly home: ContentHome;
    readonly clock: Clock;
    readonly log: Log;
  }): Promise<Objects> {
    const content = new Content(parts.home);
    const collected = collect(parts.database.read, content, await content.files(), parts.log);
    return new Objects(parts.database, content, parts.clock, collected);
  }

  /** Waits for what goes on in the background. */
  async close(): Promise<void> {
    await this.#collected;
    this.#content.close();
  }

  async bucketOwner(bucket: string): Promise<Pick<Bucket, "accountId" | "region"> | undefined> {
    const found = await findBucket(this.#database.read, bucket);
    return found && { accountId: found.accountId, region: found.region };
  }

  async put(bucket: string, key: string, body: Buffer | Readable, options: PutOptions = {}): Promise<{ etag: string }> {
    const { contentType, contentEncoding } = options;
    const description: ObjectDescription = {
      headers: {
        ...(contentType === undefined ? {} : { contentType }),
        ...(contentEncoding === undefined ? {} : { contentEncoding }),
      },
      metadata: options.metadata ?? {},
      tags: {},
    };
    const source = Buffer.isBuffer(body) ? [body] : body;
    const object = await this.write(bucket, key, description, { source }, { ifNoneMatch: options.ifNoneMatch });
    return { etag: `"${object.etag}"` };
  }

  async get(
    bucket: string,
    key: string,
    range?: { readonly first: number; readonly last: number },
  ): Promise<OpenedObject | undefined> {
    const opened = await this.open(bucket, key);
    if (opened === undefined) return undefined;
    const { object } = opened;
    const { contentType, contentEncoding } = object.headers;
    return {
      ...shown(object),
      body: opened.read(range?.first ?? 0, range?.last ?? object.bytes - 1),
      metadata: object.metadata,
      ...(contentType === undefined ? {} : { contentType }),
      ...(contentEncoding === undefined ? {} : { contentEncoding }),
    };
  }

  async list(
    bucket: string,
    options: { readonly prefix?: string; readonly after?: string; readonly limit?: number } = {},
  ): Promise<{ objects: StoredObject[]; truncated: boolean }> {
    await mustHaveBucket(this.#database.read, bucket);
    const listing = await this.listing({
      bucket,
      prefix: options.prefix ?? "",
      delimiter: "",
      after: options.after ?? "",
      limit: Math.min(options.limit ?? MAX_PAGE, MAX_PAGE),
    });
    return { objects: listing.objects.map(shown), truncated: listing.next !== undefined };
  }

  async delete(bucket: string, key: string): Promise<void> {
    await this.remove(bucket, key, {});
  }

  find(bucket: string, key: string): Promise<ObjectRecord | undefined> {
    return findObject(this.#database.read, bucket, key);
  }

  listing(request: ListingRequest): Promise<Listing> {
    return listObjects(this.#database.read, request);
  }

  /** What has that key now, for reading; undefined if nothing has. */
  async open(bucket: string, key: string): Promise<ReadableObject | undefined> {
    const reader = this.#content.reader();
    try {
      const object = await this.find(bucket, key);
      const pieces = object === undefined ? [] : await piecesOf(this.#database.read, object.id);
      // Replaced between the two queries: its pieces are gone, and the next one's are to be looked for.
      if (object !== undefined && sum(pieces) !== object.bytes) {
        reader.release();
        return this.open(bucket, key);
      }
      reader.narrow(pieces.map(({ file }) => file));
      if (object === undefined) {
        reader.release();
        return undefined;
      }
      return {
        object,
        read: (first, last) => this.#content.read(pieces, first, last, reader),
        release: () => reader.release(),
      };
    } catch (error) {
      reader.release();
      throw error;
    }
  }

  /**
   * @throws ApiError `NoSuchBucket`, `KeyTooLongError`, `EntityTooLarge`, `BadDigest`, `InvalidRequest`,
   *   `PreconditionFailed`, and what the source throws
   */
  async write(
    bucket: string,
    key: string,
    description: ObjectDescription,
    incoming: Incoming,
    conditions: WriteConditions,
  ): Promise<ObjectRecord> {
    checkKey(key);
    const now = this.#clock.now();
    // Asked first, so that what will be refused is not written; asked again when it is.
    await mustHaveBucket(this.#database.read, bucket);
    checkWriteConditions(key, (await this.find(bucket, key))?.etag, conditions);
    const { written, checksum } = await this.#receive(incoming);
    return this.#keep(written.pieces, (tx) =>
      replaceObject(
        tx,
        {
          ...{ bucket, key, ...description, checksum, pieces: written.pieces, bytes: written.bytes },
          ...{ etag: written.md5.toString("hex"), partBytes: null, uploadId: null, createdAt: now },
        },
        conditions,
      ),
    ).then(({ object }) => object);
  }

  /** Copies rows, no content. @throws ApiError `NoSuchBucket`, `NoSuchKey`, and what `source.check` throws */
  async copy(
    source: CopySource,
    bucket: string,
    key: string,
    describe: (object: ObjectRecord) => ObjectDescription,
    conditions: WriteConditions,
  ): Promise<ObjectRecord> {
    checkKey(key);
    const now = this.#clock.now();
    const { object } = await this.#keep([], async (tx) => {
      const from = await this.#source(tx, source);
      const { bytes, etag, checksum, partBytes } = from.object;
      return replaceObject(
        tx,
        {
          ...{ bucket, key, ...describe(from.object), pieces: from.pieces, bytes, etag, checksum, partBytes },
          ...{ uploadId: null, createdAt: now },
        },
        conditions,
      );
    });
    return object;
  }

  async #source(tx: Db, source: CopySource): Promise<{ readonly object: ObjectRecord; readonly pieces: Piece[] }> {
    const object = await findObject(tx, source.bucket, source.key);
    if (object === undefined) throw noSuchKey(source.key);
    source.check(object);
    return { object, pieces: await piecesOf(tx, object.id) };
  }

  /** Nothing happens when the key is not there. @throws ApiError `NoSuchBucket`, `PreconditionFailed` */
  async remove(bucket: string, key: string, conditions: WriteConditions): Promise<void> {
    const freed = await this.#database.transaction(async (tx) => {
      await mustHaveBucket(tx, bucket);
      const object = await findObject(tx, bucket, key);
      checkWriteConditions(key, object?.etag, conditions);
      return object === undefined ? [] : unreferred(tx, await deleteObjectRow(tx, object.id));
    });
    this.#content.giveUp(freed);
  }

  /**
   * Many at once, in one transaction: what one key refuses does not hold up the others.
   * @returns for each key in order, the refusal, or undefined when it is gone
   * @throws ApiError `NoSuchBucket`
   */
  async removeAll(
    bucket: string,
    keys: readonly { readonly key: string; readonly ifMatch?: string | undefined }[],
  ): Promise<(ApiError | undefined)[]> {
    const { refusals } = await this.#keep([], async (tx) => {
      await mustHaveBucket(tx, bucket);
      const files: string[] = [];
      const found: (ApiError | undefined)[] = [];
      for (const { key, ifMatch } of keys) {
        const object = await findObject(tx, bucket, key);
        try {
          checkWriteConditions(key, object?.etag, { ifMatch });
        } catch (error) {
          if (!(error instanceof ApiError)) throw error;
          found.push(error);
          continue;
        }
        if (object !== undefined) files.push(...(await deleteObjectRow(tx, object.id)));
        found.push(undefined);
      }
      return { refusals: found, freed: await unreferred(tx, files) };
    });
    return refusals;
  }

  /** @throws ApiError `NoSuchKey` */
  async setTags(bucket: string, key: string, tags: Readonly<Record<string, string>>): Promise<void> {
    await this.#database.transaction(async (tx) => {
      const done = await tx
        .updateTable("s3_objects")
        .set({ tags: JSON.stringify(tags) })
        .where("bucket", "=", bucket)
        .where("key", "=", key)
        .executeTakeFirst();
      if (done.numUpdatedRows === 0n) throw noSuchKey(key);
    });
  }

  /** @throws ApiError `BucketNotEmpty`, `NoSuchBucket` */
  async deleteBucket(grant: Grant<"s3:DeleteBucket">, name: string): Promise<void> {
    this.#content.giveUp(await deleteBucket(grant, this.#database, name));
  }

  createUpload(upload: Omit<Upload, "id" | "createdAt">): Promise<Upload> {
    checkKey(upload.key);
    return createUpload(this.#database, { ...upload, createdAt: this.#clock.now() });
  }

  /** @throws ApiError `NoSuchUpload` */
  upload(bucket: string, key: string, id: string): Promise<Upload> {
    return findUpload(this.#database.read, bucket, key, id);
  }

  uploads(bucket: string): Promise<Upload[]> {
    return uploadsOf(this.#database.read, bucket);
  }

  parts(uploadId: string, after: number, limit: number): Promise<Part[]> {
    return partsOf(this.#database.read, uploadId, after, limit);
  }

  async writePart(upload: Upload, number: number, incoming: Incoming): Promise<Part> {
    const now = this.#clock.now();
    const { written, checksum } = await this.#receive(incoming);
    const content = { pieces: written.pieces, bytes: written.bytes, etag: written.md5.toString("hex"), checksum };
    const { part } = await this.#keep(written.pieces, (tx) => putPart(tx, upload, number, content, now));
    return part;
  }

  /**
   * A part that shares its bytes with an object. They are read once, for their MD5, unless that is known.
   * @throws ApiError `NoSuchKey`, `NoSuchUpload`, and what `source.check` and `source.range` throw
   */
  async copyPart(upload: Upload, number: number, source: CopySource): Promise<Part> {
    const now = this.#clock.now();
    const algorithm = upload.checksum?.algorithm;
    for (;;) {
      const opened = await this.open(source.bucket, source.key);
      if (opened === undefined) throw noSuchKey(source.key);
      const { object } = opened;
      try {
        source.check(object);
        const range = source.range?.(object) ?? { first: 0, last: object.bytes - 1 };
        const digest = await digestOf(opened.read(range.first, range.last), algorithm);
        const kept = await this.#keep([], async (tx) => {
          // Replaced while it was read: its files may be given up once it is released.
          if ((await findObject(tx, source.bucket, source.key))?.id !== object.id)
            return { part: undefined, freed: [] };
          const pieces = cut(await piecesOf(tx, object.id), range.first, range.last);
          return putPart(tx, upload, number, { ...digest, pieces, bytes: sum(pieces) }, now);
        });
        if (kept.part !== undefined) return kept.part;
      } finally {
        opened.release();
      }
    }
  }

  async abort(bucket: string, key: string, uploadId: string): Promise<void> {
    this.#content.giveUp(await abortUpload(this.#database, bucket, key, uploadId));
  }

  async complete(completion: Omit<Completion, "now">): Promise<ObjectRecord> {
    const { object, freed } = await completeUpload(this.#database, { ...completion, now: this.#clock.now() });
    this.#content.giveUp(freed);
    return object;
  }

  /** Takes content in, and checks what its sender says of it. */
  async #receive(incoming: Incoming): Promise<{ readonly written: Written; readonly checksum: ObjectChecksum | null }> {
    const algorithm = incoming.checksum?.algorithm;
    let written: Written;
    try {
      written = await this.#content.write(incoming.source, {
        checksum: algorithm,
        maxBytes: MAX_PUT_BYTES,
        tooLong: () =>
          new ApiError("EntityTooLarge", "Your proposed upload exceeds the maximum allowed size", {
            fields: { MaxSizeAllowed: String(MAX_PUT_BYTES) },
          }),
      });
    } catch (error) {
      if (systemCode(error) !== "ENOSPC") throw error;
      throw new ApiError("ServiceUnavailable", "There is no space left for objects: remove some, or make room.", {
        cause: error,
      });
    }
    const wrong = differs(incoming, written);
    if (wrong !== undefined) {
      this.#content.giveUp(written.pieces.map(({ file }) => file));
      throw wrong;
    }
    const value = written.checksum?.toString("base64");
    const checksum: ObjectChecksum | null =
      algorithm === undefined || value === undefined ? null : { algorithm, type: "FULL_OBJECT", value };
    return { written, checksum };
  }

  /** Runs `work` in a transaction: it refers to `pieces`, or they are given up; as what it frees is. */
  async #keep<T extends { readonly freed: readonly string[] }>(
    pieces: readonly Piece[],
    work: (tx: Db) => Promise<T>,
  ): Promise<T> {
    let done: T;
    try {
      done = await this.#database.transaction(work);
    } catch (error) {
      this.#content.giveUp(pieces.map(({ file }) => file));
      throw error;
    }
    this.#content.giveUp(done.freed);
    return done;
  }
}

function differs(incoming: Incoming, written: Written): ApiError | undefined {
  if (incoming.md5 !== undefined && !incoming.md5.equals(written.md5)) {
    return new ApiError("BadDigest", "The Content-MD5 you specified did not match what we received.", {
      fields: { ExpectedDigest: incoming.md5.toString("hex"), CalculatedDigest: written.md5.toString("hex") },
    });
  }
  if (incoming.checksum === undefined) return undefined;
  const { algorithm, expected } = incoming.checksum;
  const value = expected();
  if (value === undefined || value === written.checksum?.toString("base64")) return undefined;
  return new ApiError("BadDigest", `The ${algorithm} you specified did not match the calculated checksum.`);
}

async function digestOf(
  body: Readable,
  algorithm: ChecksumAlgorithm | undefined,
): Promise<{ readonly etag: string; readonly checksum: ObjectChecksum | null }> {
  const md5 = createHash("md5");
  const running = algorithm === undefined ? undefined : runningChecksum(algorithm);
  for await (const part of body as AsyncIterable<Buffer>) {
    md5.update(part);
    running?.update(part);
  }
  const value = running?.digest().toString("base64");
  return {
    etag: md5.digest("hex"),
    checksum: algorithm === undefined || value === undefined ? null : { algorithm, type: "FULL_OBJECT", value },
  };
}

const sum = (pieces: readonly Piece[]): number => pieces.reduce((bytes, piece) => bytes + piece.bytes, 0);

const shown = (object: ObjectRecord): StoredObject => ({
  key: object.key,
  bytes: object.bytes,
  etag: `"${object.etag}"`,
  lastModified: object.createdAt,
});

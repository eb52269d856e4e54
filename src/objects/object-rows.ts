// Objects as rows. Everything here runs inside a transaction of its caller: a key changes what it names in one step.
import { randomBytes } from "node:crypto";
import type { Db } from "../database/database.ts";
import type { S3ObjectsTable } from "../database/tables/s3.ts";
import type { Piece } from "./content.ts";
import {
  checkWriteConditions,
  noSuchBucket,
  type ObjectChecksum,
  type ObjectDescription,
  type ObjectRecord,
  type WriteConditions,
} from "./object.ts";

/** Rows per statement: both databases limit the parameters of one. */
const ROWS = 500;

export const newObjectId = (): string => randomBytes(16).toString("hex");

export const objectOf = (row: S3ObjectsTable): ObjectRecord => ({
  id: row.id,
  bucket: row.bucket,
  key: row.key,
  bytes: row.bytes,
  etag: row.etag,
  checksum: row.checksum === null ? null : (JSON.parse(row.checksum) as ObjectChecksum),
  partBytes: row.part_bytes === null ? null : (JSON.parse(row.part_bytes) as number[]),
  createdAt: new Date(row.created_at),
  ...descriptionOf(row),
});

export const descriptionOf = (row: Pick<S3ObjectsTable, "headers" | "metadata" | "tags">): ObjectDescription => ({
  headers: JSON.parse(row.headers) as ObjectDescription["headers"],
  metadata: JSON.parse(row.metadata) as ObjectDescription["metadata"],
  tags: JSON.parse(row.tags) as ObjectDescription["tags"],
});

export const descriptionColumns = ({ headers, metadata, tags }: ObjectDescription) => ({
  headers: JSON.stringify(headers),
  metadata: JSON.stringify(metadata),
  tags: JSON.stringify(tags),
});

export async function findObject(db: Db, bucket: string, key: string): Promise<ObjectRecord | undefined> {
  const row = await db
    .selectFrom("s3_objects")
    .selectAll()
    .where("bucket", "=", bucket)
    .where("key", "=", key)
    .executeTakeFirst();
  return row && objectOf(row);
}

export async function piecesOf(db: Db, ownerId: string): Promise<Piece[]> {
  const rows = await db
    .selectFrom("s3_pieces")
    .select(["file", "first_byte", "bytes"])
    .where("owner_id", "=", ownerId)
    .orderBy("position")
    .execute();
  return rows.map(({ file, first_byte, bytes }) => ({ file, first: first_byte, bytes }));
}

export async function insertPieces(tx: Db, ownerId: string, pieces: readonly Piece[]): Promise<void> {
  for (let at = 0; at < pieces.length; at += ROWS) {
    await tx
      .insertInto("s3_pieces")
      .values(
        pieces.slice(at, at + ROWS).map(({ file, first, bytes }, index) => ({
          ...{ owner_id: ownerId, position: at + index, file, bytes },
          first_byte: first,
        })),
      )
      .execute();
  }
}

/** @returns the files that it named; whether others name them too, `unreferred` says */
export async function deletePieces(tx: Db, ownerId: string): Promise<string[]> {
  const rows = await tx.deleteFrom("s3_pieces").where("owner_id", "=", ownerId).returning("file").execute();
  return rows.map(({ file }) => file);
}

/** Those of `files` that no piece names any more. */
export async function unreferred(db: Db, files: readonly string[]): Promise<string[]> {
  const named = await referred(db, files);
  return [...new Set(files)].filter((file) => !named.has(file));
}

export async function referred(db: Db, files: readonly string[]): Promise<Set<string>> {
  const named = new Set<string>();
  for (let at = 0; at < files.length; at += ROWS) {
    const rows = await db
      .selectFrom("s3_pieces")
      .select("file")
      .distinct()
      .where("file", "in", files.slice(at, at + ROWS))
      .execute();
    for (const { file } of rows) named.add(file);
  }
  return named;
}

export interface NewObject extends ObjectDescription {
  readonly bucket: string;
  readonly key: string;
  readonly pieces: readonly Piece[];
  readonly bytes: number;
  readonly etag: string;
  readonly checksum: ObjectChecksum | null;
  readonly partBytes: readonly number[] | null;
  readonly uploadId: string | null;
  readonly createdAt: Date;
}

/**
 * Gives a key to an object, and takes it from the one before.
 * @returns files that nothing refers to any more, to be given up once this has been committed
 * @throws ApiError `NoSuchBucket`, and those of `checkWriteConditions`
 */
export async function replaceObject(
  tx: Db,
  object: NewObject,
  conditions: WriteConditions,
): Promise<{ readonly object: ObjectRecord; readonly freed: string[] }> {
  const { bucket, key } = object;
  await mustHaveBucket(tx, bucket);
  const before = await findObject(tx, bucket, key);
  checkWriteConditions(key, before?.etag, conditions);
  const gone = before === undefined ? [] : await deleteObjectRow(tx, before.id);
  const row: S3ObjectsTable = {
    ...{ id: newObjectId(), bucket, key, bytes: object.bytes, etag: object.etag },
    ...descriptionColumns(object),
    checksum: object.checksum === null ? null : JSON.stringify(object.checksum),
    part_bytes: object.partBytes === null ? null : JSON.stringify(object.partBytes),
    upload_id: object.uploadId,
    created_at: object.createdAt.toISOString(),
  };
  await tx.insertInto("s3_objects").values(row).execute();
  await insertPieces(tx, row.id, object.pieces);
  return { object: objectOf(row), freed: await unreferred(tx, gone) };
}

/** @returns the files that it named */
export async function deleteObjectRow(tx: Db, id: string): Promise<string[]> {
  await tx.deleteFrom("s3_objects").where("id", "=", id).execute();
  return deletePieces(tx, id);
}

/** @throws ApiError `NoSuchBucket` */
export async function mustHaveBucket(db: Db, bucket: string): Promise<void> {
  const row = await db.selectFrom("s3_buckets").select("name").where("name", "=", bucket).executeTakeFirst();
  if (row === undefined) throw noSuchBucket(bucket);
}

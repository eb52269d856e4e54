// Objects that are uploaded in parts. Completing one only writes rows: the parts' files become the object's.
import { ApiError } from "../base/api-error.ts";
import { MIB } from "../base/units.ts";
import type { Database, Db } from "../database/database.ts";
import type { S3PartsTable, S3UploadsTable } from "../database/tables/s3.ts";
import { type ChecksumAlgorithm, checksumOf } from "../protocol/checksums.ts";
import { deleteUploadRows } from "./buckets.ts";
import type { Piece } from "./content.ts";
import {
  type ChecksumType,
  multipartChecksum,
  multipartEtag,
  type ObjectChecksum,
  type ObjectDescription,
  type ObjectRecord,
  type WriteConditions,
} from "./object.ts";
import {
  deletePieces,
  descriptionColumns,
  descriptionOf,
  insertPieces,
  mustHaveBucket,
  newObjectId,
  objectOf,
  piecesOf,
  replaceObject,
  unreferred,
} from "./object-rows.ts";

export const MAX_PARTS = 10_000;
/** All parts but the last. */
const MIN_PART_BYTES = 5 * MIB;

export interface Upload extends ObjectDescription {
  readonly id: string;
  readonly bucket: string;
  readonly key: string;
  readonly checksum: { readonly algorithm: ChecksumAlgorithm; readonly type: ChecksumType } | null;
  /** ARN of who began it. */
  readonly initiator: string;
  readonly createdAt: Date;
}

export interface Part {
  readonly number: number;
  readonly bytes: number;
  readonly etag: string;
  readonly checksum: ObjectChecksum | null;
  readonly createdAt: Date;
}

/** A part as its client names it when it completes the upload. */
export interface NamedPart {
  readonly number: number;
  /** Without quotes. */
  readonly etag: string;
  /** Base64, by algorithm, as far as it was said. */
  readonly checksums: Partial<Record<ChecksumAlgorithm, string>>;
}

export const noSuchUpload = (id: string): ApiError =>
  new ApiError(
    "NoSuchUpload",
    "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or completed.",
    { fields: { UploadId: id } },
  );

const uploadOf = (row: S3UploadsTable): Upload => ({
  ...{ id: row.id, bucket: row.bucket, key: row.key, initiator: row.initiator },
  ...descriptionOf(row),
  checksum:
    row.checksum_algorithm === null
      ? null
      : { algorithm: row.checksum_algorithm as ChecksumAlgorithm, type: row.checksum_type as ChecksumType },
  createdAt: new Date(row.created_at),
});

const partOf = (row: S3PartsTable): Part => ({
  ...{ number: row.number, bytes: row.bytes, etag: row.etag },
  checksum: row.checksum === null ? null : (JSON.parse(row.checksum) as ObjectChecksum),
  createdAt: new Date(row.created_at),
});

/** @throws ApiError `NoSuchBucket` */
export async function createUpload(database: Database, upload: Omit<Upload, "id">): Promise<Upload> {
  const made: Upload = { ...upload, id: newObjectId() };
  await database.transaction(async (tx) => {
    await mustHaveBucket(tx, made.bucket);
    await tx
      .insertInto("s3_uploads")
      .values({
        ...{ id: made.id, bucket: made.bucket, key: made.key, initiator: made.initiator },
        ...descriptionColumns(made),
        checksum_algorithm: made.checksum?.algorithm ?? null,
        checksum_type: made.checksum?.type ?? null,
        created_at: made.createdAt.toISOString(),
      })
      .execute();
  });
  return made;
}

/** @throws ApiError `NoSuchUpload`, also when the upload is of another key */
export async function findUpload(db: Db, bucket: string, key: string, id: string): Promise<Upload> {
  const row = await db
    .selectFrom("s3_uploads")
    .selectAll()
    .where("id", "=", id)
    .where("bucket", "=", bucket)
    .where("key", "=", key)
    .executeTakeFirst();
  if (row === undefined) throw noSuchUpload(id);
  return uploadOf(row);
}

/** By key, then in the order in which ids sort. */
export async function uploadsOf(db: Db, bucket: string): Promise<Upload[]> {
  const rows = await db
    .selectFrom("s3_uploads")
    .selectAll()
    .where("bucket", "=", bucket)
    .orderBy("key")
    .orderBy("id")
    .execute();
  return rows.map(uploadOf);
}

/** @param after only parts with greater numbers */
export async function partsOf(db: Db, uploadId: string, after: number, limit: number): Promise<Part[]> {
  const rows = await db
    .selectFrom("s3_parts")
    .selectAll()
    .where("upload_id", "=", uploadId)
    .where("number", ">", after)
    .orderBy("number")
    .limit(limit)
    .execute();
  return rows.map(partOf);
}

/** What a part, or an object, is made of. */
export interface PartContent {
  readonly pieces: readonly Piece[];
  readonly bytes: number;
  /** MD5 in hex. */
  readonly etag: string;
  readonly checksum: ObjectChecksum | null;
}

/**
 * Keeps a part, in the place of the one that had its number.
 * @returns the part, and files to give up
 * @throws ApiError `NoSuchUpload`
 */
export async function putPart(
  tx: Db,
  upload: Pick<Upload, "id" | "bucket" | "key">,
  number: number,
  content: PartContent,
  createdAt: Date,
): Promise<{ readonly part: Part; readonly freed: string[] }> {
  await findUpload(tx, upload.bucket, upload.key, upload.id);
  const before = await tx
    .deleteFrom("s3_parts")
    .where("upload_id", "=", upload.id)
    .where("number", "=", number)
    .returning("id")
    .executeTakeFirst();
  const gone = before === undefined ? [] : await deletePieces(tx, before.id);
  const row: S3PartsTable = {
    ...{ upload_id: upload.id, number, id: newObjectId(), bytes: content.bytes, etag: content.etag },
    checksum: content.checksum === null ? null : JSON.stringify(content.checksum),
    created_at: createdAt.toISOString(),
  };
  await tx.insertInto("s3_parts").values(row).execute();
  await insertPieces(tx, row.id, content.pieces);
  return { part: partOf(row), freed: await unreferred(tx, gone) };
}

/** @returns files to give up. @throws ApiError `NoSuchUpload` */
export async function abortUpload(database: Database, bucket: string, key: string, id: string): Promise<string[]> {
  return database.transaction(async (tx) => {
    await findUpload(tx, bucket, key, id);
    return unreferred(tx, await deleteUploadRows(tx, id));
  });
}

export interface Completion {
  readonly bucket: string;
  readonly key: string;
  readonly uploadId: string;
  /** In ascending order. */
  readonly parts: readonly NamedPart[];
  readonly conditions: WriteConditions;
  /** What the client says of the whole. */
  readonly bytes: number | undefined;
  readonly checksums: Partial<Record<ChecksumAlgorithm, string>>;
  readonly now: Date;
}

/**
 * Makes an object of parts. Asked again after it was done (an answer that got lost), it answers the same.
 * @throws ApiError `NoSuchUpload`, `InvalidPart`, `InvalidPartOrder`, `EntityTooSmall`, `BadDigest`, `InvalidRequest`, and
 *   those of `replaceObject`
 */
export async function completeUpload(
  database: Database,
  completion: Completion,
): Promise<{ readonly object: ObjectRecord; readonly freed: string[] }> {
  const { bucket, key, uploadId } = completion;
  return database.transaction(async (tx) => {
    const done = await tx
      .selectFrom("s3_objects")
      .selectAll()
      .where("bucket", "=", bucket)
      .where("key", "=", key)
      .where("upload_id", "=", uploadId)
      .executeTakeFirst();
    if (done !== undefined) return { object: objectOf(done), freed: [] };
    const upload = await findUpload(tx, bucket, key, uploadId);
    const rows = await tx.selectFrom("s3_parts").selectAll().where("upload_id", "=", uploadId).execute();
    const byNumber = new Map(rows.map((row) => [row.number, row]));
    const chosen = choose(completion.parts, byNumber);
    const bytes = chosen.reduce((sum, part) => sum + part.bytes, 0);
    if (completion.bytes !== undefined && completion.bytes !== bytes) {
      throw new ApiError(
        "InvalidRequest",
        "The provided 'x-amz-mp-object-size' is not the size of the parts together.",
      );
    }
    const checksum = wholeChecksum(upload, chosen.map(partOf));
    checkWhole(completion.checksums, checksum);
    const pieces: Piece[] = [];
    for (const { id } of chosen) pieces.push(...(await piecesOf(tx, id)));
    const replaced = await replaceObject(
      tx,
      {
        ...{ bucket, key, pieces, bytes, checksum, uploadId },
        ...{ headers: upload.headers, metadata: upload.metadata, tags: upload.tags },
        etag: multipartEtag(chosen),
        partBytes: chosen.map((part) => part.bytes),
        createdAt: completion.now,
      },
      completion.conditions,
    );
    const gone = await deleteUploadRows(tx, uploadId);
    return { object: replaced.object, freed: [...replaced.freed, ...(await unreferred(tx, gone))] };
  });
}

function choose(named: readonly NamedPart[], byNumber: ReadonlyMap<number, S3PartsTable>): S3PartsTable[] {
  if (named.length === 0) throw new ApiError("MalformedXML", "You must specify at least one part");
  let last = 0;
  const chosen = named.map(({ number, etag, checksums }) => {
    if (number <= last) {
      throw new ApiError(
        "InvalidPartOrder",
        "The list of parts was not in ascending order. The parts list must be specified in order by part number.",
      );
    }
    last = number;
    const part = byNumber.get(number);
    const checksum = part && partOf(part).checksum;
    const differs = Object.entries(checksums).some(
      ([algorithm, value]) => checksum?.algorithm === algorithm && checksum.value !== value,
    );
    if (part === undefined || part.etag !== etag || differs) {
      throw new ApiError(
        "InvalidPart",
        "One or more of the specified parts could not be found. The part may not have been uploaded, or the specified entity tag may not match the part's entity tag.",
        { fields: { PartNumber: String(number), ETag: etag.slice(0, 128) } },
      );
    }
    return part;
  });
  const small = chosen.slice(0, -1).find((part) => part.bytes < MIN_PART_BYTES);
  if (small !== undefined) {
    throw new ApiError("EntityTooSmall", "Your proposed upload is smaller than the minimum allowed size", {
      fields: {
        ProposedSize: String(small.bytes),
        MinSizeAllowed: String(MIN_PART_BYTES),
        PartNumber: String(small.number),
      },
    });
  }
  return chosen;
}

/** Of the whole, where the upload has said by what algorithm: then every part has one. */
function wholeChecksum(upload: Upload, parts: readonly Part[]): ObjectChecksum | null {
  if (upload.checksum === null) return null;
  const { algorithm, type } = upload.checksum;
  const values = parts.flatMap(({ checksum, bytes }) =>
    checksum?.algorithm === algorithm ? [{ value: checksum.value, bytes }] : [],
  );
  if (values.length !== parts.length) return null;
  return multipartChecksum(algorithm, type, values, (bytes) => checksumOf(algorithm, bytes));
}

function checkWhole(said: Completion["checksums"], checksum: ObjectChecksum | null): void {
  for (const [algorithm, value] of Object.entries(said)) {
    if (checksum?.algorithm !== algorithm) {
      throw new ApiError("InvalidRequest", `The upload was not created with the checksum algorithm ${algorithm}.`);
    }
    // A composite one may be given without its count.
    if (value !== checksum.value && value !== checksum.value.replace(/-\d+$/, "")) {
      throw new ApiError("BadDigest", `The ${algorithm} you specified did not match the calculated checksum.`);
    }
  }
}

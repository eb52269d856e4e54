// Buckets and objects. Content lies in files that are written once; a row is what makes it an object.

/** One row per bucket; names are unique over all accounts. */
export interface S3BucketsTable {
  name: string;
  account_id: string;
  region: string;
  /** Bucket policy, JSON text as its owner wrote it. */
  policy: string | null;
  /** JSON `{ARN: unique id}` of the principals that the policy names. */
  principal_ids: string;
  /** JSON `{key: value}`. */
  tags: string;
  /** ISO 8601. */
  created_at: string;
}

/** What objects and uploads of objects have alike. */
interface ObjectColumns {
  id: string;
  bucket: string;
  /** Any UTF-8 text without NUL; ordered by its bytes. */
  key: string;
  /** JSON, see `objects/object.ts`: `{contentType, cacheControl, …}`. */
  headers: string;
  /** JSON `{name: value}`. */
  metadata: string;
  /** JSON `{key: value}`. */
  tags: string;
  created_at: string;
}

/** One row per object. `id` is new whenever its content is. */
export interface S3ObjectsTable extends ObjectColumns {
  bytes: number;
  /** Without quotes. */
  etag: string;
  /** JSON, see `objects/object.ts`. */
  checksum: string | null;
  /** JSON list of the parts' sizes, for what was uploaded in parts. */
  part_bytes: string | null;
  /** The upload that made it: its client may ask to complete it again. */
  upload_id: string | null;
}

/** One row per multipart upload under way. */
export interface S3UploadsTable extends ObjectColumns {
  checksum_algorithm: string | null;
  checksum_type: string | null;
  /** ARN. */
  initiator: string;
}

export interface S3PartsTable {
  upload_id: string;
  number: number;
  id: string;
  bytes: number;
  /** MD5 in hex. */
  etag: string;
  checksum: string | null;
  created_at: string;
}

/**
 * Where content lies: of an object or of a part (`owner_id` is the `id` of either), in order. Many may lie in one file:
 * copies share it. A file without rows is to be removed.
 */
export interface S3PiecesTable {
  owner_id: string;
  position: number;
  file: string;
  first_byte: number;
  bytes: number;
}

export interface S3Tables {
  s3_buckets: S3BucketsTable;
  s3_objects: S3ObjectsTable;
  s3_uploads: S3UploadsTable;
  s3_parts: S3PartsTable;
  s3_pieces: S3PiecesTable;
}

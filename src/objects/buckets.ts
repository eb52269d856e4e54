// Buckets: names that are one account's, over all accounts and Regions, as S3's are.
import { ApiError } from "../base/api-error.ts";
import { type AccountId, accountId, type Region } from "../base/ids.ts";
import { type Database, type Db, isUniqueViolation } from "../database/database.ts";
import type { S3BucketsTable } from "../database/tables/s3.ts";
import type { Grant } from "../model/access.ts";
import { noSuchBucket } from "./object.ts";
import { deletePieces, unreferred } from "./object-rows.ts";

export interface Bucket {
  readonly name: string;
  readonly accountId: AccountId;
  readonly region: Region;
  /** JSON text as its owner wrote it. */
  readonly policy: string | null;
  /** Unique ids of the principals that the policy names, by ARN. */
  readonly principalIds: Readonly<Record<string, string>>;
  readonly tags: Readonly<Record<string, string>>;
  readonly createdAt: Date;
}

const MAX_BUCKETS_PER_ACCOUNT = 10_000;

const bucketOf = (row: S3BucketsTable): Bucket => ({
  name: row.name,
  accountId: accountId(row.account_id),
  region: row.region as Region,
  policy: row.policy,
  principalIds: JSON.parse(row.principal_ids) as Record<string, string>,
  tags: JSON.parse(row.tags) as Record<string, string>,
  createdAt: new Date(row.created_at),
});

export const bucketArn = (bucket: string): string => `arn:aws:s3:::${bucket}`;
export const objectArn = (bucket: string, key: string): string => `arn:aws:s3:::${bucket}/${key}`;

/** S3's rules: they make a name fit for a host's. @throws ApiError `InvalidBucketName` */
export function checkBucketName(name: string): void {
  const isAddress = /^\d+\.\d+\.\d+\.\d+$/.test(name);
  const isTaken = /^(xn--|sthree-|amzn-s3-demo-)|(-s3alias|--ol-s3|\.mrap|--x-s3|--table-s3)$/.test(name);
  if (/^[a-z0-9](?:[a-z0-9-]|\.(?!\.)){1,61}[a-z0-9]$/.test(name) && !isAddress && !isTaken) return;
  throw new ApiError("InvalidBucketName", "The specified bucket is not valid.", { fields: { BucketName: name } });
}

export async function findBucket(db: Db, name: string): Promise<Bucket | undefined> {
  const row = await db.selectFrom("s3_buckets").selectAll().where("name", "=", name).executeTakeFirst();
  return row && bucketOf(row);
}

/** In the order of their names, after `after`. */
export async function bucketsOf(
  db: Db,
  account: AccountId,
  options: {
    readonly prefix: string;
    readonly after: string;
    readonly limit: number;
    readonly region: string | undefined;
  },
): Promise<Bucket[]> {
  let query = db
    .selectFrom("s3_buckets")
    .selectAll()
    .where("account_id", "=", account)
    .where("name", ">", options.after)
    .orderBy("name")
    .limit(options.limit);
  // Names are made of a-z, 0-9, - and . alone: `~` follows all of them.
  if (options.prefix !== "") query = query.where("name", ">=", options.prefix).where("name", "<", `${options.prefix}~`);
  if (options.region !== undefined) query = query.where("region", "=", options.region);
  return (await query.execute()).map(bucketOf);
}

/** @throws ApiError `BucketAlreadyOwnedByYou`, `BucketAlreadyExists`, `TooManyBuckets` */
export async function createBucket(
  _grant: Grant<"s3:CreateBucket">,
  database: Database,
  bucket: Pick<Bucket, "name" | "accountId" | "region" | "createdAt" | "tags">,
): Promise<void> {
  try {
    await database.transaction(async (tx) => {
      const { count } = await tx
        .selectFrom("s3_buckets")
        .select((eb) => eb.fn.countAll<number>().as("count"))
        .where("account_id", "=", bucket.accountId)
        .executeTakeFirstOrThrow();
      if (Number(count) >= MAX_BUCKETS_PER_ACCOUNT) {
        throw new ApiError("TooManyBuckets", "You have attempted to create more buckets than allowed");
      }
      await tx
        .insertInto("s3_buckets")
        .values({
          ...{ name: bucket.name, account_id: bucket.accountId, region: bucket.region },
          ...{ policy: null, principal_ids: "{}", tags: JSON.stringify(bucket.tags) },
          created_at: bucket.createdAt.toISOString(),
        })
        .execute();
    });
  } catch (error) {
    if (!isUniqueViolation(error)) throw error;
    const fields = { BucketName: bucket.name };
    const existing = await findBucket(database.read, bucket.name);
    throw existing?.accountId === bucket.accountId
      ? new ApiError(
          "BucketAlreadyOwnedByYou",
          "Your previous request to create the named bucket succeeded and you already own it.",
          { fields, cause: error },
        )
      : new ApiError(
          "BucketAlreadyExists",
          "The requested bucket name is not available. The bucket namespace is shared by all users of the system. Please select a different name and try again.",
          { fields, cause: error },
        );
  }
}

/**
 * Uploads that are under way in it end.
 * @returns files to give up
 * @throws ApiError `BucketNotEmpty`, `NoSuchBucket`
 */
export async function deleteBucket(
  _grant: Grant<"s3:DeleteBucket">,
  database: Database,
  name: string,
): Promise<string[]> {
  return database.transaction(async (tx) => {
    const object = await tx
      .selectFrom("s3_objects")
      .select("id")
      .where("bucket", "=", name)
      .limit(1)
      .executeTakeFirst();
    if (object !== undefined) {
      throw new ApiError("BucketNotEmpty", "The bucket you tried to delete is not empty", {
        fields: { BucketName: name },
      });
    }
    const uploads = await tx.selectFrom("s3_uploads").select("id").where("bucket", "=", name).execute();
    const files: string[] = [];
    for (const { id } of uploads) files.push(...(await deleteUploadRows(tx, id)));
    const gone = await tx.deleteFrom("s3_buckets").where("name", "=", name).executeTakeFirst();
    if (gone.numDeletedRows === 0n) throw noSuchBucket(name);
    return unreferred(tx, files);
  });
}

/** An upload and its parts. @returns the files that they named */
export async function deleteUploadRows(tx: Db, uploadId: string): Promise<string[]> {
  const files: string[] = [];
  const parts = await tx.deleteFrom("s3_parts").where("upload_id", "=", uploadId).returning("id").execute();
  for (const { id } of parts) files.push(...(await deletePieces(tx, id)));
  await tx.deleteFrom("s3_uploads").where("id", "=", uploadId).execute();
  return files;
}

/** @param policy null: none from now on */
export async function setBucketPolicy(
  _grant: Grant<"s3:PutBucketPolicy" | "s3:DeleteBucketPolicy">,
  database: Database,
  name: string,
  policy: { readonly document: string; readonly principalIds: Readonly<Record<string, string>> } | null,
): Promise<void> {
  await change(database, name, {
    policy: policy?.document ?? null,
    principal_ids: JSON.stringify(policy?.principalIds ?? {}),
  });
}

export async function setBucketTags(
  _grant: Grant<"s3:PutBucketTagging">,
  database: Database,
  name: string,
  tags: Readonly<Record<string, string>>,
): Promise<void> {
  await change(database, name, { tags: JSON.stringify(tags) });
}

async function change(database: Database, name: string, columns: Partial<S3BucketsTable>): Promise<void> {
  await database.transaction(async (tx) => {
    const done = await tx.updateTable("s3_buckets").set(columns).where("name", "=", name).executeTakeFirst();
    if (done.numUpdatedRows === 0n) throw noSuchBucket(name);
  });
}

// Which home the content of objects has: the one that the server is started with, as long as that is where it lies.
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import type { BucketLocation } from "../base/external-bucket.ts";
import type { Database } from "../database/database.ts";
import { bucketHome } from "./bucket-home.ts";
import type { ContentHome } from "./content.ts";
import { folderHome } from "./folder-home.ts";

const SETTING = { account_id: "", region: "", name: "objects-home" };
const FOLDER = "the data directory";

/**
 * @param directory  of the data directory: holds the files, or the mark that says that the bucket is ours
 * @throws Error in a sentence when objects lie elsewhere, or when the bucket can't be had
 */
export async function openContentHome(
  database: Database,
  directory: string,
  bucket: BucketLocation | undefined,
): Promise<ContentHome> {
  await settle(database, bucket === undefined ? FOLDER : `s3://${bucket.bucket}/${bucket.prefix}`);
  if (bucket === undefined) return folderHome(directory);
  await mkdir(directory, { recursive: true, mode: 0o700 });
  return bucketHome(bucket, join(directory, "owner"));
}

/** Another home than before is taken when there is nothing in the old one; else it would look as if content were lost. */
async function settle(database: Database, wanted: string): Promise<void> {
  await database.transaction(async (tx) => {
    const row = await tx
      .selectFrom("settings")
      .select("value")
      .where("account_id", "=", SETTING.account_id)
      .where("region", "=", SETTING.region)
      .where("name", "=", SETTING.name)
      .executeTakeFirst();
    const before = row?.value ?? FOLDER;
    if (before !== wanted) {
      const piece = await tx.selectFrom("s3_pieces").select("file").limit(1).executeTakeFirst();
      if (piece !== undefined) {
        throw new Error(
          `the content of S3 objects lies in ${before}, not in ${wanted}: start with the same --objects as before, or delete all objects first`,
        );
      }
    }
    await tx
      .insertInto("settings")
      .values({ ...SETTING, value: wanted })
      .onConflict((conflict) => conflict.columns(["account_id", "region", "name"]).doUpdateSet({ value: wanted }))
      .execute();
  });
}

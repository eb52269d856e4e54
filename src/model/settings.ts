// An account's settings in one Region, each a small text or JSON under a name.
import type { Db } from "../database/database.ts";
import type { Grant } from "./access.ts";
import type { Owner } from "./vpc.ts";

export type SettingName =
  | "image-block-public-access"
  | "snapshot-block-public-access"
  | "allowed-images"
  | "ebs-encryption-by-default"
  | "instance-metadata-defaults";

export async function settingOf(db: Db, owner: Owner, name: SettingName): Promise<string | undefined> {
  const row = await db
    .selectFrom("settings")
    .select("value")
    .where("account_id", "=", owner.accountId)
    .where("region", "=", owner.region)
    .where("name", "=", name)
    .executeTakeFirst();
  return row?.value;
}

type SettingAction =
  | "ec2:EnableImageBlockPublicAccess"
  | "ec2:DisableImageBlockPublicAccess"
  | "ec2:EnableSnapshotBlockPublicAccess"
  | "ec2:DisableSnapshotBlockPublicAccess"
  | "ec2:EnableAllowedImagesSettings"
  | "ec2:DisableAllowedImagesSettings"
  | "ec2:ReplaceImageCriteriaInAllowedImagesSettings"
  | "ec2:ModifyInstanceMetadataDefaults";

export async function changeSetting(
  _grant: Grant<SettingAction>,
  tx: Db,
  owner: Owner,
  name: SettingName,
  value: string,
): Promise<void> {
  await tx
    .insertInto("settings")
    .values({ account_id: owner.accountId, region: owner.region, name, value })
    .onConflict((conflict) => conflict.columns(["account_id", "region", "name"]).doUpdateSet({ value }))
    .execute();
}

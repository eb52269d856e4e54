// Key pairs: the public half, kept under a name.
import { ApiError } from "../base/api-error.ts";
import type { KeyPairId, Region } from "../base/ids.ts";
import { type Db, isUniqueViolation } from "../database/database.ts";
import type { KeyPairsTable } from "../database/tables/ec2.ts";
import type { ConditionKeys, Grant } from "./access.ts";
import { resourceTagKeys, type Tag } from "./tags.ts";
import type { Owner } from "./vpc.ts";

export type KeyPair = Readonly<KeyPairsTable> & { readonly id: KeyPairId; readonly region: Region };

const MOST_NAME_CHARS = 255;

/** @throws ApiError `InvalidParameterValue` unless 1 to 255 ASCII characters without leading or trailing blanks */
export function parseKeyName(name: string | undefined): string {
  if (name === undefined || name === "") {
    throw new ApiError("MissingParameter", "The request must contain the parameter KeyName");
  }
  if (name.length > MOST_NAME_CHARS || !/^[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?$/.test(name)) {
    throw new ApiError("InvalidParameterValue", `Value (${name}) for parameter KeyName is invalid.`);
  }
  return name;
}

export const keyPairNotFound = (name: string): ApiError =>
  new ApiError("InvalidKeyPair.NotFound", `The key pair '${name}' does not exist`);

export async function keyPairByName(db: Db, owner: Owner, name: string): Promise<KeyPair | undefined> {
  const row = await db
    .selectFrom("key_pairs")
    .selectAll()
    .where("account_id", "=", owner.accountId)
    .where("region", "=", owner.region)
    .where("name", "=", name)
    .executeTakeFirst();
  return row as KeyPair | undefined;
}

export async function keyPairById(db: Db, owner: Owner, id: string): Promise<KeyPair | undefined> {
  const row = await db
    .selectFrom("key_pairs")
    .selectAll()
    .where("account_id", "=", owner.accountId)
    .where("region", "=", owner.region)
    .where("id", "=", id)
    .executeTakeFirst();
  return row as KeyPair | undefined;
}

export async function keyPairsOf(db: Db, owner: Owner): Promise<KeyPair[]> {
  const rows = await db
    .selectFrom("key_pairs")
    .selectAll()
    .where("account_id", "=", owner.accountId)
    .where("region", "=", owner.region)
    .orderBy("name")
    .execute();
  return rows as KeyPair[];
}

/** @throws ApiError `InvalidKeyPair.Duplicate` */
export async function insertKeyPair(
  _grant: Grant<"ec2:CreateKeyPair" | "ec2:ImportKeyPair">,
  tx: Db,
  keyPair: KeyPair,
): Promise<void> {
  try {
    await tx.insertInto("key_pairs").values(keyPair).execute();
  } catch (error) {
    if (!isUniqueViolation(error)) throw error;
    throw new ApiError("InvalidKeyPair.Duplicate", `The keypair '${keyPair.name}' already exists.`);
  }
}

export async function deleteKeyPairRow(_grant: Grant<"ec2:DeleteKeyPair">, tx: Db, id: KeyPairId): Promise<void> {
  await tx.deleteFrom("key_pairs").where("id", "=", id).execute();
}

/** What policies may ask of a key pair. */
export const keyPairKeys = (
  keyPair: Pick<KeyPair, "name" | "type" | "region">,
  tags: readonly Tag[],
): ConditionKeys => ({
  "ec2:KeyPairName": keyPair.name,
  "ec2:KeyPairType": keyPair.type,
  "ec2:Region": keyPair.region,
  ...resourceTagKeys(tags),
});

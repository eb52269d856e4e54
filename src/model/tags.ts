// Tags of EC2 resources. A tag belongs to the account that wrote it: who is merely given access never sees it.
import { ApiError } from "../base/api-error.ts";
import type { Region } from "../base/ids.ts";
import type { Db } from "../database/database.ts";
import type { ConditionKeys, Grant, OpenConditionKeys } from "./access.ts";

export interface Tag {
  readonly key: string;
  readonly value: string;
}

/** EC2's name for what a tag hangs on: `image`, `snapshot`, `instance`, `volume`, `key-pair`, `security-group`… */
export type TaggedType = string;

export const MOST_TAGS = 50;
const MOST_KEY_CHARS = 128;
const MOST_VALUE_CHARS = 256;

/** Tags by resource id, keys ascending. Resources without tags are absent. One query per 500 ids. */
export async function tagsOf(db: Db, accountId: string, ids: readonly string[]): Promise<Map<string, Tag[]>> {
  const found = new Map<string, Tag[]>();
  for (let at = 0; at < ids.length; at += 500) {
    const rows = await db
      .selectFrom("tags")
      .select(["resource_id", "key", "value"])
      .where("account_id", "=", accountId)
      .where("resource_id", "in", ids.slice(at, at + 500))
      .orderBy("resource_id")
      .orderBy("key")
      .execute();
    for (const row of rows) {
      const tags = found.get(row.resource_id);
      if (tags === undefined) found.set(row.resource_id, [{ key: row.key, value: row.value }]);
      else tags.push({ key: row.key, value: row.value });
    }
  }
  return found;
}

/**
 * A client's tags, checked as EC2 checks them.
 * @throws ApiError `InvalidParameterValue`, `TagLimitExceeded`
 */
export function parseTags(tags: readonly { Key?: string | undefined; Value?: string | undefined }[]): Tag[] {
  const parsed = new Map<string, string>();
  for (const { Key: key, Value: value = "" } of tags) {
    if (key === undefined || key === "") {
      throw new ApiError("InvalidParameterValue", "Tag key cannot be empty.");
    }
    if (/^aws:/i.test(key)) {
      throw new ApiError(
        "InvalidParameterValue",
        `Tag keys starting with 'aws:' are reserved for internal use (${key}).`,
      );
    }
    if (key.length > MOST_KEY_CHARS) {
      throw new ApiError(
        "InvalidParameterValue",
        `Tag key exceeds the maximum length of ${MOST_KEY_CHARS} characters.`,
      );
    }
    if (value.length > MOST_VALUE_CHARS) {
      throw new ApiError(
        "InvalidParameterValue",
        `Tag value exceeds the maximum length of ${MOST_VALUE_CHARS} characters.`,
      );
    }
    if (parsed.has(key)) throw new ApiError("InvalidParameterValue", `Duplicate tag key '${key}' specified.`);
    parsed.set(key, value);
  }
  if (parsed.size > MOST_TAGS) {
    throw new ApiError(
      "TagLimitExceeded",
      `The maximum number of Tags for a resource has been reached (${MOST_TAGS}).`,
    );
  }
  return [...parsed].map(([key, value]) => ({ key, value }));
}

/** Tags that EC2 itself writes, such as `aws:ec2launchtemplate:id`: no client may write or delete them, and none counts. */
const SYSTEM_TAGS = "aws:%";

/**
 * Writes tags over those that are there.
 * @throws ApiError `TagLimitExceeded` when the resource would have more than 50 of its owner's
 */
export async function writeTags(
  tx: Db,
  owner: { readonly accountId: string; readonly region: Region },
  resource: { readonly id: string; readonly type: TaggedType },
  tags: readonly Tag[],
): Promise<void> {
  if (tags.length === 0) return;
  await tx
    .insertInto("tags")
    .values(
      tags.map((tag) => ({
        resource_id: resource.id,
        resource_type: resource.type,
        account_id: owner.accountId,
        region: owner.region,
        key: tag.key,
        value: tag.value,
      })),
    )
    .onConflict((conflict) =>
      conflict.columns(["resource_id", "account_id", "key"]).doUpdateSet((eb) => ({ value: eb.ref("excluded.value") })),
    )
    .execute();
  const { count } = await tx
    .selectFrom("tags")
    .select((eb) => eb.fn.countAll<number>().as("count"))
    .where("resource_id", "=", resource.id)
    .where("account_id", "=", owner.accountId)
    .where("key", "not like", SYSTEM_TAGS)
    .executeTakeFirstOrThrow();
  if (Number(count) > MOST_TAGS) {
    throw new ApiError(
      "TagLimitExceeded",
      `The maximum number of Tags for a resource has been reached (${MOST_TAGS}).`,
    );
  }
}

/** Without a value: whatever its value is. */
export interface TagToDelete {
  readonly key: string;
  readonly value: string | undefined;
}

/** Removes some of an account's tags from a resource, or all of them. What is not there is no error. */
export async function deleteTagRows(
  _grant: Grant<"ec2:DeleteTags">,
  tx: Db,
  accountId: string,
  resourceId: string,
  tags: readonly TagToDelete[] | undefined,
): Promise<void> {
  const mine = tx
    .deleteFrom("tags")
    .where("resource_id", "=", resourceId)
    .where("account_id", "=", accountId)
    .where("key", "not like", SYSTEM_TAGS);
  if (tags === undefined) {
    await mine.execute();
    return;
  }
  for (const { key, value } of tags) {
    const one = mine.where("key", "=", key);
    await (value === undefined ? one : one.where("value", "=", value)).execute();
  }
}

/** Removes every tag of resources that are gone. */
export async function dropTags(tx: Db, ids: readonly string[]): Promise<void> {
  if (ids.length > 0) await tx.deleteFrom("tags").where("resource_id", "in", ids).execute();
}

/** Condition keys that a call with tags carries: `aws:RequestTag/K` and `aws:TagKeys`. */
export function requestTagKeys(tags: readonly Tag[]): ConditionKeys {
  const keys: OpenConditionKeys = {};
  for (const { key, value } of tags) keys[`aws:RequestTag/${key}`] = value;
  if (tags.length > 0) keys["aws:TagKeys"] = tags.map((tag) => tag.key);
  return keys;
}

/** Condition keys of a tagged resource: `aws:ResourceTag/K` and EC2's own `ec2:ResourceTag/K`. */
export function resourceTagKeys(tags: readonly Tag[]): ConditionKeys {
  const keys: OpenConditionKeys = {};
  for (const { key, value } of tags) {
    keys[`aws:ResourceTag/${key}`] = value;
    keys[`ec2:ResourceTag/${key}`] = value;
  }
  return keys;
}

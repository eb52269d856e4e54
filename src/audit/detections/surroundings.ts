// What a rule may ask beyond the record: whom an image was shared with, whose it is, where credentials are used. It is put
// into the record under `ingot` before the rules see it, and taken from the rows as they are then.
//
//   ingot.share.relation       of each account or organization that permission was given to:
//                              organization | outside | new | known  (new, known: for accounts that are in no organization)
//   ingot.share.with           those that are outside or new
//   ingot.image.owner          self | platform | organization | allowed | unknown: of an image that is launched or copied
//   ingot.image.ownerId        its account
//   ingot.image.deprecated     true once its time is over
//   ingot.caller.relation      organization | outside: of another account that used what is ours
//   ingot.credentials.usedFrom instance | elsewhere: of credentials that an instance's metadata service gave out
import { isId, type Region } from "../../base/ids.ts";
import type { Db } from "../../database/database.ts";
import { allowance, allowedImagesOf } from "../../model/allowed-images.ts";
import { PLATFORM_ACCOUNT } from "../../model/identity/account.ts";
import { isDeprecated } from "../../model/image.ts";
import { findImage } from "../../model/image-rows.ts";
import type { Json, JsonObject } from "../json.ts";
import { valuesAt } from "./sigma-match.ts";

export interface Surroundings {
  /**
   * The accounts of an account's organization, itself among them, and the ARNs by which images are shared with it or its
   * units. Null: it is in none.
   */
  organization(accountId: string): Promise<{ has(accountOrArn: string): boolean } | null>;
}

/** An event as it is about to be judged. */
export interface JudgedEvent {
  /** Empty: nobody's. */
  readonly accountId: string;
  readonly region: string;
  readonly at: Date;
  readonly record: JsonObject;
}

const texts = (record: JsonObject, path: string): string[] =>
  valuesAt(record, path.split(".")).filter((value): value is string => typeof value === "string");

/** The record with `ingot` in it, where there is something to say. Writes down whom the account shares with. */
export async function withSurroundings(tx: Db, event: JudgedEvent, surroundings: Surroundings): Promise<JsonObject> {
  const own: Record<string, Json> = {};
  if (event.record.errorCode === undefined) {
    const share = await shareOf(tx, event, surroundings);
    if (share !== null) own.share = share;
    const image = await imageOf(tx, event, surroundings);
    if (image !== null) own.image = image;
  }
  const caller = await callerOf(event, surroundings);
  if (caller !== null) own.caller = caller;
  const credentials = await credentialsOf(tx, event);
  if (credentials !== null) own.credentials = credentials;
  return Object.keys(own).length === 0 ? event.record : { ...event.record, ingot: own };
}

const SHARED = ["launchPermission", "createVolumePermission"];
const SHARED_WITH = ["userId", "organizationArn", "organizationalUnitArn"];

async function shareOf(tx: Db, event: JudgedEvent, surroundings: Surroundings): Promise<JsonObject | null> {
  const name = event.record.eventName;
  if (name !== "ModifyImageAttribute" && name !== "ModifySnapshotAttribute") return null;
  const targets = SHARED.flatMap((permission) =>
    SHARED_WITH.flatMap((kind) => texts(event.record, `requestParameters.${permission}.add.items.${kind}`)),
  ).filter((target) => target !== event.accountId);
  if (targets.length === 0) return null;
  const organization = await surroundings.organization(event.accountId);
  const relations: string[] = [];
  const strange: string[] = [];
  for (const target of new Set(targets)) {
    let relation: string;
    if (organization !== null) relation = organization.has(target) ? "organization" : "outside";
    else relation = (await isNew(tx, event.accountId, target)) ? "new" : "known";
    relations.push(relation);
    if (relation === "outside" || relation === "new") strange.push(target);
  }
  return { relation: relations, with: strange };
}

async function isNew(tx: Db, accountId: string, target: string): Promise<boolean> {
  const inserted = await tx
    .insertInto("detection_known")
    .values({ account_id: accountId, kind: "share", value: target })
    .onConflict((conflict) => conflict.doNothing())
    .executeTakeFirst();
  return Number(inserted.numInsertedOrUpdatedRows ?? 0) > 0;
}

/** The image of a launch (what was really taken, where the request names a parameter), or the source of a copy. */
function imageNamed(event: JudgedEvent): { readonly id: string; readonly region: string } | null {
  const { record } = event;
  if (record.eventName === "RunInstances") {
    const [id] = [
      ...texts(record, "responseElements.instancesSet.items.imageId"),
      ...texts(record, "requestParameters.instancesSet.items.imageId"),
    ];
    return id === undefined ? null : { id, region: event.region };
  }
  if (record.eventName === "CopyImage") {
    const [id] = texts(record, "requestParameters.sourceImageId");
    const [region = event.region] = texts(record, "requestParameters.sourceRegion");
    return id === undefined ? null : { id, region };
  }
  return null;
}

async function imageOf(tx: Db, event: JudgedEvent, surroundings: Surroundings): Promise<JsonObject | null> {
  const named = imageNamed(event);
  if (named === null || !isId("image", named.id)) return null;
  const image = await findImage(tx, named.region as Region, named.id);
  if (image === undefined) return null;
  const told = { ownerId: image.account_id, deprecated: isDeprecated(image, event.at) };
  if (image.account_id === event.accountId) return { owner: "self", ...told };
  if (image.account_id === PLATFORM_ACCOUNT) return { owner: "platform", ...told };
  const organization = await surroundings.organization(event.accountId);
  if (organization?.has(image.account_id)) return { owner: "organization", ...told };
  const allowed = await allowedImagesOf(tx, { accountId: event.accountId as never, region: event.region as Region });
  if (allowed.state !== "disabled" && allowance(allowed, event.accountId, event.at)(image)) {
    return { owner: "allowed", ...told };
  }
  return { owner: "unknown", ...told };
}

/** Records that another account's call has left with us: who used our image or snapshot. */
async function callerOf(event: JudgedEvent, surroundings: Surroundings): Promise<JsonObject | null> {
  const [type] = texts(event.record, "userIdentity.type");
  const [accountId] = texts(event.record, "userIdentity.accountId");
  if (type !== "AWSAccount" || accountId === undefined || event.accountId === "") return null;
  const organization = await surroundings.organization(event.accountId);
  return { relation: organization?.has(accountId) ? "organization" : "outside" };
}

/**
 * An instance's credentials work anywhere: that is how they are stolen. Theirs are the addresses of the instance: the network
 * tells the API which guest calls, and lets none reach it by another way.
 */
async function credentialsOf(tx: Db, event: JudgedEvent): Promise<JsonObject | null> {
  if (texts(event.record, "userIdentity.sessionContext.ec2RoleDelivery").length === 0) return null;
  const [arn = ""] = texts(event.record, "userIdentity.arn");
  const instanceId = arn.slice(arn.lastIndexOf("/") + 1);
  const [address] = texts(event.record, "sourceIPAddress");
  if (!isId("instance", instanceId) || address === undefined) return null;
  const row = await tx
    .selectFrom("instances")
    .select(["private_ip", "public_ip"])
    .where("id", "=", instanceId)
    .executeTakeFirst();
  const bare = address.replace(/^::ffff:/, "");
  const own = row !== undefined && (bare === row.private_ip || bare === row.public_ip);
  return { usedFrom: own ? "instance" : "elsewhere", instanceId };
}

// ListImageAccess: who can launch or copy an image now, and through what. Of the owner's account, principal by principal;
// of others only the account, whose administrators decide there.

import type { Db } from "../../database/database.ts";
import { requestKeys } from "../../identity/caller-keys.ts";
import { callerNamed } from "../../identity/explain.ts";
import { snapshotsOf } from "../../model/block-device.ts";
import { rootArn } from "../../model/identity/account.ts";
import { listEntities } from "../../model/identity/entities.ts";
import { canLaunch, type Image, type LaunchPermission } from "../../model/image.ts";
import { permissionsOf } from "../../model/image-rows.ts";
import { membershipOf, membersOf, organizationArn, organizationOf, targetArn } from "../../model/organization.ts";
import { type CreateVolumePermission, canRead } from "../../model/snapshot.ts";
import { createVolumePermissionsOf, findSnapshots } from "../../model/snapshot-rows.ts";
import type { RequestContext } from "../context.ts";
import { imageCheck, resolveOwnImage } from "../ec2/images/own-image.ts";
import { operation } from "../operation.ts";
import { guardsOfImage } from "./explain-access.ts";
import {
  type ImageAccess$,
  ListImageAccess$,
  type ListImageAccessRequest$,
  type ListImageAccessResponse$,
} from "./schema.ts";
import type { Of } from "./shapes.ts";

type ImageAccess = Of<typeof ImageAccess$>;
const USES = [
  ["ec2:RunInstances", "launch"],
  ["ec2:CopyImage", "copy"],
] as const;

export const listImageAccess = operation({
  action: "ingot:ListImageAccess",
  schema: ListImageAccess$.schema,
  access: "read",
  resolve: (ctx: RequestContext, input: Of<typeof ListImageAccessRequest$>) =>
    resolveOwnImage(ctx, "ingot:ListImageAccess", input.ImageId),
  async run(ctx, _input, { image }): Promise<Of<typeof ListImageAccessResponse$>> {
    const permissions = await permissionsOf(ctx.database.read, image.id);
    return {
      ImageId: image.id,
      OwnerId: image.account_id,
      State: image.state,
      Public: image.is_public,
      Access: [...(await ofOwnAccount(ctx, image)), ...(await ofOthers(ctx, image, permissions))],
    };
  },
});

/** Every principal that policies let launch or copy it; none of them where the image itself cannot be. */
async function ofOwnAccount(ctx: RequestContext, image: Image): Promise<ImageAccess[]> {
  const { identity } = ctx.parts;
  const account = ctx.caller.accountId;
  const db = ctx.database.read;
  const uses = [];
  for (const [action, use] of USES) {
    if ((await guardsOfImage(ctx, use, image.id)).length > 0) continue;
    uses.push({ action, check: await imageCheck(ctx, action, image) });
  }
  if (uses.length === 0) return [];
  const request = requestKeys({
    now: ctx.now(),
    sourceIp: ctx.sourceIp,
    userAgent: ctx.userAgent,
    region: ctx.region,
    secure: false,
  });
  const entities = [...(await listEntities(db, "user", account, {})), ...(await listEntities(db, "role", account, {}))];
  const found: ImageAccess[] = [];
  for (const arn of [rootArn(account), ...entities.map((entity) => entity.arn)]) {
    const who = await callerNamed({ database: ctx.database, identity }, arn, ctx.now());
    if (who === null) continue;
    const actions: string[] = [];
    const through: string[] = [];
    for (const { action, check } of uses) {
      const decision = await identity.authorizer.decide(who, check, request);
      if (!decision.allowed) continue;
      actions.push(action);
      const { statement } = decision;
      through.push(
        statement === null
          ? `${action}: it is the account's root user`
          : `${action}: statement ${statement.sid ?? statement.index + 1} of ${statement.policy}${statement.via === undefined ? "" : ` (${statement.via})`}`,
      );
    }
    if (actions.length > 0) found.push({ AccountId: account, Principal: arn, Actions: actions, Through: through });
  }
  return found;
}

/** Accounts that launch permissions reach. `*` stands for everybody. */
async function ofOthers(
  ctx: RequestContext,
  image: Image,
  permissions: readonly LaunchPermission[],
): Promise<ImageAccess[]> {
  if (image.state !== "available") return [];
  const db = ctx.database.read;
  const snapshots = await snapshotPermissions(db, image);
  const found: ImageAccess[] = [];
  const entry = (account: string, name: string | null, through: readonly string[]) => {
    const copies = snapshots?.every((each) => canRead({ account_id: image.account_id }, each, account)) === true;
    found.push({
      AccountId: account,
      ...(name === null ? {} : { AccountName: name }),
      Actions: ["ec2:RunInstances", ...(copies ? ["ec2:CopyImage"] : [])],
      Through: [...through, ...(copies ? ["its snapshots are shared, too: it can be copied"] : [])],
    });
  };
  if (permissions.some(({ kind }) => kind === "group")) entry("*", null, ["launch permission for everybody (all)"]);
  for (const { kind, value } of permissions) {
    if (kind === "user") entry(value, await accountName(db, value), [`launch permission for the account ${value}`]);
  }
  const organization = await organizationOf(db, image.account_id);
  const named = permissions.filter(({ kind }) => kind === "organization" || kind === "organizational-unit");
  if (named.length === 0) return found;
  if (organization === undefined) {
    return [...found, ...named.map(({ value }) => outside(value))];
  }
  const within = new Set<string>();
  for (const member of await membersOf(db, organization)) {
    if (member.id === image.account_id || member.status !== "ACTIVE") continue;
    const membership = await membershipOf(db, member.id);
    if (membership === undefined) continue;
    const memberOf = [
      organizationArn(organization),
      ...membership.parents.slice(1).map((unit) => targetArn(organization, unit)),
    ];
    const by = named.filter(({ value }) => memberOf.includes(value));
    for (const { value } of by) within.add(value);
    if (!canLaunch(image, by, { accountId: member.id, memberOf })) continue;
    entry(
      member.id,
      member.name,
      by.map(({ kind, value }) => `launch permission for the ${kind} ${value}`),
    );
  }
  return [...found, ...named.filter(({ value }) => !within.has(value)).map(({ value }) => outside(value))];
}

/** Nobody of the owner's own organization: who is meant, only the other one's management account can tell. */
const outside = (arn: string): ImageAccess => ({
  AccountId: "?",
  Actions: ["ec2:RunInstances"],
  Through: [`launch permission for the members of ${arn}`],
});

/** Of each of the image's snapshots; null where one is gone. */
async function snapshotPermissions(db: Db, image: Image): Promise<CreateVolumePermission[][] | null> {
  const ids = snapshotsOf(image.block_devices);
  const found = await findSnapshots(db, image.region, ids);
  if (found.size < ids.length) return null;
  return Promise.all(ids.map((id) => createVolumePermissionsOf(db, id)));
}

async function accountName(db: Db, id: string): Promise<string | null> {
  const row = await db.selectFrom("accounts").select("name").where("id", "=", id).executeTakeFirst();
  return row?.name ?? null;
}

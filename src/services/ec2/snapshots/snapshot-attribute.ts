// Who may make volumes of a snapshot: ModifySnapshotAttribute, DescribeSnapshotAttribute, ResetSnapshotAttribute.
import {
  DescribeSnapshotAttribute$,
  type DescribeSnapshotAttributeRequest,
  type DescribeSnapshotAttributeResult,
  ModifySnapshotAttribute$,
  type ModifySnapshotAttributeRequest,
  ResetSnapshotAttribute$,
  type ResetSnapshotAttributeRequest,
  type CreateVolumePermission as ShownPermission,
} from "@aws-sdk/client-ec2";
import { ApiError } from "../../../base/api-error.ts";
import { isAccountId } from "../../../base/ids.ts";
import type { ConditionKeys, OpenConditionKeys } from "../../../model/access.ts";
import { settingOf } from "../../../model/settings.ts";
import { ANY_ACCOUNT, type CreateVolumePermission } from "../../../model/snapshot.ts";
import {
  changeCreateVolumePermissions,
  createVolumePermissionsOf,
  dropCreateVolumePermissions,
} from "../../../model/snapshot-rows.ts";
import type { RequestContext } from "../../context.ts";
import { operation } from "../../operation.ts";
import { ownerOf } from "../owner.ts";
import { missingParameter, notSupported, oneOf, required } from "../parameters.ts";
import { resolveOwnSnapshot } from "./own-snapshot.ts";

const MOST_CHANGES = 500;

export const modifySnapshotAttribute = operation({
  action: "ec2:ModifySnapshotAttribute",
  schema: ModifySnapshotAttribute$,
  access: "write",
  async resolve(ctx: RequestContext, input: ModifySnapshotAttributeRequest) {
    if (oneOf(input.Attribute, ["createVolumePermission", "productCodes"], "attribute") === "productCodes") {
      throw notSupported("Product codes are");
    }
    const change = parseChange(input);
    const keys = changeKeys(change);
    return { change, ...(await resolveOwnSnapshot(ctx, "ec2:ModifySnapshotAttribute", input.SnapshotId, keys)) };
  },
  async run(ctx, _input, { change, snapshot }, grant): Promise<Record<string, never>> {
    if (change.add.some(({ kind }) => kind === "group")) await refuseBlockedSharing(ctx);
    await ctx.database.transaction((tx) => changeCreateVolumePermissions(grant, tx, snapshot.id, change));
    return {};
  },
});

export const describeSnapshotAttribute = operation({
  action: "ec2:DescribeSnapshotAttribute",
  schema: DescribeSnapshotAttribute$,
  access: "read",
  async resolve(ctx: RequestContext, input: DescribeSnapshotAttributeRequest) {
    const attribute = required(
      oneOf(input.Attribute, ["createVolumePermission", "productCodes"], "attribute"),
      "attribute",
    );
    return { attribute, ...(await resolveOwnSnapshot(ctx, "ec2:DescribeSnapshotAttribute", input.SnapshotId)) };
  },
  async run(ctx, _input, { attribute, snapshot }): Promise<DescribeSnapshotAttributeResult> {
    if (attribute === "productCodes") return { SnapshotId: snapshot.id, ProductCodes: [] };
    const permissions = await createVolumePermissionsOf(ctx.database.read, snapshot.id);
    return {
      SnapshotId: snapshot.id,
      CreateVolumePermissions: permissions.map(({ kind, value }) =>
        kind === "group" ? { Group: "all" } : { UserId: value },
      ),
    };
  },
});

export const resetSnapshotAttribute = operation({
  action: "ec2:ResetSnapshotAttribute",
  schema: ResetSnapshotAttribute$,
  access: "write",
  async resolve(ctx: RequestContext, input: ResetSnapshotAttributeRequest) {
    required(oneOf(input.Attribute, ["createVolumePermission"], "attribute"), "attribute");
    return resolveOwnSnapshot(ctx, "ec2:ResetSnapshotAttribute", input.SnapshotId, {
      "ec2:Attribute": "CreateVolumePermission",
    });
  },
  async run(ctx, _input, { snapshot }, grant): Promise<Record<string, never>> {
    await ctx.database.transaction((tx) => dropCreateVolumePermissions(grant, tx, snapshot.id));
    return {};
  },
});

interface Change {
  readonly add: readonly CreateVolumePermission[];
  readonly remove: readonly CreateVolumePermission[];
}

/** Both styles of one request together: CreateVolumePermission.Add/Remove, and OperationType with UserId and UserGroup. */
function parseChange(input: ModifySnapshotAttributeRequest): Change {
  const add = (input.CreateVolumePermission?.Add ?? []).map(parsePermission);
  const remove = (input.CreateVolumePermission?.Remove ?? []).map(parsePermission);
  const old = [
    ...(input.UserIds ?? []).map((id) => parsePermission({ UserId: id })),
    ...(input.GroupNames ?? []).map((group) => parsePermission({ Group: group as ShownPermission["Group"] })),
  ];
  const way = oneOf(input.OperationType, ["add", "remove"], "operationType");
  // Packer 1.6 names each account in both styles and says OperationType in neither; EC2 then goes by the newer one.
  if (old.length > 0 && (way !== undefined || add.length + remove.length === 0)) {
    if (way === undefined) throw missingParameter("operationType");
    (way === "add" ? add : remove).push(...old);
  }
  if (add.length + remove.length === 0) throw missingParameter("createVolumePermission");
  if (add.length + remove.length > MOST_CHANGES) {
    throw new ApiError("InvalidParameterValue", `At most ${MOST_CHANGES} permissions can be changed with one request.`);
  }
  return { add, remove };
}

function parsePermission({ UserId: user, Group: group }: ShownPermission): CreateVolumePermission {
  if (group) {
    if (group === "all" && !user) return ANY_ACCOUNT;
    throw new ApiError("InvalidParameterValue", `Value (${group}) for parameter group is invalid.`);
  }
  if (user === undefined || !isAccountId(user)) {
    throw new ApiError("InvalidParameterValue", `Value (${user ?? ""}) for parameter userId is invalid.`);
  }
  return { kind: "user", value: user };
}

function changeKeys({ add, remove }: Change): ConditionKeys {
  const keys: OpenConditionKeys = { "ec2:Attribute": "CreateVolumePermission" };
  for (const [way, permissions] of [
    ["Add", add],
    ["Remove", remove],
  ] as const) {
    const users = permissions.flatMap(({ kind, value }) => (kind === "user" ? [value] : []));
    const groups = permissions.flatMap(({ kind, value }) => (kind === "group" ? [value] : []));
    if (users.length > 0) keys[`ec2:${way}/userId`] = users;
    if (groups.length > 0) keys[`ec2:${way}/group`] = groups;
  }
  return keys;
}

/** @throws ApiError `OperationNotPermitted` while the account blocks public access */
async function refuseBlockedSharing(ctx: RequestContext): Promise<void> {
  const state = await settingOf(ctx.database.read, ownerOf(ctx), "snapshot-block-public-access");
  if (state === undefined || state === "unblocked") return;
  throw new ApiError(
    "OperationNotPermitted",
    "You can't publicly share this snapshot because block public access for snapshots is enabled for this account in this Region.",
  );
}

// ModifyImageAttribute: one attribute per call. Launch permissions come in two styles, LaunchPermission.Add/Remove and the
// older OperationType with UserId and UserGroup; Packer sends both in one request, so what they say is put together.
import {
  ModifyImageAttribute$,
  type ModifyImageAttributeRequest,
  ResetImageAttribute$,
  type ResetImageAttributeRequest,
  type LaunchPermission as ShownPermission,
} from "@aws-sdk/client-ec2";
import { ApiError } from "../../../base/api-error.ts";
import { isAccountId } from "../../../base/ids.ts";
import type { ConditionKeys, OpenConditionKeys } from "../../../model/access.ts";
import { EVERYONE, type LaunchPermission, mustBeReady, parseDescription } from "../../../model/image.ts";
import { changePermissions, dropPermissions, updateImage } from "../../../model/image-rows.ts";
import { settingOf } from "../../../model/settings.ts";
import type { RequestContext } from "../../context.ts";
import { operation } from "../../operation.ts";
import { ownerOf } from "../owner.ts";
import { invalidValue, notSupported, oneOf } from "../parameters.ts";
import { resolveOwnImage } from "./own-image.ts";

type Change =
  | { readonly attribute: "Description"; readonly description: string | null }
  | { readonly attribute: "ImdsSupport" }
  | {
      readonly attribute: "LaunchPermission";
      readonly add: readonly LaunchPermission[];
      readonly remove: readonly LaunchPermission[];
    };

export const modifyImageAttribute = operation({
  action: "ec2:ModifyImageAttribute",
  schema: ModifyImageAttribute$,
  access: "write",
  async resolve(ctx: RequestContext, input: ModifyImageAttributeRequest) {
    const change = parseChange(input);
    return { change, ...(await resolveOwnImage(ctx, "ec2:ModifyImageAttribute", input.ImageId, changeKeys(change))) };
  },
  async run(ctx, _input, { change, image }, grant): Promise<Record<string, never>> {
    switch (change.attribute) {
      case "Description":
        mustBeReady(image, ["available", "disabled"]);
        await ctx.database.transaction((tx) => updateImage(grant, tx, image.id, { description: change.description }));
        break;
      case "ImdsSupport":
        mustBeReady(image, ["available", "disabled"]);
        await ctx.database.transaction((tx) => updateImage(grant, tx, image.id, { imds_support: "v2.0" }));
        break;
      case "LaunchPermission":
        mustBeReady(image);
        if (change.add.some(({ kind }) => kind === "group")) await refuseBlockedSharing(ctx);
        await ctx.database.transaction((tx) => changePermissions(grant, tx, image.id, change));
        break;
    }
    return {};
  },
});

/** Makes the image private; no other attribute can be reset. */
export const resetImageAttribute = operation({
  action: "ec2:ResetImageAttribute",
  schema: ResetImageAttribute$,
  access: "write",
  async resolve(ctx: RequestContext, input: ResetImageAttributeRequest) {
    oneOf<"launchPermission">(input.Attribute, ["launchPermission"], "attribute");
    return resolveOwnImage(ctx, "ec2:ResetImageAttribute", input.ImageId, { "ec2:Attribute": "LaunchPermission" });
  },
  async run(ctx, _input, { image }, grant): Promise<Record<string, never>> {
    await ctx.database.transaction((tx) => dropPermissions(grant, tx, image.id));
    return {};
  },
});

function parseChange(input: ModifyImageAttributeRequest): Change {
  const changes: Change[] = [];
  const permissions = parsePermissions(input);
  if (permissions.add.length + permissions.remove.length > 0) {
    changes.push({ attribute: "LaunchPermission", ...permissions });
  }
  const named = input.Attribute?.toLowerCase();
  const description = input.Description?.Value ?? (named === "description" ? (input.Value ?? "") : undefined);
  if (description !== undefined) changes.push({ attribute: "Description", description: parseDescription(description) });
  const imds = input.ImdsSupport?.Value ?? (named === "imdssupport" ? (input.Value ?? "") : undefined);
  if (imds !== undefined) {
    if (imds !== "v2.0") throw invalidValue("imdsSupport", imds, "It can only be set to v2.0, and not be taken back.");
    changes.push({ attribute: "ImdsSupport" });
  }
  if ((input.ProductCodes ?? []).length > 0) throw notSupported("Product codes are");
  const [change, ...others] = changes;
  if (change === undefined) throw new ApiError("InvalidParameterCombination", "No attributes specified.");
  if (others.length > 0) {
    const names = changes.map(({ attribute }) => attribute.charAt(0).toLowerCase() + attribute.slice(1));
    throw new ApiError(
      "InvalidParameterCombination",
      `Fields for multiple attribute types specified: ${names.join(", ")}`,
    );
  }
  return change;
}

function parsePermissions(input: ModifyImageAttributeRequest) {
  const add = (input.LaunchPermission?.Add ?? []).map(parsePermission);
  const remove = (input.LaunchPermission?.Remove ?? []).map(parsePermission);
  const old = [
    ...(input.UserIds ?? []).map((id) => parsePermission({ UserId: id })),
    ...(input.UserGroups ?? []).map((group) => parsePermission({ Group: group as ShownPermission["Group"] })),
    ...(input.OrganizationArns ?? []).map((arn) => parsePermission({ OrganizationArn: arn })),
    ...(input.OrganizationalUnitArns ?? []).map((arn) => parsePermission({ OrganizationalUnitArn: arn })),
  ];
  const way = oneOf(input.OperationType, ["add", "remove"], "operationType");
  // Packer 1.6 names each account in both styles and says OperationType in neither; EC2 then goes by the newer one.
  if (old.length > 0 && (way !== undefined || add.length + remove.length === 0)) {
    if (way === undefined)
      throw new ApiError("MissingParameter", "The request must contain the parameter operationType");
    (way === "add" ? add : remove).push(...old);
  }
  return { add, remove };
}

const ORGANIZATION = /^arn:aws:organizations::\d{12}:organization\/o-[a-z0-9]{10,32}$/;
const UNIT = /^arn:aws:organizations::\d{12}:ou\/o-[a-z0-9]{10,32}\/ou-[0-9a-z]{4,32}-[0-9a-z]{8,32}$/;

/** @throws ApiError `InvalidAMIAttributeItemValue`, `InvalidParameterCombination` */
function parsePermission(permission: ShownPermission): LaunchPermission {
  const { UserId: user, Group: group, OrganizationArn: organization, OrganizationalUnitArn: unit } = permission;
  const said = [user, group, organization, unit].filter((value) => value !== undefined && value !== "");
  if (said.length !== 1) {
    throw new ApiError(
      "InvalidParameterCombination",
      "A launch permission names exactly one of UserId, Group, OrganizationArn and OrganizationalUnitArn.",
    );
  }
  if (user) {
    if (!isAccountId(user)) throw badItem(user, "userId");
    return { kind: "user", value: user };
  }
  if (group) {
    if (group !== "all") throw badItem(group, "group");
    return EVERYONE;
  }
  if (organization) {
    if (!ORGANIZATION.test(organization)) throw badItem(organization, "organizationArn");
    return { kind: "organization", value: organization };
  }
  if (!UNIT.test(unit ?? "")) throw badItem(unit ?? "", "organizationalUnitArn");
  return { kind: "organizational-unit", value: unit ?? "" };
}

const badItem = (value: string, item: string): ApiError =>
  new ApiError("InvalidAMIAttributeItemValue", `Invalid attribute item value "${value}" for ${item} item type.`);

/**
 * `ec2:Attribute`, and with whom an image is about to be shared: the keys that ModifySnapshotAttribute has in AWS. For images
 * AWS has none, so that no policy there can say "share only with this account"; here one can.
 */
function changeKeys(change: Change): ConditionKeys {
  if (change.attribute !== "LaunchPermission") return { "ec2:Attribute": change.attribute };
  const of = (permissions: readonly LaunchPermission[], kind: LaunchPermission["kind"]) =>
    permissions.filter((permission) => permission.kind === kind).map((permission) => permission.value);
  const keys: OpenConditionKeys = { "ec2:Attribute": "LaunchPermission" };
  for (const [way, permissions] of [
    ["Add", change.add],
    ["Remove", change.remove],
  ] as const) {
    const users = of(permissions, "user");
    const groups = of(permissions, "group");
    if (users.length > 0) keys[`ec2:${way}/userId`] = users;
    if (groups.length > 0) keys[`ec2:${way}/group`] = groups;
  }
  return keys;
}

/** @throws ApiError `OperationNotPermitted` while the account blocks public access */
async function refuseBlockedSharing(ctx: RequestContext): Promise<void> {
  const state = await settingOf(ctx.database.read, ownerOf(ctx), "image-block-public-access");
  if (state !== "block-new-sharing") return;
  throw new ApiError(
    "OperationNotPermitted",
    "You can't publicly share this image because block public access for AMIs is enabled for this account in this Region.",
  );
}

// EC2 actions whose request CloudTrail does not write by the general rules of ec2-shapes.ts.
import { type Json, type JsonObject, lowerFirst } from "./json.ts";
import { REMOVED } from "./secrets.ts";

/** Gets the request in the classic form and the SDK's typed input; gives what the record shows. */
type Amendment = (shaped: Readonly<Record<string, Json>>, input: object) => JsonObject;

/** A member of the typed input. Amendments run on inputs of their own action only. */
const member = (input: object, name: string): unknown => (input as Record<string, unknown>)[name];

const text = (input: object, name: string): string | undefined => {
  const value = member(input, name);
  return typeof value === "string" ? value : undefined;
};

const without = (shaped: Readonly<Record<string, Json>>, ...names: readonly string[]): Record<string, Json> =>
  Object.fromEntries(Object.entries(shaped).filter(([name]) => !names.includes(name)));

const defined = (members: Readonly<Record<string, Json | undefined>>): Record<string, Json> =>
  Object.fromEntries(Object.entries(members).filter((entry): entry is [string, Json] => entry[1] !== undefined));

type Permission = Readonly<Record<string, unknown>>;

/** `{items: [{userId} | {group} | {organizationArn} | …]}` from the SDK's PascalCase. */
function permissionItems(permissions: unknown): JsonObject | undefined {
  if (!Array.isArray(permissions) || permissions.length === 0) return undefined;
  const names = ["UserId", "Group", "OrganizationArn", "OrganizationalUnitArn"];
  return {
    items: (permissions as Permission[]).map((one) => {
      const item: Record<string, Json> = {};
      for (const name of names) {
        const value = one[name];
        if (typeof value === "string") item[lowerFirst(name)] = value;
      }
      return item;
    }),
  };
}

/** The permission change of ModifyImageAttribute and ModifySnapshotAttribute, in whichever of the API's two forms it came. */
function permissionChange(input: object, structure: string): JsonObject {
  const change = (member(input, structure) ?? {}) as { readonly Add?: unknown; readonly Remove?: unknown };
  const flat = [
    ...each(input, "UserIds", "UserId"),
    ...each(input, "UserGroups", "Group"),
    ...each(input, "GroupNames", "Group"),
    ...each(input, "OrganizationArns", "OrganizationArn"),
    ...each(input, "OrganizationalUnitArns", "OrganizationalUnitArn"),
  ];
  const isRemoval = text(input, "OperationType") === "remove";
  return defined({
    add: permissionItems(change.Add) ?? (isRemoval ? undefined : permissionItems(flat)),
    remove: permissionItems(change.Remove) ?? (isRemoval ? permissionItems(flat) : undefined),
  });
}

function each(input: object, list: string, name: string): Permission[] {
  const values = member(input, list);
  return Array.isArray(values) ? values.map((value) => ({ [name]: value })) : [];
}

const SNAPSHOT_PERMISSION = { attributeType: "CREATE_VOLUME_PERMISSION" };

/** `Attribute` is `attributeType` in records about images. */
const imageAttribute: Amendment = (shaped, input) =>
  defined({ imageId: shaped.imageId, attributeType: text(input, "Attribute") });
const snapshotAttribute: Amendment = (shaped, input) => ({
  ...defined({ snapshotId: shaped.snapshotId }),
  ...(text(input, "Attribute") === "productCodes" ? { attributeType: "PRODUCT_CODES" } : SNAPSHOT_PERMISSION),
});

/** A rule without one of its four kinds of peers shows it as an empty set. */
function withEmptyPeers(shaped: Readonly<Record<string, Json>>): JsonObject {
  const permissions = shaped.ipPermissions as { readonly items?: readonly JsonObject[] } | undefined;
  if (permissions?.items === undefined) return shaped;
  const empty = { groups: {}, ipRanges: {}, ipv6Ranges: {}, prefixListIds: {} };
  return { ...shaped, ipPermissions: { items: permissions.items.map((item) => ({ ...empty, ...item })) } };
}

export const AMENDMENTS: Readonly<Record<string, Amendment>> = {
  AuthorizeSecurityGroupEgress: withEmptyPeers,
  AuthorizeSecurityGroupIngress: withEmptyPeers,
  RevokeSecurityGroupEgress: withEmptyPeers,
  RevokeSecurityGroupIngress: withEmptyPeers,

  CreateVolume: (shaped) =>
    defined({
      ...without(shaped, "availabilityZone"),
      size: shaped.size === undefined ? undefined : String(shaped.size),
      zone: shaped.availabilityZone,
    }),

  DeregisterImage: (shaped) => ({ deleteAssociatedSnapshots: false, ...shaped }),

  DescribeImageAttribute: imageAttribute,
  ResetImageAttribute: imageAttribute,
  ModifyImageAttribute: (shaped, input) => {
    const imageId = defined({ imageId: shaped.imageId });
    const attribute = text(input, "Attribute");
    const launchPermission = permissionChange(input, "LaunchPermission");
    if (attribute === "launchPermission" || Object.keys(launchPermission).length > 0) {
      return { ...imageId, attributeType: "launchPermission", launchPermission };
    }
    const names = ["Description", "ImdsSupport"];
    for (const name of names) {
      const given = member(input, name) as { readonly Value?: string } | undefined;
      const attributeType = lowerFirst(name);
      const value = given?.Value ?? (attribute === attributeType ? text(input, "Value") : undefined);
      if (value !== undefined) return { ...imageId, attributeType, [attributeType]: value };
    }
    return defined({ ...without(shaped, "attribute"), attributeType: attribute });
  },

  DescribeSnapshotAttribute: snapshotAttribute,
  ResetSnapshotAttribute: snapshotAttribute,
  ModifySnapshotAttribute: (shaped, input) => ({
    ...defined({ snapshotId: shaped.snapshotId }),
    ...SNAPSHOT_PERMISSION,
    createVolumePermission: permissionChange(input, "CreateVolumePermission"),
  }),

  ImportKeyPair: (shaped, input) => {
    const material = member(input, "PublicKeyMaterial");
    // A public key is no secret, and who imported which one is what a reader wants to know.
    return material instanceof Uint8Array
      ? { ...shaped, publicKeyMaterial: Buffer.from(material).toString("base64") }
      : shaped;
  },

  ModifyInstanceAttribute: (shaped) => (shaped.userData === undefined ? shaped : { ...shaped, userData: REMOVED }),

  RunInstances: (shaped) => {
    const placement = (shaped.placement ?? {}) as JsonObject;
    return {
      instancesSet: {
        items: [
          defined({
            imageId: shaped.imageId,
            minCount: shaped.minCount,
            maxCount: shaped.maxCount,
            keyName: shaped.keyName,
          }),
        ],
      },
      blockDeviceMapping: {},
      monitoring: { enabled: false },
      disableApiTermination: false,
      disableApiStop: false,
      ...without(shaped, "imageId", "minCount", "maxCount", "keyName", "placement"),
      ...placement,
    };
  },

  StopInstances: (shaped) => ({ force: false, ...shaped }),
};

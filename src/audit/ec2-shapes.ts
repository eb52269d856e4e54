// EC2's requests and answers as CloudTrail writes them. Real records: stratus-red-team's, and those in AWS's documentation.
//
// Classic: names as in EC2's old SOAP interface. A list is `{"items": […]}` (empty: `{}`), a list of texts has objects
// around them (`instancesSet.items[].instanceId`), times are epoch milliseconds, `return` is `_return`.
// Wrapped: actions that came later are EC2's XML turned into JSON: `{"EnableImageDeprecationRequest": {"ImageId": …}}`, each
// list element carries `tag`, its number, and a list of one element is that element.
import { NormalizedSchema } from "@smithy/core/schema";
import { kindOf, membersOf, type ShapeKind } from "../protocol/schema.ts";
import { AMENDMENTS } from "./ec2-amendments.ts";
import { type AuditedOperation, type Json, type JsonObject, lowerFirst } from "./json.ts";
import { isSecret, REMOVED } from "./secrets.ts";

/** Request lists whose name in CloudTrail is not `<wire name>Set` with items named like the wire: [name, key of an item]. */
const LISTS: Readonly<Record<string, readonly [set: string, item: string]>> = {
  AttributeNames: ["accountAttributeNameSet", "attributeName"],
  BlockDeviceMappings: ["blockDeviceMapping", "item"],
  ExecutableUsers: ["executableBySet", "user"],
  Filters: ["filterSet", "item"],
  GroupIds: ["securityGroupIdSet", "groupId"],
  GroupNames: ["securityGroupSet", "groupName"],
  Groups: ["groupSet", "groupId"],
  ImageIds: ["imagesSet", "imageId"],
  InstanceIds: ["instancesSet", "instanceId"],
  IpPermissions: ["ipPermissions", "item"],
  IpRanges: ["ipRanges", "item"],
  Ipv6Ranges: ["ipv6Ranges", "item"],
  KeyNames: ["keySet", "keyName"],
  KeyPairIds: ["keyPairIdsSet", "keyPairId"],
  NetworkInterfaces: ["networkInterfaceSet", "item"],
  OwnerIds: ["ownersSet", "owner"],
  Owners: ["ownersSet", "owner"],
  PrefixListIds: ["prefixListIds", "item"],
  RegionNames: ["regionSet", "regionName"],
  Resources: ["resourcesSet", "resourceId"],
  RestorableByUserIds: ["sharedUsersSet", "user"],
  SecurityGroupIds: ["groupSet", "groupId"],
  SecurityGroups: ["groupSet", "groupName"],
  SnapshotIds: ["snapshotSet", "snapshotId"],
  SubnetIds: ["subnetSet", "subnetId"],
  TagSpecifications: ["tagSpecificationSet", "item"],
  Tags: ["tagSet", "item"],
  UserIdGroupPairs: ["groups", "item"],
  Values: ["valueSet", "value"],
  VolumeIds: ["volumeSet", "volumeId"],
  VpcIds: ["vpcSet", "vpcId"],
  ZoneIds: ["availabilityZoneIdSet", "zoneId"],
  ZoneNames: ["availabilityZoneSet", "zoneName"],
};

/** Actions that CloudTrail writes in the wrapped form. */
const WRAPPED = new RegExp(
  [
    "LaunchTemplate",
    "^Describe(InstanceTypes|InstanceTypeOfferings|SecurityGroupRules|InstanceImageMetadata)$",
    "^CreateFleet$|^CreateSnapshots$|^CreateReplaceRootVolumeTask$",
    "EbsEncryptionByDefault|EbsDefaultKmsKeyId|SerialConsoleAccess|InstanceMetadata(Defaults|Options)",
    "(Image|Snapshot)BlockPublicAccess|ImageDeprecation|ImageDeregistrationProtection|AllowedImagesSettings",
    "^(Enable|Disable)Image$|StoreImageTask|RestoreImageTask|FastLaunch|FastSnapshotRestores",
    "LockSnapshot|UnlockSnapshot|LockedSnapshots|SnapshotTier|RecycleBin|ImageUsageReport|ImageWatermark|ImageAncestry",
  ].join("|"),
);

/** In place of an item's key: a list that is just a list. Tags of a TagSpecification are the one such. */
const PLAIN = "[]";

type Shaper = (value: unknown) => Json | undefined;
type Style = "request" | "response" | "wrapped";

/** One compiled shaper per style and schema. */
const compiled: Readonly<Record<Style, WeakMap<object, Shaper>>> = {
  request: new WeakMap(),
  response: new WeakMap(),
  wrapped: new WeakMap(),
};

/** `requestParameters` of an EC2 call. */
export function ec2Request(operation: AuditedOperation, input: object): JsonObject {
  const schema = NormalizedSchema.of(operation.input);
  if (WRAPPED.test(operation.name)) {
    const shaped = shape("wrapped", schema, input);
    return { [`${operation.name}Request`]: Object.keys(shaped).length === 0 ? "" : shaped };
  }
  const shaped: Record<string, Json> = { ...shape("request", schema, input) };
  if (operation.name.startsWith("Describe")) {
    for (const member of membersOf(schema)) {
      const named = LISTS[member.name];
      if (named !== undefined && shaped[named[0]] === undefined) shaped[named[0]] = {};
    }
  }
  return AMENDMENTS[operation.name]?.(shaped, input) ?? shaped;
}

/** `responseElements` of an EC2 call that changed something. */
export function ec2Response(operation: AuditedOperation, output: object, requestId: string): JsonObject {
  const schema = NormalizedSchema.of(operation.output);
  if (WRAPPED.test(operation.name)) {
    return {
      [`${operation.name}Response`]: {
        xmlns: "http://ec2.amazonaws.com/doc/2016-11-15/",
        requestId,
        ...shape("wrapped", schema, output),
      },
    };
  }
  // An action that answers nothing says `<return>true</return>` on the wire.
  const nothing = schema.isUnitSchema() || membersOf(schema).length === 0;
  return { requestId, ...(nothing ? { _return: true } : shape("response", schema, output)) };
}

function shape(style: Style, schema: NormalizedSchema, value: object): JsonObject {
  if (schema.isUnitSchema()) return {};
  return (shaperOf(style, schema)(value) ?? {}) as JsonObject;
}

function shaperOf(style: Style, schema: NormalizedSchema): Shaper {
  const raw = schema.getSchema();
  const key = typeof raw === "object" ? raw : undefined;
  const known = key && compiled[style].get(key);
  if (known !== undefined) return known;
  let made: Shaper | undefined;
  // Shapes can contain themselves: the entry must be there before its members are compiled.
  const shaper: Shaper = (value) => (value === undefined || value === null ? undefined : made?.(value));
  if (key !== undefined) compiled[style].set(key, shaper);
  made = compile(style, schema, kindOf(schema));
  return shaper;
}

function compile(style: Style, schema: NormalizedSchema, kind: ShapeKind): Shaper {
  switch (kind) {
    case "struct":
      return struct(style, schema);
    case "list": {
      const item = shaperOf(style, schema.getValueSchema());
      return (value) => ({ items: (value as readonly unknown[]).map((one) => item(one) ?? null) });
    }
    case "map":
      return (value) => value as JsonObject;
    case "timestamp":
      return (value) => {
        if (!(value instanceof Date)) return String(value);
        return style === "wrapped" ? value.toISOString() : value.getTime();
      };
    case "blob":
      return () => REMOVED;
    case "string":
    case "number":
    case "boolean":
      return (value) => value as string | number | boolean;
  }
}

function struct(style: Style, schema: NormalizedSchema): Shaper {
  const members = membersOf(schema)
    // A dry run shows in the record's error code.
    .filter((member) => member.name !== "DryRun")
    .map((member) => {
      const wire = member.traits.xmlName ?? member.name;
      const list = member.schema.isListSchema();
      const [as, item] =
        style === "request" && schema.getName() === "TagSpecification" && list
          ? ["tags", PLAIN]
          : style === "wrapped"
            ? [wire, ""]
            : list
              ? listNames(style, member.name, wire)
              : [lowerFirst(wire), ""];
      const secret = isSecret(member.name, member.schema);
      const inner = secret ? undefined : shaperOf(style, list ? member.schema.getValueSchema() : member.schema);
      const make = inner === undefined ? () => REMOVED : list ? listShaper(style, inner, item) : inner;
      return { name: member.name, as: as === "return" ? "_return" : as, make };
    });
  return (value) => {
    const from = value as Record<string, unknown>;
    const to: Record<string, Json> = {};
    for (const member of members) {
      const shaped = from[member.name] === undefined ? undefined : member.make(from[member.name]);
      if (shaped !== undefined) to[member.as] = shaped;
    }
    return to;
  };
}

function listNames(style: Style, name: string, wire: string): readonly [string, string] {
  if (style === "response") return [lowerFirst(wire), "item"];
  return LISTS[name] ?? [`${lowerFirst(wire)}Set`, lowerFirst(wire)];
}

function listShaper(style: Style, inner: Shaper, itemKey: string): Shaper {
  if (itemKey === PLAIN) return (value) => (value as readonly unknown[]).map((one) => inner(one) ?? null);
  if (style === "wrapped") {
    return (value) => {
      const items = (value as readonly unknown[]).map((one, index) => {
        const shaped = inner(one) ?? "";
        return isObject(shaped) ? { ...shaped, tag: index + 1 } : { tag: index + 1, content: shaped };
      });
      return items.length === 1 ? items[0] : items;
    };
  }
  return (value) => {
    const items = (value as readonly unknown[]).map((one) => {
      const shaped = inner(one) ?? null;
      return isObject(shaped) ? shaped : { [itemKey]: shaped };
    });
    return items.length === 0 ? {} : { items };
  };
}

const isObject = (value: Json): value is JsonObject =>
  value !== null && typeof value === "object" && !Array.isArray(value);

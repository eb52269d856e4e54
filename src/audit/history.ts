// An image's life, told from its events: who made it of what, who changed, shared, launched, copied, stored, disabled it.
import type { Json, JsonObject } from "./json.ts";
import type { FoundEvent } from "./lookup.ts";

export interface HistoryEntry {
  readonly at: Date;
  /** Of the last of several equal ones; `at` is the first's. */
  readonly until?: Date;
  readonly times: number;
  readonly eventId: string;
  readonly eventName: string;
  readonly region: string;
  /** `alice`, `builder/i-0123`, `root`. */
  readonly who: string;
  /** The caller's account; empty when nobody was proven. */
  readonly accountId: string;
  readonly sourceIp: string;
  /** What was done, as the end of a sentence that begins with who: `shared it with 222222222222`. */
  readonly did: string;
  /** Absent: it succeeded. */
  readonly errorCode?: string;
}

/** Reads that move an image's content; other reads are no part of its life. */
const CONTENT_READS = new Set(["ListSnapshotBlocks", "ListChangedBlocks", "GetSnapshotBlock"]);

/** Whether an event is told. Blocks that are written one by one are not: the snapshot's beginning and end are. */
export const isTold = (event: Pick<FoundEvent, "readOnly" | "eventName">): boolean =>
  event.readOnly ? CONTENT_READS.has(event.eventName) : event.eventName !== "PutSnapshotBlock";

/**
 * Entries in the order of time. What one caller did again and again (a snapshot's blocks, read one by one) is one entry.
 * @param events  any order; those that are no part of a life are left out
 */
export function historyOf(imageId: string, events: readonly FoundEvent[]): HistoryEntry[] {
  const entries: HistoryEntry[] = [];
  const ordered = events.filter(isTold).sort((a, b) => a.atMs - b.atMs || a.sequence - b.sequence);
  for (const event of ordered) {
    const entry = entryOf(imageId, event);
    const before = entries.at(-1);
    if (before !== undefined && CONTENT_READS.has(event.eventName) && isSame(before, entry)) {
      entries[entries.length - 1] = { ...before, until: entry.at, times: before.times + 1 };
    } else entries.push(entry);
  }
  return entries;
}

const isSame = (a: HistoryEntry, b: HistoryEntry): boolean =>
  a.eventName === b.eventName &&
  a.who === b.who &&
  a.accountId === b.accountId &&
  a.did === b.did &&
  a.errorCode === b.errorCode;

function entryOf(imageId: string, event: FoundEvent): HistoryEntry {
  const record = new Part(JSON.parse(event.body) as Json);
  const errorCode = record.text("errorCode");
  return {
    at: new Date(event.atMs),
    times: 1,
    eventId: event.eventId,
    eventName: event.eventName,
    region: event.region,
    who: whoOf(record.in("userIdentity")),
    accountId: record.in("userIdentity").text("accountId") ?? "",
    sourceIp: record.text("sourceIPAddress") ?? "",
    did: did(imageId, event.eventName, record),
    ...(errorCode === undefined ? {} : { errorCode }),
  };
}

function whoOf(identity: Part): string {
  const arn = identity.text("arn") ?? "";
  switch (identity.text("type")) {
    case "IAMUser":
      return identity.text("userName") ?? arn;
    case "Root":
      return "root";
    case "Unknown":
      return `somebody with the key ${identity.text("accessKeyId") ?? "of nobody"}`;
    default:
      // `…:assumed-role/builder/i-0123` is the session i-0123 of the role builder; `…:user/ops/bob` is bob.
      if (arn.includes(":user/")) return arn.slice(arn.lastIndexOf("/") + 1);
      return /:(?:assumed-role|federated-user)\/(.+)$/.exec(arn)?.[1] ?? (arn.endsWith(":root") ? "root" : arn);
  }
}

/** A record's JSON, read without trust in its shape. */
class Part {
  readonly #value: Json | undefined;
  constructor(value: Json | undefined) {
    this.#value = value;
  }
  in(...path: readonly string[]): Part {
    let value = this.#value;
    for (const name of path) {
      if (value === null || typeof value !== "object" || Array.isArray(value)) return new Part(undefined);
      value = Object.hasOwn(value, name) ? (value as JsonObject)[name] : undefined;
    }
    return new Part(value);
  }
  isThere(): boolean {
    return this.#value !== undefined && this.#value !== null;
  }
  text(...path: readonly string[]): string | undefined {
    const value = this.in(...path).#value;
    return value === undefined || value === null || typeof value === "object" ? undefined : String(value);
  }
  list(...path: readonly string[]): Part[] {
    const value = this.in(...path).#value;
    return Array.isArray(value) ? (value as readonly Json[]).map((one) => new Part(one)) : [];
  }
  /** Of every text in it, those that match. */
  texts(pattern: RegExp): string[] {
    const found = new Set<string>();
    const walk = (value: Json | undefined): void => {
      if (typeof value === "string") {
        if (pattern.test(value)) found.add(value);
      } else if (value !== null && typeof value === "object") for (const one of Object.values(value)) walk(one);
    };
    walk(this.#value);
    return [...found];
  }
}

const SNAPSHOT = /^snap-[0-9a-f]+$/;
const INSTANCE = /^i-[0-9a-f]+$/;

function did(imageId: string, eventName: string, record: Part): string {
  const given = record.in("requestParameters");
  // EC2's newer actions have all of it in one member, with the names of the API.
  const wrapped = given.in(`${eventName}Request`);
  const asked = wrapped.isThere() ? wrapped : given;
  const answered = record.in("responseElements");
  switch (eventName) {
    case "CreateImage":
      return `made it of the instance ${asked.text("instanceId") ?? "?"}${named(asked)}`;
    case "RegisterImage": {
      const snapshots = asked.texts(SNAPSHOT);
      return `registered it${snapshots.length === 0 ? "" : ` on ${snapshots.join(", ")}`}${named(asked)}`;
    }
    case "CopyImage": {
      const source = asked.text("sourceImageId");
      if (source !== imageId)
        return `copied it from ${source ?? "?"} in ${asked.text("sourceRegion") ?? "?"}${named(asked)}`;
      const copy = answered.text("imageId");
      return copy === undefined ? "copied it" : `copied it to ${copy}`;
    }
    case "RunInstances": {
      const made = answered.texts(INSTANCE);
      if (made.length === 0) return "launched it";
      const shown = made.length > 5 ? [...made.slice(0, 5), "…"] : made;
      return `launched ${made.length === 1 ? "an instance" : `${made.length} instances`} of it: ${shown.join(", ")}`;
    }
    case "ModifyImageAttribute":
      return sharing(asked.in("launchPermission"), "it") ?? changedAttribute(asked);
    case "ResetImageAttribute":
      return "withdrew all its launch permissions";
    case "CancelImageLaunchPermission":
      return "gave up their permission to launch it";
    case "ModifySnapshotAttribute": {
      const snapshot = `its snapshot ${asked.text("snapshotId") ?? "?"}`;
      return sharing(asked.in("createVolumePermission"), snapshot) ?? `changed ${snapshot}`;
    }
    case "DeregisterImage":
      return "deregistered it";
    case "EnableImage":
      return "enabled it";
    case "DisableImage":
      return "disabled it";
    case "EnableImageDeprecation":
      return `had it deprecated from ${when(asked)} on`;
    case "DisableImageDeprecation":
      return "took its deprecation back";
    case "EnableImageDeregistrationProtection":
      return "protected it from being deregistered";
    case "DisableImageDeregistrationProtection":
      return "ended its protection from being deregistered";
    case "CreateTags":
    case "DeleteTags": {
      const tags = asked.list("tagSet", "items").map((tag) => {
        const value = tag.text("value");
        return `${tag.text("key") ?? "?"}${value === undefined ? "" : `=${value}`}`;
      });
      const of = asked.texts(/^ami-/).includes(imageId) ? "it" : "a snapshot of it";
      return eventName === "CreateTags" ? `tagged ${of}: ${tags.join(", ")}` : `untagged ${of}: ${tags.join(", ")}`;
    }
    case "CreateStoreImageTask":
      return `stored it in the bucket ${asked.text("Bucket") ?? asked.text("bucket") ?? "?"}`;
    case "CreateRestoreImageTask":
      return `restored it from ${asked.text("ObjectKey") ?? "?"} in the bucket ${asked.text("Bucket") ?? "?"}`;
    case "ExportImage":
      return `exported it to the bucket ${asked.text("s3ExportLocation", "s3Bucket") ?? "?"}`;
    case "RestoreImageFromRecycleBin":
      return "restored it from the recycle bin";
    case "CopySnapshot":
      return `copied its snapshot ${asked.text("sourceSnapshotId") ?? "?"}`;
    case "CreateVolume":
      return `made the volume ${answered.text("volumeId") ?? "?"} of its snapshot ${asked.text("snapshotId") ?? "?"}`;
    case "StartSnapshot":
      return `began its snapshot ${answered.text("snapshotId") ?? "?"}`;
    case "CompleteSnapshot":
      return `finished its snapshot ${asked.text("snapshotId") ?? "?"}`;
    case "DeleteSnapshot":
      return `deleted its snapshot ${asked.text("snapshotId") ?? "?"}`;
    case "ListSnapshotBlocks":
    case "ListChangedBlocks":
    case "GetSnapshotBlock":
      return `read ${eventName === "GetSnapshotBlock" ? "blocks" : "the list of blocks"} of ${record.texts(SNAPSHOT)[0] ?? "a snapshot of it"}`;
    default:
      return `called ${eventName}`;
  }
}

const named = (asked: Part): string => {
  const name = asked.text("name");
  return name === undefined ? "" : `, named ${name}`;
};

function when(asked: Part): string {
  const given = asked.text("DeprecateAt") ?? asked.text("deprecateAt");
  const at = given === undefined ? undefined : new Date(/^\d+$/.test(given) ? Number(given) : given);
  if (at === undefined || Number.isNaN(at.getTime())) return given ?? "then";
  return `${at.toISOString().slice(0, 16)}Z`;
}

/** Null when it is about something else. */
function sharing(permission: Part, what: string): string | null {
  const parties = (side: "add" | "remove") =>
    permission
      .list(side, "items")
      .map((one) => one.text("userId") ?? one.text("group") ?? one.text("organizationArn") ?? "?");
  const [added, removed] = [parties("add"), parties("remove")];
  const parts = [
    ...(added.includes("all") ? [`made ${what} public`] : []),
    ...(added.some((one) => one !== "all")
      ? [`shared ${what} with ${added.filter((one) => one !== "all").join(", ")}`]
      : []),
    ...(removed.includes("all") ? [`made ${what} private`] : []),
    ...(removed.some((one) => one !== "all")
      ? [`stopped sharing ${what} with ${removed.filter((one) => one !== "all").join(", ")}`]
      : []),
  ];
  return parts.length === 0 ? null : parts.join(", ");
}

function changedAttribute(asked: Part): string {
  const description = asked.text("description", "value") ?? asked.text("description");
  if (description !== undefined) return `described it: ${description}`;
  const attribute = asked.text("attributeType") ?? asked.text("attribute");
  return `changed its ${attribute ?? "attributes"}`;
}

// What of the audit trail goes beyond CloudTrail: events by several attributes at once and however old, an image's life,
// and the proof that the event table is as it was written.
import { historyOf, isTold } from "../../audit/history.ts";
import type { EventPosition, FoundEvent } from "../../audit/lookup.ts";
import { ApiError } from "../../base/api-error.ts";
import { parseId } from "../../base/ids.ts";
import { imageArn } from "../../model/arn.ts";
import { findImage } from "../../model/image-rows.ts";
import type { RequestContext } from "../context.ts";
import { onAnything, operation } from "../operation.ts";
import { operatorCheck } from "./operator.ts";
import {
  DeliverTrails$,
  type DeliverTrailsRequest$,
  type DeliverTrailsResponse$,
  FindEvents$,
  type FindEventsRequest$,
  type FindEventsResponse$,
  type FoundEvent$,
  GetImageHistory$,
  type GetImageHistoryRequest$,
  type GetImageHistoryResponse$,
  VerifyEvents$,
  type VerifyEventsRequest$,
  type VerifyEventsResponse$,
} from "./schema.ts";
import type { Of } from "./shapes.ts";

const MOST_EVENTS = 1000;
const DEFAULT_EVENTS = 100;

const invalid = (sentence: string): ApiError => new ApiError("ValidationException", sentence);

/** Of the caller's account, newest first. All conditions must hold. */
export const findEvents = operation({
  action: "ingot:FindEvents",
  schema: FindEvents$.schema,
  access: "read",
  resolve: async (_ctx: RequestContext, _input: Of<typeof FindEventsRequest$>) => onAnything("ingot:FindEvents"),
  async run(ctx, input): Promise<Of<typeof FindEventsResponse$>> {
    const limit = input.MaxResults ?? DEFAULT_EVENTS;
    if (limit < 1 || limit > MOST_EVENTS) throw invalid(`MaxResults takes 1 to ${MOST_EVENTS}.`);
    const category = input.Category;
    if (category !== undefined && category !== "Management" && category !== "Data") {
      throw invalid("Category is Management or Data.");
    }
    const scope = {
      service: "ingot",
      action: "FindEvents",
      owner: [ctx.caller.accountId],
      parameters: input,
    } as const;
    const position = ctx.parts.pages.open(scope, input.NextToken);
    const { events, next } = await ctx.parts.audit.find({
      accountId: ctx.caller.accountId,
      limit,
      ...(input.Region === undefined ? {} : { region: input.Region }),
      ...(category === undefined ? {} : { category }),
      ...(input.EventId === undefined ? {} : { eventId: input.EventId }),
      ...(input.EventName === undefined ? {} : { eventName: input.EventName }),
      ...(input.EventSource === undefined ? {} : { eventSource: input.EventSource }),
      ...(input.ReadOnly === undefined ? {} : { readOnly: input.ReadOnly }),
      ...(input.UserName === undefined ? {} : { userName: input.UserName }),
      ...(input.AccessKeyId === undefined ? {} : { accessKeyId: input.AccessKeyId }),
      ...(input.ResourceType === undefined ? {} : { resourceType: input.ResourceType }),
      ...(input.ResourceName === undefined ? {} : { resourceName: input.ResourceName }),
      ...(input.StartTime === undefined ? {} : { from: input.StartTime }),
      ...(input.EndTime === undefined ? {} : { to: input.EndTime }),
      ...(position === undefined ? {} : { after: parsePosition(position) }),
    });
    return {
      Events: events.map(shown),
      ...(next === undefined ? {} : { NextToken: ctx.parts.pages.seal(scope, `${next.atMs}.${next.sequence}`) }),
    };
  },
});

/** Tokens are ours, proven by their MAC. */
function parsePosition(text: string): EventPosition {
  const [atMs, sequence] = text.split(".").map(Number);
  return { atMs: atMs ?? 0, sequence: sequence ?? 0 };
}

const shown = (event: FoundEvent): Of<typeof FoundEvent$> => ({
  EventId: event.eventId,
  EventName: event.eventName,
  EventSource: event.eventSource,
  EventTime: new Date(event.atMs),
  Region: event.region,
  ReadOnly: event.readOnly,
  ...(event.userName === null ? {} : { UserName: event.userName }),
  ...(event.accessKeyId === null ? {} : { AccessKeyId: event.accessKeyId }),
  Resources: event.resources.map(({ type, name, arn }) => ({ ResourceType: type, ResourceName: name, Arn: arn })),
  Record: event.body,
});

/** Pages of events that a history is made of. */
const PAGE = 200;
/** A life with more events than this is told from its newest ones. */
const MOST_LIFE = 5000;

/** An image's whole life as the caller's account has seen it; also of one that is gone. */
export const getImageHistory = operation({
  action: "ingot:GetImageHistory",
  schema: GetImageHistory$.schema,
  access: "read",
  async resolve(ctx: RequestContext, input: Of<typeof GetImageHistoryRequest$>) {
    const id = parseId("image", input.ImageId);
    const resource = imageArn(ctx.region, id);
    return { id, checks: [{ action: "ingot:GetImageHistory", resource, keys: {} }] };
  },
  async run(ctx, _input, { id }): Promise<Of<typeof GetImageHistoryResponse$>> {
    const image = await findImage(ctx.database.read, ctx.region, id);
    const own = image?.account_id === ctx.caller.accountId;
    const events = new Map<string, FoundEvent>();
    let truncated = await gather(ctx, id, events);
    // Of an own image, what happens to its snapshots is part of its life.
    if (own && image !== undefined) {
      for (const snapshot of snapshotsOf(image)) truncated = (await gather(ctx, snapshot, events)) || truncated;
    }
    if (events.size === 0 && !own) {
      throw new ApiError("ResourceNotFoundException", `The account has no events of an image ${id}.`);
    }
    return {
      ImageId: id,
      Truncated: truncated,
      Entries: historyOf(id, [...events.values()]).map((entry) => ({
        Time: entry.at,
        ...(entry.until === undefined ? {} : { Until: entry.until }),
        Times: entry.times,
        EventId: entry.eventId,
        EventName: entry.eventName,
        Region: entry.region,
        Who: entry.who,
        AccountId: entry.accountId,
        SourceIpAddress: entry.sourceIp,
        Did: entry.did,
        ...(entry.errorCode === undefined ? {} : { ErrorCode: entry.errorCode }),
      })),
    };
  },
});

/** @returns whether there are more than are taken */
async function gather(ctx: RequestContext, name: string, into: Map<string, FoundEvent>): Promise<boolean> {
  let after: EventPosition | undefined;
  let taken = 0;
  do {
    const { events, next } = await ctx.parts.audit.find({
      accountId: ctx.caller.accountId,
      resourceName: name,
      limit: PAGE,
      ...(after === undefined ? {} : { after }),
    });
    for (const event of events) {
      if (!isTold(event)) continue;
      into.set(event.eventId, event);
      taken++;
    }
    after = next;
  } while (after !== undefined && taken < MOST_LIFE);
  return after !== undefined;
}

function snapshotsOf(image: NonNullable<Awaited<ReturnType<typeof findImage>>>): string[] {
  return [...new Set(JSON.stringify(image.block_devices).match(/snap-[0-9a-f]{8,17}/g) ?? [])];
}

/** Reads the whole event table: ten seconds for a million events. */
export const verifyEvents = operation({
  action: "ingot:VerifyEvents",
  schema: VerifyEvents$.schema,
  access: "read",
  async resolve(ctx: RequestContext, _input: Of<typeof VerifyEventsRequest$>) {
    return { checks: [await operatorCheck(ctx, "ingot:VerifyEvents")] };
  },
  async run(ctx, input): Promise<Of<typeof VerifyEventsResponse$>> {
    const { Sequence: sequence, Hash: hash } = input;
    if ((sequence === undefined) !== (hash === undefined)) throw invalid("Sequence and Hash come together.");
    const known = sequence === undefined || hash === undefined ? undefined : { sequence, hash };
    const report = await ctx.parts.audit.verify(known);
    const trails = await ctx.parts.trails.missingDigests();
    return {
      Events: report.events,
      First: report.first,
      HeadSequence: report.head.sequence,
      HeadHash: report.head.hash,
      Damage: report.damage.map(({ sequence: at, what }) => ({ Sequence: at, What: what })),
      MissingDigests: trails.map(({ arn, bucket, key, what }) => ({
        TrailArn: arn,
        Bucket: bucket,
        Key: key,
        What: what,
      })),
    };
  },
});

/** Delivers what trails owe now, instead of at the next interval; buckets that refused lately are asked again. */
export const deliverTrails = operation({
  action: "ingot:DeliverTrails",
  schema: DeliverTrails$.schema,
  access: "write",
  async resolve(ctx: RequestContext, _input: Of<typeof DeliverTrailsRequest$>) {
    return { checks: [await operatorCheck(ctx, "ingot:DeliverTrails")] };
  },
  async run(ctx, input): Promise<Of<typeof DeliverTrailsResponse$>> {
    await ctx.parts.trails.run(input.Digests === true ? "now" : "due", { retry: true });
    return {};
  },
});

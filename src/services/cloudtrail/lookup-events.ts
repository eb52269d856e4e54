import {
  type Event,
  LookupEvents$,
  type LookupEventsRequest,
  type LookupEventsResponse,
} from "@aws-sdk/client-cloudtrail";
import type { EventFilter, EventPosition, FoundEvent } from "../../audit/lookup.ts";
import { ApiError } from "../../base/api-error.ts";
import { pageLimit } from "../../protocol/pages.ts";
import type { RequestContext } from "../context.ts";
import { onAnything, operation } from "../operation.ts";

/** LookupEvents sees this far back, however long events are kept. */
const DAYS = 90;
const DAY_MS = 24 * 60 * 60 * 1000;
const PAGE = { min: 1, max: 50 };
const MOST_VALUE_CHARS = 2000;

/**
 * Management events of the caller's account in this Region, newest first. The caller's own calls are in it as soon as they
 * have been answered (AWS takes some minutes). A page costs the same however many events there are.
 *
 * Gap, on purpose: AWS's limit of two calls a second.
 */
export const lookupEvents = operation({
  action: "cloudtrail:LookupEvents",
  schema: LookupEvents$,
  access: "read",
  resolve: async (_ctx: RequestContext, _input: LookupEventsRequest) => onAnything("cloudtrail:LookupEvents"),
  async run(ctx, input): Promise<LookupEventsResponse> {
    const limit = pageLimit("cloudtrail", "MaxResults", input.MaxResults, PAGE) ?? PAGE.max;
    const filter = filterOf(input);
    const range = rangeOf(input, ctx.now());
    const category = input.EventCategory?.toString();
    if (category !== undefined && category !== "insight") {
      throw new ApiError(
        "InvalidEventCategoryException",
        `Event category ${category} is not valid: it can be insight.`,
      );
    }
    const owner = [ctx.caller.accountId, ctx.region];
    const scope = { service: "cloudtrail", action: "LookupEvents", owner, parameters: input } as const;
    const position = ctx.parts.pages.open(scope, input.NextToken);
    // Insights are found by watching rates, which is not done here: there are none.
    if (category === "insight") return { Events: [] };
    const { events, next } = await ctx.parts.audit.find({
      ...filter,
      ...range,
      accountId: ctx.caller.accountId,
      region: ctx.region,
      category: "Management",
      limit,
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

/** @throws ApiError `InvalidLookupAttributesException` */
function filterOf({ LookupAttributes: attributes = [] }: LookupEventsRequest): EventFilter {
  const [attribute, ...more] = attributes;
  if (attribute === undefined) return {};
  if (more.length > 0) throw invalidAttributes("The list of lookup attributes can contain only one item.");
  const value = attribute.AttributeValue ?? "";
  if (value === "" || value.length > MOST_VALUE_CHARS) {
    throw invalidAttributes(`The value of a lookup attribute has 1 to ${MOST_VALUE_CHARS} characters.`);
  }
  switch (attribute.AttributeKey) {
    case "AccessKeyId":
      return { accessKeyId: value };
    case "EventId":
      return { eventId: value };
    case "EventName":
      return { eventName: value };
    case "EventSource":
      return { eventSource: value };
    case "ReadOnly":
      if (value !== "true" && value !== "false") throw invalidAttributes("ReadOnly is true or false.");
      return { readOnly: value === "true" };
    case "ResourceName":
      return { resourceName: value };
    case "ResourceType":
      return { resourceType: value };
    case "Username":
      return { userName: value };
    default:
      throw invalidAttributes(`${String(attribute.AttributeKey)} is not a lookup attribute.`);
  }
}

const invalidAttributes = (message: string): ApiError => new ApiError("InvalidLookupAttributesException", message);

/**
 * Both ends belong to the range. Events show their time in whole seconds, so an end means its whole second.
 * @throws ApiError `InvalidTimeRangeException`
 */
function rangeOf(input: LookupEventsRequest, now: Date): { readonly from: Date; readonly to?: Date } {
  const { StartTime: start, EndTime: end } = input;
  if (start !== undefined && end !== undefined && start > end) {
    throw new ApiError("InvalidTimeRangeException", "The start time is after the end time.");
  }
  const oldest = new Date(now.getTime() - DAYS * DAY_MS);
  return {
    from: start === undefined || start < oldest ? oldest : start,
    ...(end === undefined ? {} : { to: new Date(Math.floor(end.getTime() / 1000) * 1000 + 999) }),
  };
}

const shown = (event: FoundEvent): Event => ({
  EventId: event.eventId,
  EventName: event.eventName,
  ReadOnly: String(event.readOnly),
  ...(event.accessKeyId === null ? {} : { AccessKeyId: event.accessKeyId }),
  EventTime: new Date(Math.floor(event.atMs / 1000) * 1000),
  EventSource: event.eventSource,
  ...(event.userName === null ? {} : { Username: event.userName }),
  Resources: event.resources.map(({ type, name }) => ({ ResourceType: type, ResourceName: name })),
  CloudTrailEvent: event.body,
});

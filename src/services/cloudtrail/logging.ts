// StartLogging, StopLogging, GetTrailStatus.
import {
  GetTrailStatus$,
  type GetTrailStatusRequest,
  type GetTrailStatusResponse,
  StartLogging$,
  type StartLoggingRequest,
  StopLogging$,
  type StopLoggingRequest,
} from "@aws-sdk/client-cloudtrail";
import { awsTime } from "../../audit/times.ts";
import { startTrail, stopTrail } from "../../audit/trails.ts";
import type { RequestContext } from "../context.ts";
import { operation } from "../operation.ts";
import { mustFindTrail, mustFindTrailAtHome } from "./named-trail.ts";

/** From now on the trail's events are delivered, this call the first of them. */
export const startLogging = operation({
  action: "cloudtrail:StartLogging",
  schema: StartLogging$,
  access: "write",
  resolve: (ctx: RequestContext, input: StartLoggingRequest) =>
    mustFindTrailAtHome(ctx, "cloudtrail:StartLogging", input.Name),
  async run(ctx, _input, { trail }, grant): Promise<Record<string, never>> {
    if (trail.logging) return {};
    // What it was to deliver when it logged before.
    await ctx.parts.trails.settle(trail.id);
    await ctx.database.transaction((tx) => startTrail(grant, tx, trail.id, ctx.now()));
    return {};
  },
});

/** The last event that the trail delivers is this call. */
export const stopLogging = operation({
  action: "cloudtrail:StopLogging",
  schema: StopLogging$,
  access: "write",
  resolve: (ctx: RequestContext, input: StopLoggingRequest) =>
    mustFindTrailAtHome(ctx, "cloudtrail:StopLogging", input.Name),
  async run(ctx, _input, { trail }, grant): Promise<Record<string, never>> {
    await ctx.database.transaction((tx) => stopTrail(grant, tx, trail.id, ctx.now()));
    return {};
  },
});

export const getTrailStatus = operation({
  action: "cloudtrail:GetTrailStatus",
  schema: GetTrailStatus$,
  access: "read",
  resolve: (ctx: RequestContext, input: GetTrailStatusRequest) =>
    mustFindTrail(ctx, "cloudtrail:GetTrailStatus", input.Name),
  async run(_ctx, _input, { trail }): Promise<GetTrailStatusResponse> {
    const text = (time: Date | null): string => (time === null ? "" : awsTime(time));
    return {
      IsLogging: trail.logging,
      ...(trail.deliveryError === null ? {} : { LatestDeliveryError: trail.deliveryError }),
      ...(trail.deliveredAt === null ? {} : { LatestDeliveryTime: trail.deliveredAt }),
      ...(trail.startedAt === null ? {} : { StartLoggingTime: trail.startedAt }),
      ...(trail.stoppedAt === null ? {} : { StopLoggingTime: trail.stoppedAt }),
      ...(trail.digestDeliveredAt === null ? {} : { LatestDigestDeliveryTime: trail.digestDeliveredAt }),
      ...(trail.digestError === null ? {} : { LatestDigestDeliveryError: trail.digestError }),
      LatestDeliveryAttemptTime: text(trail.attemptedAt),
      LatestNotificationAttemptTime: "",
      LatestNotificationAttemptSucceeded: "",
      LatestDeliveryAttemptSucceeded: text(trail.deliveredAt),
      TimeLoggingStarted: text(trail.startedAt),
      TimeLoggingStopped: text(trail.stoppedAt),
    };
  },
});

// Trails as the API shows them.
import type { Trail as ShownTrail, Tag } from "@aws-sdk/client-cloudtrail";
import { DEFAULT_SELECTORS } from "../../audit/event-selectors.ts";
import type { Tags, Trail } from "../../audit/trails.ts";

/** What CreateTrail and UpdateTrail answer with. */
export const trailSettings = (trail: Trail) => ({
  Name: trail.name,
  S3BucketName: trail.bucket,
  ...(trail.prefix === null ? {} : { S3KeyPrefix: trail.prefix }),
  IncludeGlobalServiceEvents: trail.globalEvents,
  IsMultiRegionTrail: trail.multiRegion,
  TrailARN: trail.arn,
  LogFileValidationEnabled: trail.validation,
  IsOrganizationTrail: false,
});

export const shownTrail = (trail: Trail): ShownTrail => ({
  ...trailSettings(trail),
  HomeRegion: trail.homeRegion,
  HasCustomEventSelectors: JSON.stringify(trail.selectors) !== JSON.stringify(DEFAULT_SELECTORS),
  HasInsightSelectors: false,
});

export const shownTags = (tags: Tags): Tag[] =>
  Object.entries(tags)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([Key, Value]) => ({ Key, Value }));

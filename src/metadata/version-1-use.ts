// Who still asks the metadata service without a session token: told once an hour for each instance, with how often it was.
// AWS counts the same in CloudWatch (MetadataNoToken); here it is an event, so that there is a finding.
import type { Clock } from "../base/clock.ts";
import type { InstanceMetadata } from "./instance-metadata.ts";

const EVERY_MS = 60 * 60 * 1000;
/** Instances that are gone are forgotten when there are more than this. */
const MOST_KEPT = 4096;

export interface Version1Use {
  /** Answered requests since the last report of this instance, this one included. */
  readonly requests: number;
  /** What this request asked for: `/latest/meta-data/`. */
  readonly path: string;
}

/** @param report  must not throw */
export function version1Use(
  clock: Clock,
  report: (instance: InstanceMetadata, use: Version1Use) => void,
): (instance: InstanceMetadata, path: string) => void {
  const seen = new Map<string, { reportedAt: number; since: number }>();
  return (instance, path) => {
    const now = clock.now().getTime();
    const before = seen.get(instance.instanceId);
    if (before !== undefined && now - before.reportedAt < EVERY_MS) {
      before.since++;
      return;
    }
    if (seen.size >= MOST_KEPT) {
      for (const [id, { reportedAt }] of seen) if (now - reportedAt >= EVERY_MS) seen.delete(id);
    }
    seen.set(instance.instanceId, { reportedAt: now, since: 0 });
    report(instance, { requests: (before?.since ?? 0) + 1, path });
  };
}

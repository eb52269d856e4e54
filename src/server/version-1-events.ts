// An instance that still uses version 1 of the metadata service, as an event in its account's audit trail.
import { randomUUID } from "node:crypto";
import type { AuditTrail } from "../audit/trail.ts";
import type { Clock } from "../base/clock.ts";
import { chain } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import type { InstanceMetadata } from "../metadata/instance-metadata.ts";
import { version1Use } from "../metadata/version-1-use.ts";

/** Rules look for it (detections/metadata-version-1.yml). */
const EVENT_NAME = "InstanceMetadataVersion1Used";

export function version1Events(parts: {
  readonly audit: AuditTrail;
  readonly clock: Clock;
  readonly log: Log;
}): (instance: InstanceMetadata, path: string) => void {
  const { audit, clock, log } = parts;
  return version1Use(clock, ({ instanceId, imageId, accountId, region }, { requests, path }) => {
    const resource = (type: string, arn: string) => ({ arn, type, accountId });
    try {
      audit.recordServiceEvent(
        {
          ...{ eventId: randomUUID(), time: clock.now(), service: "ec2", name: EVENT_NAME, region, accountId },
          details: { instanceId, imageId, requests, path },
        },
        [resource("AWS::EC2::Instance", `arn:aws:ec2:${region}:${accountId}:instance/${instanceId}`)],
      );
    } catch (error) {
      // The guest gets its answer: it can't help it.
      log.error({ error: chain(error), instanceId }, "could not record the use of the metadata service's version 1");
    }
  });
}

// Records as the trail writes them, to be replayed: attack sequences in the shapes that emulation tools document, and
// ordinary work.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { silentLog } from "../../base/log.ts";
import { type Database, openDatabase } from "../../database/database.ts";
import type { ImagesTable } from "../../database/tables/ec2.ts";
import { appendEvents } from "../chain.ts";
import type { JsonObject } from "../json.ts";
import type { AuditEvent } from "../record.ts";
import { createDetections, type Detections, type DetectionsOptions } from "./detections.ts";
import { type Finding, listFindings } from "./findings.ts";
import { loadRules, shippedRules } from "./rule-files.ts";

export const US = "111122223333";
export const MEMBER = "222233334444";
export const STRANGER = "999988887777";
export const REGION = "us-east-1";

export const alice: JsonObject = {
  type: "IAMUser",
  principalId: "AIDAALICE",
  arn: `arn:aws:iam::${US}:user/alice`,
  accountId: US,
  accessKeyId: "AKIAALICE",
  userName: "alice",
};

export const builder: JsonObject = {
  type: "AssumedRole",
  principalId: "AROABUILDER:ci",
  arn: `arn:aws:sts::${US}:assumed-role/builder/ci`,
  accountId: US,
  accessKeyId: "ASIABUILDER",
  sessionContext: { attributes: { creationDate: "2026-11-23T08:00:00Z", mfaAuthenticated: "false" } },
};

export const instanceRole = (instanceId: string, delivery = "2.0"): JsonObject => ({
  type: "AssumedRole",
  principalId: `AROAWEB:${instanceId}`,
  arn: `arn:aws:sts::${US}:assumed-role/web/${instanceId}`,
  accountId: US,
  accessKeyId: "ASIAWEB",
  sessionContext: {
    sessionIssuer: { type: "Role", arn: `arn:aws:iam::${US}:role/web`, accountId: US, userName: "web" },
    attributes: { creationDate: "2026-11-23T08:00:00Z", mfaAuthenticated: "false" },
    ec2RoleDelivery: delivery,
  },
});

export interface Step {
  /** Seconds after the step before. */
  readonly after?: number;
  readonly who?: JsonObject;
  readonly name: string;
  readonly source?: string;
  readonly from?: string;
  readonly readOnly?: boolean;
  readonly request?: JsonObject;
  readonly response?: JsonObject;
  readonly error?: string;
  readonly recipient?: string;
  /** No call, but a service's own event with these details. */
  readonly service?: JsonObject;
}

let counter = 0;

function eventOf(step: Step, at: Date): AuditEvent {
  const eventId = `00000000-0000-4000-8000-${String(++counter).padStart(12, "0")}`;
  const source = step.source ?? "ec2.amazonaws.com";
  const readOnly = step.readOnly ?? /^(Describe|Get|List|Lookup)/.test(step.name);
  const recipient = step.recipient ?? US;
  const record: JsonObject = {
    eventVersion: "1.11",
    userIdentity: step.who ?? alice,
    eventTime: `${at.toISOString().slice(0, 19)}Z`,
    eventSource: source,
    eventName: step.name,
    awsRegion: REGION,
    sourceIPAddress: step.from ?? "127.0.0.1",
    userAgent: "aws-cli/2.9.0",
    ...(step.error === undefined ? {} : { errorCode: step.error, errorMessage: "refused" }),
    requestParameters: step.request ?? null,
    responseElements: step.response ?? null,
    requestID: eventId,
    eventID: eventId,
    readOnly,
    eventType: step.service === undefined ? "AwsApiCall" : "AwsServiceEvent",
    ...(step.service === undefined ? {} : { serviceEventDetails: step.service }),
    managementEvent: true,
    recipientAccountId: recipient,
    eventCategory: "Management",
  };
  return {
    eventId,
    accountId: recipient,
    region: REGION,
    category: "Management",
    atMs: at.getTime(),
    eventName: step.name,
    eventSource: source,
    readOnly,
    userName: "alice",
    accessKeyId: "AKIAALICE",
    resources: [],
    body: JSON.stringify(record),
  };
}

export interface Replay {
  readonly database: Database;
  readonly detections: Detections;
  now: Date;
  /** Puts the steps into the chain. */
  play(steps: readonly Step[]): Promise<void>;
  image(over: Partial<ImagesTable> & { readonly id: string }): Promise<void>;
  /** Judges, and gives all findings of our account, oldest first. */
  findings(): Promise<Finding[]>;
  /** Another process on the same database. */
  another(over?: Partial<DetectionsOptions>): Detections;
}

export async function replay(t: TestContext, over: Partial<DetectionsOptions> = {}): Promise<Replay> {
  const directory = mkdtempSync(join(tmpdir(), "ingot-detections-"));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  const database = await openDatabase({ engine: "sqlite", path: join(directory, "ingot.db") });
  t.after(() => database.close());
  const another: Replay["another"] = (more = {}) => {
    const made = createDetections({
      database,
      rules: loadRules([shippedRules()]),
      surroundings: {
        organization: async () => ({
          has: (one) => [US, MEMBER, "arn:aws:organizations::111122223333:organization/o-aaaaaaaaaa"].includes(one),
        }),
      },
      flush: async () => {},
      clock: { now: () => world.now },
      log: silentLog,
      ...over,
      ...more,
    });
    t.after(() => made.stop());
    return made;
  };
  const world: Replay = {
    database,
    now: new Date("2026-11-23T08:00:00Z"),
    get detections() {
      return first;
    },
    async play(steps) {
      const events = steps.map((step) => {
        world.now = new Date(world.now.getTime() + (step.after ?? 1) * 1000);
        return eventOf(step, world.now);
      });
      for (let at = 0; at < events.length; at += 32) {
        await database.transaction((tx) => appendEvents(tx, events.slice(at, at + 32), false));
      }
    },
    async image(image) {
      await database.transaction((tx) =>
        tx
          .insertInto("images")
          .values({ ...PLAIN_IMAGE, ...image })
          .execute(),
      );
    },
    async findings() {
      await first.run();
      return (await listFindings(database.read, { accountId: US, limit: 1000 })).reverse();
    },
    another,
  };
  const first = another();
  return world;
}

const PLAIN_IMAGE: Omit<ImagesTable, "id"> = {
  account_id: US,
  region: REGION,
  name: "web",
  description: null,
  state: "available",
  state_reason: null,
  architecture: "x86_64",
  virtualization_type: "hvm",
  boot_mode: null,
  root_device_name: "/dev/xvda",
  block_devices: "[]",
  ena_support: 1,
  sriov_net_support: null,
  tpm_support: null,
  imds_support: null,
  uefi_data: null,
  location: "web",
  owner_alias: null,
  source_instance_id: null,
  source_image_id: null,
  source_image_region: null,
  direct_kernel: null,
  reboot: 0,
  created_at: "2026-11-01T00:00:00.000Z",
  deprecate_at: null,
  deregistration_protection: null,
  last_launched_at: null,
  deregistered_at: null,
};

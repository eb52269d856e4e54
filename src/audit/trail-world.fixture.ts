// Trails over a real database and buckets in memory, at a time that the test says.
import { createHmac, timingSafeEqual } from "node:crypto";
import type { TestContext } from "node:test";
import { DeregisterImage$, DescribeImages$ } from "@aws-sdk/client-ec2";
import type { StaticOperationSchema } from "@smithy/types";
import type { Region } from "../base/ids.ts";
import { silentLog } from "../base/log.ts";
import type { Grant } from "../model/access.ts";
import { Buckets } from "./buckets.fixture.ts";
import { DEFAULT_SELECTORS, type Selectors } from "./event-selectors.ts";
import { alice, exampleCall, type Opened, openTrail } from "./example.fixture.ts";
import type { Sealer } from "./signing-keys.ts";
import type { OpenCall } from "./trail.ts";
import { createTrailDelivery, type TrailDelivery, type TrailDeliveryOptions } from "./trail-delivery.ts";
import { findTrail, insertTrail, startTrail, type Trail } from "./trails.ts";

export const grant = {} as Grant<never>;
export const ACCOUNT = alice.accountId;
const MINUTE_MS = 60_000;

/** Seals by a MAC: enough to see that what was changed does not open. */
const sealer: Sealer = {
  seal: (text, bound) => `${text.toString("base64")}.${mac(text, bound)}`,
  unseal(sealed, bound) {
    const [text = "", tag = ""] = sealed.split(".");
    const bytes = Buffer.from(text, "base64");
    const expected = Buffer.from(mac(bytes, bound));
    return expected.length === tag.length && timingSafeEqual(expected, Buffer.from(tag)) ? bytes : null;
  },
};
const mac = (text: Buffer, bound: string): string => createHmac("sha256", bound).update(text).digest("hex");

export class TrailWorld {
  readonly opened: Opened;
  readonly buckets = new Buckets().add("logs", ACCOUNT).add("foreign", "999999999999");
  /** Bucket and ARN of the trail that its policy lets in. */
  readonly policies = new Set<string>();
  now = new Date("2026-11-24T09:00:00Z");
  delivery: TrailDelivery;
  #made = 0;

  constructor(opened: Opened) {
    this.opened = opened;
    this.delivery = this.anotherDelivery();
  }

  /** As a server that starts again has it: nothing remembered but the rows. */
  anotherDelivery(options: Partial<TrailDeliveryOptions> = {}): TrailDelivery {
    return createTrailDelivery({
      database: this.opened.database,
      objects: this.buckets,
      policyAllows: async ({ bucket, trailArn }) => this.policies.has(`${bucket} ${trailArn}`),
      sealer,
      flush: () => this.opened.trail.flush(),
      clock: { now: () => new Date(this.now) },
      log: silentLog,
      ...options,
    });
  }

  minutesLater(minutes: number): void {
    this.now = new Date(this.now.getTime() + minutes * MINUTE_MS);
  }

  /** A trail that logs. */
  async trail(
    over: Partial<Pick<Trail, "name" | "bucket" | "prefix" | "multiRegion" | "globalEvents" | "validation">> = {},
    selectors: Selectors = DEFAULT_SELECTORS,
  ): Promise<Trail> {
    const id = `trail-${++this.#made}`;
    const settings = { bucket: "logs", prefix: null, globalEvents: true, multiRegion: false, validation: true };
    await this.opened.database.transaction(async (tx) => {
      await insertTrail(
        grant,
        tx,
        {
          ...{ id, accountId: ACCOUNT, homeRegion: "us-east-1" as Region, name: `trail-${this.#made}` },
          ...{ tags: {}, selectors, ...settings, ...over },
        },
        this.now,
      );
      await startTrail(grant, tx, id, this.now);
    });
    return this.read(id);
  }

  async read(id: string): Promise<Trail> {
    const trail = await findTrail(this.opened.database.read, id);
    if (trail === undefined) throw new Error(`no trail ${id}`);
    return trail;
  }

  /** Records a call now. @returns its event id */
  async event(
    over: Partial<OpenCall> = {},
    schema: StaticOperationSchema = DeregisterImage$,
    input: object = { ImageId: "ami-0123456789abcdef0" },
  ): Promise<string> {
    const call = exampleCall(schema, input, { time: this.now, ...over });
    await this.opened.trail.record(call, { kind: "success", output: {} });
    return call.eventId;
  }
  read1 = (over: Partial<OpenCall> = {}): Promise<string> => this.event(over, DescribeImages$, {});

  /** Ids of the events in all log files, in the order of their keys. */
  delivered(bucket = "logs"): string[] {
    return this.buckets
      .keys(bucket, /\/CloudTrail\//)
      .flatMap((key) => this.buckets.json(bucket, key).Records.map((record: { eventID: string }) => record.eventID));
  }
}

export const trailWorld = async (t: TestContext): Promise<TrailWorld> => new TrailWorld(await openTrail(t));

// What delivers trails: every trail in turn, every interval; what fails is tried again later and later. Decides when;
// delivery.ts and digest-delivery.ts do it, and their rows make it safe to be killed at any point.
//
// Who may be delivered to: a bucket of the trail's own account, and one of another account whose policy lets
// cloudtrail.amazonaws.com in for this trail (docs/decisions/trail-buckets.md says why the first needs no policy). It is
// looked at before each delivery, since a policy can change, and a bucket be deleted and made again by somebody else.
import { hash } from "node:crypto";
import { gunzipSync } from "node:zlib";
import { ApiError } from "../base/api-error.ts";
import type { Clock } from "../base/clock.ts";
import { chain } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import { MIB } from "../base/units.ts";
import type { Database } from "../database/database.ts";
import type { ObjectStore } from "../model/object-store.ts";
import { deliverFile, GRACE_MS, planFiles, plannedFiles } from "./delivery.ts";
import { deliverDigests, digestChains, digestEnd, lastDigests, makeDigest } from "./digest-delivery.ts";
import { type PublicKey, publicKeys, type Sealer, signingKey } from "./signing-keys.ts";
import { allTrails, type Trail } from "./trails.ts";

/** A digest names some hundred files, 300 bytes each. */
const MOST_DIGEST_BYTES = 64 * MIB;

const FIRST_RETRY_MS = 5_000;
const LONGEST_RETRY_MS = 60 * 60 * 1000;
/** As AWS: what a bucket has refused for so long is given up. */
const GIVE_UP_MS = 30 * 24 * 60 * 60 * 1000;

export interface TrailDelivery {
  /** Before a trail's settings change: what has happened until now goes by the old ones. Needs no bucket. */
  settle(trailId: string): Promise<void>;
  /** Why a trail may not deliver this. */
  refusalOf(asked: DeliveryTo): Promise<"NoSuchBucket" | "AccessDenied" | null>;
  publicKeys(from: Date, to: Date): Promise<PublicKey[]>;
  /**
   * Delivers all that is there, now. Never throws: failures are in the trails' status and in the log.
   * @param options.retry  ask buckets again that have refused lately
   * @param digests  `due`: those whose interval is over; `now`: one for whatever time has passed, if only a second
   */
  run(digests: "due" | "now", options?: { readonly retry?: boolean }): Promise<void>;
  /**
   * The newest digests that are not in their buckets as they were delivered. All older ones are proven by the ones after
   * them; of the newest only we know.
   */
  missingDigests(): Promise<MissingDigest[]>;
  /** Runs at the intervals from here on. */
  start(): void;
  /** Ends after the run under way. */
  stop(): Promise<void>;
}

export interface DeliveryTo {
  readonly bucket: string;
  readonly key: string;
  readonly trailArn: string;
  /** The trail's. */
  readonly accountId: string;
}

export interface MissingDigest {
  readonly arn: string;
  readonly bucket: string;
  readonly key: string;
  readonly what: "not found" | "changed";
}

export interface TrailDeliveryOptions {
  readonly database: Database;
  readonly objects: ObjectStore;
  /** Whether the policy of a bucket of another account lets cloudtrail.amazonaws.com do that. */
  readonly policyAllows: (asked: DeliveryTo) => Promise<boolean>;
  readonly sealer: Sealer;
  /** Everything that has ended is in the chain once it resolves: the audit trail's `flush`. */
  readonly flush: () => Promise<void>;
  readonly clock: Clock;
  readonly log: Log;
  /** Default: five minutes. */
  readonly intervalMs?: number;
  /** Default: an hour. */
  readonly digestIntervalMs?: number;
}

export function createTrailDelivery(options: TrailDeliveryOptions): TrailDelivery {
  const { database, objects, clock, log } = options;
  const intervalMs = options.intervalMs ?? 5 * 60 * 1000;
  const digestIntervalMs = options.digestIntervalMs ?? 60 * 60 * 1000;
  /** Buckets that have refused, and when they are asked again. */
  const refused = new Map<string, { failures: number; notBefore: number }>();
  let running: Promise<void> = Promise.resolve();
  let timer: NodeJS.Timeout | null = null;
  let stopped = false;

  const refusalOf: TrailDelivery["refusalOf"] = async (asked) => {
    const owner = await objects.bucketOwner(asked.bucket);
    if (owner === undefined) return "NoSuchBucket";
    return owner.accountId === asked.accountId || (await options.policyAllows(asked)) ? null : "AccessDenied";
  };

  /** The store, once it is sure that this may be delivered. */
  const storeFor = async (trail: Trail, bucket: string, key: string): Promise<ObjectStore> => {
    const refusal = await refusalOf({ bucket, key, trailArn: trail.arn, accountId: trail.accountId });
    if (refusal !== null) throw new ApiError(refusal, `${trail.arn} cannot deliver into ${bucket}`);
    return objects;
  };

  const mayTry = (bucket: string): boolean => clock.now().getTime() >= (refused.get(bucket)?.notBefore ?? 0);

  /** Does `work` unless its bucket has refused lately; a failure becomes the trail's status. */
  async function attempt(
    trail: Trail,
    bucket: string,
    status: "delivery_error" | "digest_error",
    work: () => Promise<void>,
  ): Promise<boolean> {
    if (!mayTry(bucket)) return false;
    try {
      await work();
      refused.delete(bucket);
      return true;
    } catch (error) {
      const failures = (refused.get(bucket)?.failures ?? 0) + 1;
      const waitMs = Math.min(FIRST_RETRY_MS * 2 ** (failures - 1), LONGEST_RETRY_MS);
      refused.set(bucket, { failures, notBefore: clock.now().getTime() + waitMs });
      log.warn({ trail: trail.arn, bucket, error: chain(error), waitMs }, "a trail could not deliver");
      const code = error instanceof ApiError ? error.code : "InternalError";
      const set = {
        [status]: code,
        ...(status === "delivery_error" ? { attempted_at: clock.now().toISOString() } : {}),
      };
      await database.transaction((tx) => tx.updateTable("audit_trails").set(set).where("id", "=", trail.id).execute());
      return false;
    }
  }

  async function deliver(trail: Trail, digests: "due" | "now"): Promise<void> {
    await planFiles(database, trail.id, clock.now());
    for (const file of await plannedFiles(database.read, trail.id)) {
      if (clock.now().getTime() - Date.parse(file.planned_at) > GIVE_UP_MS) {
        log.error(
          { trail: trail.arn, bucket: file.bucket, key: file.key },
          "a log file was given up: its bucket refused it for 30 days",
        );
        await database.transaction((tx) => tx.deleteFrom("audit_log_files").where("id", "=", file.id).execute());
        continue;
      }
      await attempt(trail, file.bucket, "delivery_error", async () =>
        deliverFile(database, await storeFor(trail, file.bucket, file.key), file, () => clock.now()),
      );
    }
    const store = (bucket: string, key: string) => storeFor(trail, bucket, key);
    const deliverWaiting = () =>
      attempt(trail, trail.bucket, "digest_error", () => deliverDigests(database, trail, store, () => clock.now()));
    // One that waits since the last run goes first: the next is tied to it.
    if (!(await deliverWaiting())) return;
    let made = false;
    const now = clock.now();
    for (const digestChain of await digestChains(database, trail, now)) {
      const end = digests === "now" ? wholeSecond(now) : digestEnd(digestChain, digestIntervalMs, now);
      if (end === null) continue;
      await makeDigest(database, trail, digestChain, end, () => signingKey(database, options.sealer, clock.now()));
      made = true;
    }
    if (made) await deliverWaiting();
    if (trail.deletedAt !== null) await forget(trail);
  }

  /** Of a deleted trail, nothing is left once it has nothing to deliver. */
  async function forget(trail: Trail): Promise<void> {
    if (clock.now().getTime() - (trail.deletedAt?.getTime() ?? 0) < GRACE_MS) return;
    await database.transaction(async (tx) => {
      for (const table of ["audit_log_files", "audit_digests", "audit_digest_chains"] as const) {
        if (
          (await tx.selectFrom(table).select("trail_id").where("trail_id", "=", trail.id).executeTakeFirst()) !==
          undefined
        )
          return;
      }
      await tx.deleteFrom("audit_trails").where("id", "=", trail.id).execute();
    });
  }

  async function runAll(digests: "due" | "now"): Promise<void> {
    try {
      await options.flush();
      for (const trail of await allTrails(database.read)) {
        if (stopped && digests === "due") return;
        try {
          await deliver(trail, digests);
        } catch (error) {
          log.error({ trail: trail.arn, error: chain(error) }, "a trail's delivery failed");
        }
      }
      // A bucket that nothing was to be put into, though its time had come: nobody waits for it.
      for (const [bucket, { notBefore }] of refused) {
        if (notBefore <= clock.now().getTime()) refused.delete(bucket);
      }
    } catch (error) {
      log.error({ error: chain(error) }, "the delivery of trails failed");
    }
  }

  /** One at a time, so that a file is put by one hand. */
  const serially = <T>(task: () => Promise<T>): Promise<T> => {
    const done = running.then(task);
    running = done.then(
      () => {},
      () => {},
    );
    return done;
  };

  const run: TrailDelivery["run"] = (digests, { retry = false } = {}) =>
    serially(() => {
      if (retry) refused.clear();
      return runAll(digests);
    });

  async function missingDigests(): Promise<MissingDigest[]> {
    const missing: MissingDigest[] = [];
    for (const trail of await allTrails(database.read)) {
      for (const last of await lastDigests(database.read, trail.id)) {
        const { bucket, key } = last;
        const there = await readObject(objects, bucket, key);
        if (there === undefined) missing.push({ arn: trail.arn, bucket, key, what: "not found" });
        else if (!isDigest(there, last)) missing.push({ arn: trail.arn, bucket, key, what: "changed" });
      }
    }
    return missing;
  }

  const schedule = async (): Promise<void> => {
    if (stopped) return;
    const waitMs = await waitUntilNext();
    if (stopped) return;
    timer = setTimeout(() => {
      run("due").then(schedule, schedule);
    }, waitMs);
    timer.unref();
  };

  /** Until the next interval, digest or retry. */
  async function waitUntilNext(): Promise<number> {
    const now = clock.now().getTime();
    const times = [now + intervalMs, ...[...refused.values()].map(({ notBefore }) => notBefore)];
    try {
      const oldest = await database.read
        .selectFrom("audit_digest_chains")
        .select((eb) => eb.fn.min("from_at").as("from"))
        .executeTakeFirst();
      // Not while the bucket refuses: a retry's time stands for it.
      if (typeof oldest?.from === "string" && refused.size === 0)
        times.push(Date.parse(oldest.from) + digestIntervalMs);
    } catch (error) {
      log.error({ error: chain(error) }, "the next delivery of trails could not be planned");
    }
    return Math.max(Math.min(...times) - now, Math.min(intervalMs, 1000));
  }

  return {
    async settle(trailId) {
      await options.flush();
      await serially(() => planFiles(database, trailId, clock.now()));
    },
    refusalOf,
    publicKeys: (from, to) => publicKeys(database.read, from, to),
    run,
    missingDigests,
    start() {
      void schedule();
    },
    async stop() {
      stopped = true;
      if (timer !== null) clearTimeout(timer);
      await running;
    },
  };
}

async function readObject(
  objects: ObjectStore,
  bucket: string,
  key: string,
): Promise<{ readonly bytes: Buffer; readonly signature: string | undefined } | undefined> {
  const object = await objects.get(bucket, key);
  if (object === undefined) return undefined;
  const parts: Buffer[] = [];
  for await (const part of object.body as AsyncIterable<Buffer>) parts.push(part);
  return { bytes: Buffer.concat(parts), signature: object.metadata.signature };
}

function isDigest(
  { bytes, signature }: { readonly bytes: Buffer; readonly signature: string | undefined },
  last: { readonly hash: string; readonly signature: string },
): boolean {
  try {
    return (
      hash("sha256", gunzipSync(bytes, { maxOutputLength: MOST_DIGEST_BYTES })) === last.hash &&
      signature === last.signature
    );
  } catch {
    return false;
  }
}

const wholeSecond = (at: Date): Date => new Date(Math.floor(at.getTime() / 1000) * 1000);

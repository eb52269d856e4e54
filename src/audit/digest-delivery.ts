// Digests of trails: made once an interval for each Region, signed, and put into the bucket.
//
//   make     one transaction: the digest's text and signature as a row, and the files that it names marked with it
//   deliver  put under the row's key, then one transaction: the chain goes on from it, its files' rows are dropped
//
// What a kill repeats is a `put` of the same bytes. A log file is in exactly one digest, and only after it was delivered.
// The next digest is made when the one before is delivered: while a bucket cannot be reached nothing piles up, and one
// digest then covers all of that time.
//
// Gap, on purpose: AWS makes digests in every Region of a multi-Region trail, also where nothing ever happens. Here they
// begin with a Region's first log file (in the home Region at once) and then come each interval, empty or not.
import { hash, randomUUID } from "node:crypto";
import { promisify } from "node:util";
import { gzip } from "node:zlib";
import type { Database, Db } from "../database/database.ts";
import type { AuditDigestChainsTable } from "../database/tables/audit.ts";
import type { ObjectStore } from "../model/object-store.ts";
import { beginDigestChain } from "./delivery.ts";
import { type PreviousDigest, SIGNATURE_ALGORITHM, signedDigest } from "./digest.ts";
import { digestKey } from "./log-file.ts";
import type { SigningKey } from "./signing-keys.ts";
import type { Trail } from "./trails.ts";

const compress = promisify(gzip);

/** The trail's chains; that of the home Region is begun as soon as it logs. */
export async function digestChains(database: Database, trail: Trail, now: Date): Promise<AuditDigestChainsTable[]> {
  const read = (db: Db) =>
    db.selectFrom("audit_digest_chains").selectAll().where("trail_id", "=", trail.id).orderBy("region").execute();
  const there = await read(database.read);
  if (!wantsDigests(trail) || there.some((chain) => chain.region === trail.homeRegion)) return there;
  return database.transaction(async (tx) => {
    await beginDigestChain(tx, trail.id, trail.homeRegion, now);
    return read(tx);
  });
}

const wantsDigests = (trail: Trail): boolean => trail.logging && trail.validation;

/** When the next digest of this chain ends: whole intervals after its start, the latest that is over. */
export function digestEnd(chain: AuditDigestChainsTable, intervalMs: number, now: Date): Date | null {
  const from = Date.parse(chain.from_at);
  const intervals = Math.floor((now.getTime() - from) / intervalMs);
  return intervals < 1 ? null : new Date(from + intervals * intervalMs);
}

/**
 * Makes the digest that ends at `end`, unless one waits to be delivered. A trail that has stopped gets a last one for the
 * files that are not in any yet; then its chain ends.
 */
export async function makeDigest(
  database: Database,
  trail: Trail,
  chain: AuditDigestChainsTable,
  end: Date,
  key: () => Promise<SigningKey>,
): Promise<void> {
  const waits = await database.read
    .selectFrom("audit_digests")
    .select("id")
    .where("trail_id", "=", trail.id)
    .where("region", "=", chain.region)
    .executeTakeFirst();
  if (waits !== undefined || Date.parse(chain.from_at) >= end.getTime()) return;
  const signing = await key();
  await database.transaction(async (tx) => {
    const place = { trail_id: trail.id, region: chain.region };
    const undigested = await tx
      .selectFrom("audit_log_files")
      .selectAll()
      .where("trail_id", "=", place.trail_id)
      .where("region", "=", place.region)
      .where("wants_digest", "=", 1)
      .where("digest_id", "is", null)
      .orderBy("first_sequence")
      .execute();
    const files = undigested.filter((file) => file.state === "delivered");
    if (!wantsDigests(trail) && files.length === 0) {
      if (undigested.length > 0) return;
      await tx
        .deleteFrom("audit_digest_chains")
        .where("trail_id", "=", place.trail_id)
        .where("region", "=", place.region)
        .execute();
      return;
    }
    const now = await tx
      .selectFrom("audit_digest_chains")
      .selectAll()
      .where("trail_id", "=", place.trail_id)
      .where("region", "=", place.region)
      .executeTakeFirst();
    // Another process has been here.
    if (now?.from_at !== chain.from_at) return;
    const head = await tx.selectFrom("audit_chain").selectAll().where("id", "=", 1).executeTakeFirstOrThrow();
    const id = randomUUID();
    const { bucket } = trail;
    const keyName = digestKey({ prefix: trail.prefix, accountId: trail.accountId, region: chain.region }, trail, end);
    const digest = signedDigest(
      {
        accountId: trail.accountId,
        bucket,
        key: keyName,
        start: new Date(chain.from_at),
        end,
        files: files.map((file) => ({
          bucket: file.bucket,
          key: file.key,
          hash: file.hash ?? "",
          oldest: new Date(file.oldest_event_at ?? file.planned_at),
          newest: new Date(file.newest_event_at ?? file.planned_at),
        })),
        previous: previousOf(now),
        chainHead: { sequence: Number(head.head_sequence), hash: head.head_hash },
      },
      signing,
    );
    await tx
      .insertInto("audit_digests")
      .values({
        ...place,
        id,
        bucket,
        key: keyName,
        body: digest.body,
        signature: digest.signature,
        end_at: end.toISOString(),
      })
      .execute();
    for (const file of files) {
      await tx.updateTable("audit_log_files").set({ digest_id: id }).where("id", "=", file.id).execute();
    }
  });
}

/** The newest delivered digest of each chain of a trail. */
export async function lastDigests(db: Db, trailId: string): Promise<PreviousDigest[]> {
  const chains = await db.selectFrom("audit_digest_chains").selectAll().where("trail_id", "=", trailId).execute();
  return chains.map(previousOf).filter((digest) => digest !== null);
}

function previousOf(chain: AuditDigestChainsTable): PreviousDigest | null {
  const { previous_bucket: bucket, previous_key: key, previous_hash: hash, previous_signature: signature } = chain;
  return bucket === null || key === null || hash === null || signature === null
    ? null
    : { bucket, key, hash, signature };
}

/** Puts the digests of a trail that wait. @throws ApiError the bucket's */
export async function deliverDigests(
  database: Database,
  trail: Trail,
  objects: (bucket: string, key: string) => Promise<ObjectStore>,
  now: () => Date,
): Promise<void> {
  const waiting = await database.read
    .selectFrom("audit_digests")
    .selectAll()
    .where("trail_id", "=", trail.id)
    .orderBy("region")
    .execute();
  for (const row of waiting) {
    await (await objects(row.bucket, row.key)).put(row.bucket, row.key, await compress(row.body), {
      contentType: "application/json",
      contentEncoding: "gzip",
      metadata: { signature: row.signature, "signature-algorithm": SIGNATURE_ALGORITHM },
    });
    await database.transaction(async (tx) => {
      await tx.deleteFrom("audit_log_files").where("digest_id", "=", row.id).execute();
      await tx.deleteFrom("audit_digests").where("id", "=", row.id).execute();
      await tx
        .updateTable("audit_digest_chains")
        .set({
          from_at: row.end_at,
          previous_bucket: row.bucket,
          previous_key: row.key,
          previous_hash: hash("sha256", row.body),
          previous_signature: row.signature,
        })
        .where("trail_id", "=", row.trail_id)
        .where("region", "=", row.region)
        .execute();
      await tx
        .updateTable("audit_trails")
        .set({ digest_delivered_at: now().toISOString(), digest_error: null })
        .where("id", "=", row.trail_id)
        .execute();
    });
  }
}

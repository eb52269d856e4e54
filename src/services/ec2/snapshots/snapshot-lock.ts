// LockSnapshot, UnlockSnapshot, DescribeLockedSnapshots: a snapshot that cannot be deleted for a time.
//
//   governance   those who are allowed to may unlock it, and change the lock as they like
//   compliance   during the cool-off as governance; afterwards nobody unlocks it, and its time can only grow
import {
  DescribeLockedSnapshots$,
  type DescribeLockedSnapshotsRequest,
  type DescribeLockedSnapshotsResult,
  LockSnapshot$,
  type LockSnapshotRequest,
  type LockSnapshotResult,
  UnlockSnapshot$,
  type UnlockSnapshotRequest,
  type UnlockSnapshotResult,
} from "@aws-sdk/client-ec2";
import { ApiError } from "../../../base/api-error.ts";
import { parseId } from "../../../base/ids.ts";
import type { ConditionKeys } from "../../../model/access.ts";
import { lockOf, lockState, type Snapshot, type SnapshotLock, snapshotNotFound } from "../../../model/snapshot.ts";
import { findSnapshot, setSnapshotLock, snapshotOf } from "../../../model/snapshot-rows.ts";
import { compileFilters, type FilterTable } from "../../../protocol/filters.ts";
import { pageLimit, takePage } from "../../../protocol/pages.ts";
import type { RequestContext } from "../../context.ts";
import { onAnything, operation } from "../../operation.ts";
import { invalidValue, oneOf, required } from "../parameters.ts";
import { resolveOwnSnapshot } from "./own-snapshot.ts";

const HOUR_MS = 3600_000;
const DAY_MS = 24 * HOUR_MS;
const MOST_DAYS = 36_500;
const MOST_COOL_OFF_HOURS = 72;

export const lockSnapshot = operation({
  action: "ec2:LockSnapshot",
  schema: LockSnapshot$,
  access: "write",
  async resolve(ctx: RequestContext, input: LockSnapshotRequest) {
    const wanted = parseLock(input, ctx.now());
    const keys: ConditionKeys = {
      "ec2:SnapshotLockDuration": String(wanted.durationDays),
      ...(wanted.coolOffHours === null ? {} : { "ec2:SnapshotCoolOffPeriod": String(wanted.coolOffHours) }),
    };
    return { wanted, ...(await resolveOwnSnapshot(ctx, "ec2:LockSnapshot", input.SnapshotId, keys)) };
  },
  async run(ctx, _input, { wanted, snapshot: seen }, grant): Promise<LockSnapshotResult> {
    const now = ctx.now();
    const lock = await ctx.database.transaction(async (tx) => {
      const snapshot = await findSnapshot(tx, seen.region, seen.id);
      if (snapshot === undefined) throw snapshotNotFound(seen.region, seen.id);
      const next = relocked(lockOf(snapshot), wanted, snapshot, now);
      await setSnapshotLock(grant, tx, snapshot.id, next);
      return next;
    });
    return { SnapshotId: seen.id, ...shownLock(lock, now) };
  },
});

export const unlockSnapshot = operation({
  action: "ec2:UnlockSnapshot",
  schema: UnlockSnapshot$,
  access: "write",
  resolve: (ctx: RequestContext, input: UnlockSnapshotRequest) =>
    resolveOwnSnapshot(ctx, "ec2:UnlockSnapshot", input.SnapshotId),
  async run(ctx, _input, { snapshot: { id, region } }, grant): Promise<UnlockSnapshotResult> {
    await ctx.database.transaction(async (tx) => {
      const snapshot = await findSnapshot(tx, region, id);
      if (snapshot === undefined) throw snapshotNotFound(region, id);
      const lock = lockOf(snapshot);
      if (lock === null) throw new ApiError("IncorrectState", `The snapshot '${id}' is not locked.`);
      if (lockState(lock, ctx.now()) === "compliance") {
        throw new ApiError("OperationNotPermitted", `The snapshot '${id}' is locked in compliance mode.`);
      }
      await setSnapshotLock(grant, tx, id, null);
    });
    return { SnapshotId: id };
  },
});

interface LockedView {
  readonly snapshot: Snapshot;
  readonly lock: SnapshotLock;
  readonly state: ReturnType<typeof lockState>;
}

const FILTERS: FilterTable<LockedView> = { values: { "lock-state": ({ state }) => state } };

export const describeLockedSnapshots = operation({
  action: "ec2:DescribeLockedSnapshots",
  schema: DescribeLockedSnapshots$,
  access: "read",
  resolve: async (_ctx: RequestContext, _input: DescribeLockedSnapshotsRequest) =>
    onAnything("ec2:DescribeLockedSnapshots"),
  async run(ctx, input): Promise<DescribeLockedSnapshotsResult> {
    const ids = input.SnapshotIds?.map((id) => parseId("snapshot", id));
    const limit = pageLimit("ec2", "MaxResults", input.MaxResults, { min: 5, max: 1000 });
    const filters = compileFilters(input.Filters, FILTERS);
    const scope = {
      service: "ec2",
      action: "DescribeLockedSnapshots",
      owner: [ctx.caller.accountId, ctx.region],
      parameters: input,
    } as const;
    const after = ctx.parts.pages.open(scope, input.NextToken) ?? "";
    let select = ctx.database.read
      .selectFrom("snapshots")
      .selectAll()
      .where("account_id", "=", ctx.caller.accountId)
      .where("region", "=", ctx.region)
      .where("lock", "is not", null)
      .where("id", ">", after)
      .orderBy("id");
    if (ids !== undefined && ids.length > 0) select = select.where("id", "in", ids);
    const now = ctx.now();
    const views = (await select.execute()).map(snapshotOf).flatMap((snapshot): LockedView[] => {
      const lock = lockOf(snapshot);
      return lock === null ? [] : [{ snapshot, lock, state: lockState(lock, now) }];
    });
    const { page, next } = takePage(views.filter(filters.matches), limit);
    return {
      Snapshots: page.map(({ snapshot, lock }) => ({
        OwnerId: snapshot.account_id,
        SnapshotId: snapshot.id,
        ...shownLock(lock, now),
      })),
      ...(next === undefined ? {} : { NextToken: ctx.parts.pages.seal(scope, next.snapshot.id) }),
    };
  },
});

function parseLock(input: LockSnapshotRequest, now: Date): SnapshotLock {
  const mode = required(oneOf(input.LockMode, ["governance", "compliance"], "lockMode"), "lockMode");
  const { CoolOffPeriod: hours, LockDuration: days, ExpirationDate: expires } = input;
  if ((days === undefined) === (expires === undefined)) {
    throw new ApiError("InvalidParameterCombination", "Exactly one of LockDuration and ExpirationDate must be given.");
  }
  if (hours !== undefined && (mode === "governance" || hours < 1 || hours > MOST_COOL_OFF_HOURS)) {
    throw invalidValue("coolOffPeriod", hours, `1 to ${MOST_COOL_OFF_HOURS} hours, in compliance mode only.`);
  }
  const expiresAt = expires ?? new Date(now.getTime() + (days ?? 0) * DAY_MS);
  const lasts = Math.ceil((expiresAt.getTime() - now.getTime()) / DAY_MS);
  if (lasts < 1 || lasts > MOST_DAYS) throw invalidValue("lockDuration", days ?? lasts, `1 to ${MOST_DAYS} days.`);
  return {
    mode,
    createdAt: now.toISOString(),
    coolOffHours: hours ?? null,
    coolOffUntil: hours === undefined ? null : new Date(now.getTime() + hours * HOUR_MS).toISOString(),
    durationDays: days ?? lasts,
    startedAt: now.toISOString(),
    expiresAt: expiresAt.toISOString(),
  };
}

/** What a lock becomes when another one is asked for. @throws ApiError `OperationNotPermitted` */
function relocked(current: SnapshotLock | null, wanted: SnapshotLock, snapshot: Snapshot, now: Date): SnapshotLock {
  if (current === null) return wanted;
  const state = lockState(current, now);
  if (state === "compliance" && (wanted.mode !== "compliance" || wanted.expiresAt < current.expiresAt)) {
    throw new ApiError(
      "OperationNotPermitted",
      `The snapshot '${snapshot.id}' is locked in compliance mode: its lock can only be extended.`,
    );
  }
  // Once the cool-off is over it does not come back.
  const { coolOffHours, coolOffUntil } = state === "compliance" ? current : wanted;
  return { ...wanted, createdAt: current.createdAt, coolOffHours, coolOffUntil };
}

const shownLock = (lock: SnapshotLock, now: Date): LockSnapshotResult => ({
  LockState: lockState(lock, now),
  LockDuration: lock.durationDays,
  ...(lock.coolOffHours === null ? {} : { CoolOffPeriod: lock.coolOffHours }),
  ...(lock.coolOffUntil === null ? {} : { CoolOffPeriodExpiresOn: new Date(lock.coolOffUntil) }),
  LockCreatedOn: new Date(lock.createdAt),
  LockDurationStartTime: new Date(lock.startedAt),
  LockExpiresOn: new Date(lock.expiresAt),
});

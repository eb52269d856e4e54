// Lists of snapshots as an account sees them: its own, those shared with it, and public ones; oldest first, in chunks.
import type { SnapshotId } from "../base/ids.ts";
import type { Db } from "../database/database.ts";
import type { Snapshot, SnapshotState } from "./snapshot.ts";
import { snapshotOf } from "./snapshot-rows.ts";
import type { Owner } from "./vpc.ts";
import { type Position, type ReadAfter, walk } from "./walk.ts";

/** What narrows the list in SQL. Whatever is absent does not narrow it; lists are alternatives. */
export interface SnapshotQuery {
  readonly viewer: Owner;
  readonly ids?: readonly SnapshotId[] | undefined;
  readonly states?: readonly SnapshotState[] | undefined;
  readonly volumes?: readonly string[] | undefined;
  /** Account ids. */
  readonly owners?: readonly string[] | undefined;
  /**
   * Account ids, or `all`: only snapshots with an explicit permission for one of these. With whom else someone shares is
   * not for others to see, so other accounts count for the viewer's own snapshots only.
   */
  readonly restorableBy?: readonly string[] | undefined;
  readonly tags?: readonly { readonly key: string; readonly values: readonly string[] }[];
}

export function snapshotCatalogue(
  db: Db,
  query: SnapshotQuery,
  after: Position | undefined,
  limit: number | undefined,
): AsyncGenerator<Snapshot[]> {
  const { viewer, owners } = query;
  const halves: ("own" | "others")[] = [];
  if (owners?.includes(viewer.accountId) ?? true) halves.push("own");
  if (owners?.some((owner) => owner !== viewer.accountId) ?? true) halves.push("others");
  const reads = halves.map(
    (which): ReadAfter<Snapshot> =>
      (position, size) =>
        half(db, query, which, position, size),
  );
  return walk(reads, snapshotPosition, after, limit);
}

export const snapshotPosition = (snapshot: Snapshot): Position => ({ at: snapshot.started_at, id: snapshot.id });

async function half(
  db: Db,
  query: SnapshotQuery,
  which: "own" | "others",
  after: Position | undefined,
  limit: number,
): Promise<Snapshot[]> {
  const { viewer, ids, states, volumes, owners, restorableBy, tags } = query;
  let select = db
    .selectFrom("snapshots")
    .selectAll("snapshots")
    .where("snapshots.region", "=", viewer.region)
    .where("snapshots.account_id", which === "own" ? "=" : "<>", viewer.accountId);
  if (which === "others") {
    select = select.where((eb) =>
      eb.or([
        eb("snapshots.id", "in", permittedTo(db, "user", viewer.accountId)),
        eb.and([
          eb("snapshots.id", "in", permittedTo(db, "group", "all")),
          eb("snapshots.account_id", "not in", publicBlockedBy(db, viewer)),
        ]),
      ]),
    );
  }
  if (ids !== undefined) select = select.where("snapshots.id", "in", [...ids]);
  if (states !== undefined) select = select.where("snapshots.state", "in", [...states]);
  if (volumes !== undefined) select = select.where("snapshots.volume_id", "in", [...volumes]);
  if (owners !== undefined) select = select.where("snapshots.account_id", "in", [...owners]);
  if (restorableBy !== undefined) {
    const counting = restorableBy.filter((who) => which === "own" || who === "all" || who === viewer.accountId);
    select = select.where((eb) =>
      eb.or(
        counting.map((who) =>
          eb("snapshots.id", "in", who === "all" ? permittedTo(db, "group", "all") : permittedTo(db, "user", who)),
        ),
      ),
    );
  }
  for (const { key, values } of tags ?? []) {
    select = select.where("snapshots.id", "in", (eb) =>
      eb
        .selectFrom("tags")
        .select("tags.resource_id")
        .where("tags.account_id", "=", viewer.accountId)
        .where("tags.region", "=", viewer.region)
        .where("tags.key", "=", key)
        .where("tags.value", "in", [...values]),
    );
  }
  if (after !== undefined) {
    select = select
      .where("snapshots.started_at", ">=", after.at)
      .where((eb) => eb.or([eb("snapshots.started_at", ">", after.at), eb("snapshots.id", ">", after.id)]));
  }
  const rows = await select.orderBy("snapshots.started_at").orderBy("snapshots.id").limit(limit).execute();
  return rows.map(snapshotOf);
}

const permittedTo = (db: Db, kind: "user" | "group", value: string) =>
  db
    .selectFrom("snapshot_permissions")
    .select("snapshot_permissions.snapshot_id")
    .where("snapshot_permissions.kind", "=", kind)
    .where("snapshot_permissions.value", "=", value);

/** Accounts that have blocked all public sharing of their snapshots in this Region. */
const publicBlockedBy = (db: Db, { region }: Owner) =>
  db
    .selectFrom("settings")
    .select("settings.account_id")
    .where("settings.region", "=", region)
    .where("settings.name", "=", "snapshot-block-public-access")
    .where("settings.value", "=", "block-all-sharing");

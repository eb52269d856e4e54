// An account's volumes, oldest first, in chunks.
import type { VolumeId } from "../base/ids.ts";
import type { Db } from "../database/database.ts";
import type { Volume, VolumeState } from "./volume.ts";
import { volumeOf } from "./volume-rows.ts";
import type { Owner } from "./vpc.ts";
import { type Position, walk } from "./walk.ts";

/** What narrows the list in SQL. Whatever is absent does not narrow it; lists are alternatives. */
export interface VolumeQuery {
  readonly owner: Owner;
  readonly ids?: readonly VolumeId[] | undefined;
  readonly states?: readonly VolumeState[] | undefined;
  readonly instances?: readonly string[] | undefined;
  readonly snapshots?: readonly string[] | undefined;
  readonly tags?: readonly { readonly key: string; readonly values: readonly string[] }[];
}

export const volumePosition = (volume: Volume): Position => ({ at: volume.created_at, id: volume.id });

/** Deleted volumes are gone. @param limit  how many are wanted at most, where that is known */
export function volumeCatalogue(
  db: Db,
  query: VolumeQuery,
  after: Position | undefined,
  limit: number | undefined,
): AsyncGenerator<Volume[]> {
  const { owner, ids, states, instances, snapshots, tags } = query;
  const read = async (position: Position | undefined, size: number): Promise<Volume[]> => {
    let select = db
      .selectFrom("volumes")
      .selectAll("volumes")
      .where("volumes.account_id", "=", owner.accountId)
      .where("volumes.region", "=", owner.region)
      .where("volumes.state", "<>", "deleted");
    if (ids !== undefined) select = select.where("volumes.id", "in", [...ids]);
    if (states !== undefined) select = select.where("volumes.state", "in", [...states]);
    if (instances !== undefined) select = select.where("volumes.instance_id", "in", [...instances]);
    if (snapshots !== undefined) select = select.where("volumes.snapshot_id", "in", [...snapshots]);
    for (const { key, values } of tags ?? []) {
      select = select.where("volumes.id", "in", (eb) =>
        eb
          .selectFrom("tags")
          .select("tags.resource_id")
          .where("tags.account_id", "=", owner.accountId)
          .where("tags.region", "=", owner.region)
          .where("tags.key", "=", key)
          .where("tags.value", "in", [...values]),
      );
    }
    if (position !== undefined) {
      select = select
        .where("volumes.created_at", ">=", position.at)
        .where((eb) => eb.or([eb("volumes.created_at", ">", position.at), eb("volumes.id", ">", position.id)]));
    }
    const rows = await select.orderBy("volumes.created_at").orderBy("volumes.id").limit(size).execute();
    return rows.map(volumeOf);
  };
  return walk([read], volumePosition, after, limit);
}

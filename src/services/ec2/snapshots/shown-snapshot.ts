// A snapshot as the API shows it, and the filters over that.
import type { Snapshot as ShownSnapshot, SnapshotInfo } from "@aws-sdk/client-ec2";
import { NO_VOLUME, type Snapshot } from "../../../model/snapshot.ts";
import type { Tag } from "../../../model/tags.ts";
import type { FilterTable } from "../../../protocol/filters.ts";
import { shownTags } from "../tags/shown-tags.ts";

export interface SnapshotView {
  readonly snapshot: Snapshot;
  /** The viewer's own tags. */
  readonly tags: readonly Tag[];
}

export const progressOf = (snapshot: Snapshot): string =>
  `${snapshot.state === "completed" ? 100 : snapshot.progress}%`;

export const shownSnapshot = ({ snapshot, tags }: SnapshotView): ShownSnapshot => ({
  SnapshotId: snapshot.id,
  VolumeId: snapshot.volume_id ?? NO_VOLUME,
  State: snapshot.state,
  StateMessage: snapshot.state_message ?? undefined,
  StartTime: new Date(snapshot.started_at),
  CompletionTime: snapshot.completed_at === null ? undefined : new Date(snapshot.completed_at),
  Progress: progressOf(snapshot),
  OwnerId: snapshot.account_id,
  Description: snapshot.description,
  VolumeSize: snapshot.size_gib,
  Encrypted: false,
  Tags: shownTags(tags),
  StorageTier: "standard",
  TransferType: "standard",
  FullSnapshotSizeInBytes: snapshot.allocated_bytes ?? undefined,
});

/** CreateSnapshots has a shape of its own. */
export const shownSnapshotInfo = ({ snapshot, tags }: SnapshotView): SnapshotInfo => ({
  SnapshotId: snapshot.id,
  VolumeId: snapshot.volume_id ?? NO_VOLUME,
  State: snapshot.state,
  StartTime: new Date(snapshot.started_at),
  Progress: progressOf(snapshot),
  OwnerId: snapshot.account_id,
  Description: snapshot.description,
  VolumeSize: snapshot.size_gib,
  Encrypted: false,
  Tags: shownTags(tags),
});

export const SNAPSHOT_FILTERS: FilterTable<SnapshotView> = {
  values: {
    description: ({ snapshot }) => snapshot.description,
    encrypted: () => false,
    "owner-alias": () => undefined,
    "owner-id": ({ snapshot }) => snapshot.account_id,
    progress: ({ snapshot }) => progressOf(snapshot),
    "snapshot-id": ({ snapshot }) => snapshot.id,
    "start-time": ({ snapshot }) => snapshot.started_at,
    status: ({ snapshot }) => snapshot.state,
    "storage-tier": () => "standard",
    "transfer-type": () => "standard",
    "volume-id": ({ snapshot }) => snapshot.volume_id ?? NO_VOLUME,
    "volume-size": ({ snapshot }) => snapshot.size_gib,
  },
  tags: ({ tags }) => shownTags(tags),
};

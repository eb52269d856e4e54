import { completeSnapshot } from "./complete-snapshot.ts";
import { getSnapshotBlock } from "./get-snapshot-block.ts";
import { listChangedBlocks, listSnapshotBlocks } from "./list-blocks.ts";
import { putSnapshotBlock } from "./put-snapshot-block.ts";
import { startSnapshot } from "./start-snapshot.ts";

export const ebsOperations = {
  CompleteSnapshot: completeSnapshot,
  GetSnapshotBlock: getSnapshotBlock,
  ListChangedBlocks: listChangedBlocks,
  ListSnapshotBlocks: listSnapshotBlocks,
  PutSnapshotBlock: putSnapshotBlock,
  StartSnapshot: startSnapshot,
};

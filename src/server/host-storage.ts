// Storage as the host's reconciler uses it.
import { isId, type SnapshotId } from "../base/ids.ts";
import type { HostStorage } from "../compute/host-parts.ts";
import { type BlockServer, type SnapshotStore, sameRange } from "../storage/store.ts";

export function hostStorage(store: SnapshotStore, blocks: BlockServer): HostStorage {
  return {
    capture: (spec, { owner, ...options }) => store.capture({ ...spec, owner }, options),
    copy: async (id, from) => {
      // Asked again after a crash in between: the record is there, only the row did not say so.
      const made = await store.describe(id);
      return made ?? store.copy(id, from);
    },
    diskSecret: (owner) => store.diskSecret(owner),
    has: (id) => store.has(id),
    async list() {
      const ids: SnapshotId[] = [];
      for await (const id of store.ids()) if (isId("snapshot", id)) ids.push(id);
      return ids;
    },
    delete: (id) => store.delete(id),
    completeUpload: (id) => store.completeDraft(id),
    dropUpload: (id) => store.dropDraft(id),
    open: (id) => store.open(id),
    same: async (a, b, range) => sameRange(await store.open(a), await store.open(b), range),
    async export(id) {
      const stored = await store.describe(id);
      if (stored === undefined) throw new Error(`the store has no content of ${id}`);
      await blocks.ensure();
      return blocks.export(id, stored.bytes);
    },
  };
}

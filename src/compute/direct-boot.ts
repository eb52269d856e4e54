// Which images can do without firmware and boot loader at their first boot: Ingot's own, whose kernels lie beside the
// store, and every image whose disk firmware would start in exactly the same way, such as one that was captured of a
// machine of theirs. It saves a third of a boot under emulation. Proven by comparing the disks (`boot-files.ts`), never
// by where an image comes from: a guest may have installed another kernel, and what the disk holds is what boots.
import type { SnapshotId } from "../base/ids.ts";
import type { Db } from "../database/database.ts";
import type { BlockDevice } from "../model/block-device.ts";
import { PLATFORM_ACCOUNT } from "../model/identity/account.ts";
import type { DirectKernel } from "../model/image.ts";
import { type BootFiles, bootsAlike, readBootFiles } from "./boot-files.ts";
import type { HostStorage } from "./host-parts.ts";

/** A snapshot's content never changes: what was found out is true for ever. */
const KEPT = 1000;

interface Known {
  readonly snapshotId: SnapshotId;
  readonly kernel: DirectKernel;
}

export class DirectBoots {
  readonly #storage: Pick<HostStorage, "open" | "same">;
  readonly #files = new Map<SnapshotId, Promise<BootFiles | null>>();
  readonly #answers = new Map<string, Promise<boolean>>();

  constructor(storage: Pick<HostStorage, "open" | "same">) {
    this.#storage = storage;
  }

  /**
   * What a machine with this snapshot as its root may be started with; `null`: its firmware has to boot it. Some 10 ms for
   * a snapshot that is met for the first time. @throws Error when it can't be read
   */
  async kernelOf(db: Db, snapshotId: SnapshotId): Promise<DirectKernel | null> {
    for (const known of await ownKernels(db)) {
      if (known.snapshotId === snapshotId || (await this.#alike(snapshotId, known.snapshotId))) return known.kernel;
    }
    return null;
  }

  #alike(a: SnapshotId, b: SnapshotId): Promise<boolean> {
    return kept(this.#answers, `${a} ${b}`, async () => {
      const [mine, theirs] = [await this.#filesOf(a), await this.#filesOf(b)];
      if (mine === null || theirs === null) return false;
      return bootsAlike(mine, theirs, (range) => this.#storage.same(a, b, range));
    });
  }

  #filesOf(id: SnapshotId): Promise<BootFiles | null> {
    return kept(this.#files, id, async () => readBootFiles(await this.#storage.open(id)));
  }
}

/** Failures are not kept: the next time it may be there. */
function kept<K, V>(map: Map<K, Promise<V>>, key: K, find: () => Promise<V>): Promise<V> {
  const before = map.get(key);
  if (before !== undefined) return before;
  const found = find();
  map.set(key, found);
  found.catch(() => map.delete(key));
  for (const oldest of map.keys()) {
    if (map.size <= KEPT) break;
    map.delete(oldest);
  }
  return found;
}

/** Ingot's own images of all Regions share their content: one of each kernel will do. */
async function ownKernels(db: Db): Promise<Known[]> {
  const rows = await db
    .selectFrom("images")
    .select(["block_devices", "direct_kernel", "root_device_name"])
    .where("account_id", "=", PLATFORM_ACCOUNT)
    .where("direct_kernel", "is not", null)
    .where("state", "=", "available")
    .execute();
  const byKernel = new Map<string, Known>();
  for (const { block_devices, direct_kernel, root_device_name } of rows) {
    if (direct_kernel === null || byKernel.has(direct_kernel)) continue;
    const root = (JSON.parse(block_devices) as BlockDevice[]).find(({ deviceName }) => deviceName === root_device_name);
    const snapshotId = root !== undefined && "ebs" in root ? root.ebs.snapshotId : null;
    if (snapshotId !== null)
      byKernel.set(direct_kernel, { snapshotId, kernel: JSON.parse(direct_kernel) as DirectKernel });
  }
  return [...byKernel.values()];
}

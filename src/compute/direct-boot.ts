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
   * What a machine with this snapshot as its root may be started with; `null`: its firmware has to boot it. A snapshot that
   * is met for the first time costs a few reads and a comparison of manifests. @throws Error when it can't be read
   */
  async kernelOf(db: Db, snapshotId: SnapshotId): Promise<DirectKernel | null> {
    const known = await ownKernels(db);
    const own = known.find((one) => one.snapshotId === snapshotId);
    if (own !== undefined) return own.kernel;
    // All Regions share their content: one of each kernel will do.
    const each = new Map(known.map((one) => [one.kernel.file, one]));
    for (const one of each.values()) if (await this.#alike(snapshotId, one.snapshotId)) return one.kernel;
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

/** Of the images that Ingot has built, in every Region. */
async function ownKernels(db: Db): Promise<Known[]> {
  const rows = await db
    .selectFrom("images")
    .select(["block_devices", "direct_kernel", "root_device_name"])
    .where("account_id", "=", PLATFORM_ACCOUNT)
    .where("direct_kernel", "is not", null)
    .where("state", "=", "available")
    .execute();
  return rows.flatMap(({ block_devices, direct_kernel, root_device_name }) => {
    const devices = JSON.parse(block_devices) as BlockDevice[];
    const root = devices.find(({ deviceName }) => deviceName === root_device_name);
    const snapshotId = root !== undefined && "ebs" in root ? root.ebs.snapshotId : null;
    if (snapshotId === null || direct_kernel === null) return [];
    return [{ snapshotId, kernel: JSON.parse(direct_kernel) as DirectKernel }];
  });
}

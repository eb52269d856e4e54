// The host's reconciler: compares rows with what is there, and makes what is there as the rows say.
//
// It looks when it is poked (an action has written rows, a machine has said something) and every few seconds besides, for
// what another process may have written. One look starts work and waits for none of it: each instance has its driver,
// each capture its own course.
import { readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { chain, systemCode } from "../base/errors.ts";
import { type AccountId, accountId, type InstanceId, isId, type SnapshotId, type VolumeId } from "../base/ids.ts";
import { settleImages } from "../model/image-rows.ts";
import { uploadOf, uploadTimedOut } from "../model/snapshot.ts";
import {
  capturesDue,
  copiesDue,
  sealedUploads,
  snapshotCompleted,
  snapshotFailed,
  snapshotsToKeep,
  uploadsDue,
} from "../model/snapshot-rows.ts";
import { volumeDeleted } from "../model/volume-rows.ts";
import { Captures } from "./captures.ts";
import { DirectBoots } from "./direct-boot.ts";
import { type DiskKey, type DiskKeySource, diskKeys } from "./disk-key.ts";
import type { HostParts } from "./host-parts.ts";
import { type HostRows, machineDirectory, overlayPath, readHostRows } from "./host-rows.ts";
import { InstanceDriver } from "./instance-driver.ts";
import { forgetMachine } from "./launch-machine.ts";

/** Without a poke, for what other processes write and what was missed. */
const LOOK_INTERVAL_MS = 5_000;
/** Leftovers are looked for this often, and once at the start. */
const SWEEP_INTERVAL_MS = 60_000;
/** A terminated instance's console can be read for as long as EC2 shows the instance. */
const FORGET_AFTER_MS = 3_600_000;

export class Host {
  readonly #parts: HostParts;
  readonly #drivers = new Map<string, InstanceDriver>();
  readonly #captures: Captures;
  readonly #directBoots: DirectBoots;
  readonly #diskKeyOf: (owner: AccountId) => DiskKeySource;
  /** Uploads that are being completed. */
  readonly #completing = new Map<SnapshotId, Promise<void>>();
  #looking: Promise<void> | null = null;
  #again = false;
  #closed = false;
  #rulesInForce = "";
  #sweptAt = Number.NEGATIVE_INFINITY;
  #timer: NodeJS.Timeout | null = null;

  constructor(parts: HostParts) {
    this.#parts = parts;
    this.#directBoots = new DirectBoots(parts.storage);
    this.#diskKeyOf = diskKeys((owner) => parts.storage.diskSecret(owner));
    this.#captures = new Captures(parts, (id) => this.#drivers.get(id), this.#diskKeyOf);
  }

  /**
   * Takes up what runs already, then keeps looking. Machines of an earlier server are adopted, its captures read on.
   * @throws Error when the network can't be brought to what the rows say
   */
  async start(): Promise<void> {
    const rows = await readHostRows(this.#parts.database.read);
    await this.#parts.network.sync([...rows.nics.values()], rows.groups);
    this.#rulesInForce = rulesKey(rows);
    await this.#captures.endLeftovers();
    const due = await capturesDue(this.#parts.database.read);
    await Promise.all(
      rows.instances.map(async ({ id }) => {
        const driver = this.#driver(id);
        try {
          await driver.adopt();
          const unfinished = await driver.machine?.unfinishedCapture();
          if (unfinished != null) this.#captures.resume(driver, due, unfinished);
        } catch (error) {
          this.#parts.log.error({ instanceId: id, error: chain(error) }, "could not adopt a machine");
        }
      }),
    );
    this.#timer = setInterval(() => this.poke(), LOOK_INTERVAL_MS);
    this.#timer.unref();
    this.poke();
  }

  /** Look at the rows, now or right after the look that is under way. Never throws. */
  poke(): void {
    if (this.#closed) return;
    if (this.#looking !== null) {
      this.#again = true;
      return;
    }
    this.#looking = this.#look()
      .catch((error) => this.#parts.log.error({ error: chain(error) }, "could not compare rows with machines"))
      .finally(() => {
        this.#looking = null;
        if (this.#again) {
          this.#again = false;
          this.poke();
        }
      });
  }

  driver(id: InstanceId): InstanceDriver | undefined {
    return this.#drivers.get(id);
  }

  /** Memory and processors of the machines that run or are to run. */
  async committed(): Promise<readonly { readonly type: string }[]> {
    return this.#parts.database.read
      .selectFrom("instances")
      .select("type")
      .where("state", "in", ["pending", "running", "stopping", "shutting-down"])
      .execute();
  }

  /** Stops looking. Guests go on, and so do the instants that were frozen for captures. */
  async close(): Promise<void> {
    this.#closed = true;
    if (this.#timer !== null) clearInterval(this.#timer);
    await this.#looking;
    await this.#captures.close();
    await Promise.all(this.#completing.values());
    await Promise.all([...this.#drivers.values()].map((driver) => driver.close()));
  }

  async #diskKeyOfInstance(id: InstanceId): Promise<DiskKey | null> {
    const { account_id: owner } = await this.#parts.database.read
      .selectFrom("instances")
      .select("account_id")
      .where("id", "=", id)
      .executeTakeFirstOrThrow();
    return this.#diskKeyOf(accountId(owner))();
  }

  async #look(): Promise<void> {
    const rows = await readHostRows(this.#parts.database.read);
    // Disks are made meanwhile; a driver waits before it gives a machine its network.
    const rulesInForce = this.#applyRules(rows);
    rulesInForce.catch(() => {}); // thrown below
    for (const instance of rows.instances) {
      this.#driver(instance.id).converge({
        instance,
        volumes: rows.volumes.get(instance.id) ?? [],
        nic: rows.nics.get(instance.id) ?? null,
        rulesInForce,
      });
    }
    await rulesInForce;
    this.#captures.start(await capturesDue(this.#parts.database.read));
    await this.#copy();
    await this.#completeUploads();
    await this.#deleteVolumes();
    // Not by the wall clock: set back by a day, it would leave everything lying for a day.
    const now = performance.now();
    if (now - this.#sweptAt >= SWEEP_INTERVAL_MS) {
      this.#sweptAt = now;
      await this.#sweep(rows);
    }
  }

  #driver(id: InstanceId): InstanceDriver {
    let driver = this.#drivers.get(id);
    if (driver === undefined) {
      driver = new InstanceDriver(id, {
        diskKey: () => this.#diskKeyOfInstance(id),
        parts: this.#parts,
        poke: () => this.poke(),
        volumesFree: (ids) => this.#captures.volumesFree(ids),
        directBoots: this.#directBoots,
      });
      this.#drivers.set(id, driver);
    }
    return driver;
  }

  /** Security groups and memberships, whenever they differ from what is in force. */
  async #applyRules(rows: HostRows): Promise<void> {
    const key = rulesKey(rows);
    if (key === this.#rulesInForce) return;
    await this.#parts.network.setRules(rows.groups, [...rows.nics.values()]);
    this.#rulesInForce = key;
  }

  /** Snapshots that share another's content: a record in the store, no byte is moved. */
  async #copy(): Promise<void> {
    const { database, storage, clock, log } = this.#parts;
    for (const { id, from } of await copiesDue(database.read)) {
      try {
        const content = await storage.copy(id, from);
        await database.transaction(async (tx) => {
          await snapshotCompleted(tx, id, { ...content, at: clock.now() });
          await settleImages(tx);
        });
      } catch (error) {
        log.warn({ snapshotId: id, from, error: chain(error) }, "could not copy a snapshot");
        await database.transaction(async (tx) => {
          await snapshotFailed(tx, id, chain(error));
          await settleImages(tx);
        });
      }
    }
  }

  /** Starts what is due and not yet under way: a large upload takes its time, and nothing else waits for it. */
  async #completeUploads(): Promise<void> {
    for (const id of await sealedUploads(this.#parts.database.read)) {
      if (this.#completing.has(id)) continue;
      const done = this.#completeUpload(id)
        .catch((error) => this.#parts.log.warn({ snapshotId: id, error: chain(error) }, "could not end an upload"))
        .finally(() => this.#completing.delete(id));
      this.#completing.set(id, done);
    }
  }

  /** What a client has written through EBS direct becomes a snapshot. A server that dies in it does it again. */
  async #completeUpload(id: SnapshotId): Promise<void> {
    const { database, storage, clock } = this.#parts;
    try {
      const content = await storage.completeUpload(id);
      await database.transaction(async (tx) => {
        await snapshotCompleted(tx, id, { ...content, at: clock.now() });
        await settleImages(tx);
      });
    } catch (error) {
      if (this.#closed) return;
      await database.transaction(async (tx) => {
        await snapshotFailed(tx, id, chain(error));
        await settleImages(tx);
      });
      await storage.dropUpload(id);
      throw error;
    }
  }

  async #deleteVolumes(): Promise<void> {
    const { database, clock, directory } = this.#parts;
    const rows = await database.read.selectFrom("volumes").select("id").where("state", "=", "deleting").execute();
    for (const row of rows) {
      const id = row.id as VolumeId;
      if (this.#captures.isReading(id)) continue;
      await rm(overlayPath(directory, id), { force: true });
      await database.transaction((tx) => volumeDeleted(tx, id, clock.now()));
    }
  }

  /** What no row speaks of any more: contents of deleted snapshots, overlays, directories and drivers of old instances. */
  async #sweep(rows: HostRows): Promise<void> {
    await this.#endSilentUploads();
    await this.#dropSnapshots();
    await this.#dropOverlays();
    await this.#forgetMachines(rows);
  }

  async #endSilentUploads(): Promise<void> {
    const { database, storage, clock } = this.#parts;
    for (const snapshot of await uploadsDue(database.read)) {
      const upload = uploadOf(snapshot);
      if (upload === null || !uploadTimedOut(upload, clock.now())) continue;
      await database.transaction((tx) => snapshotFailed(tx, snapshot.id, "The upload was not completed in time"));
      await storage.dropUpload(snapshot.id);
    }
  }

  async #dropSnapshots(): Promise<void> {
    const { database, storage, log } = this.#parts;
    // The store is asked first: a snapshot that comes into it meanwhile has its row already.
    const stored = await storage.list();
    const keep: ReadonlySet<SnapshotId> = await snapshotsToKeep(database.read);
    for (const id of stored) {
      if (keep.has(id)) continue;
      await storage.delete(id);
      log.info({ snapshotId: id }, "dropped the content of a snapshot that nothing refers to");
    }
  }

  async #dropOverlays(): Promise<void> {
    const directory = join(this.#parts.directory, "volumes");
    const files = await readdir(directory).catch((error) => {
      if (systemCode(error) === "ENOENT") return [];
      throw error;
    });
    const alive = new Set(
      (
        await this.#parts.database.read.selectFrom("volumes").select("id").where("state", "<>", "deleted").execute()
      ).map((row) => row.id),
    );
    for (const file of files) {
      const id = file.replace(/\.qcow2$/, "");
      if (isId("volume", id) && !alive.has(id)) await rm(join(directory, file), { force: true });
    }
  }

  async #forgetMachines(rows: HostRows): Promise<void> {
    const alive = new Set<string>(rows.instances.map((instance) => instance.id));
    const directory = join(this.#parts.directory, "machines");
    const names = await readdir(directory).catch(() => []);
    const since = new Date(this.#parts.clock.now().getTime() - FORGET_AFTER_MS).toISOString();
    for (const id of new Set([...names, ...this.#drivers.keys()])) {
      if (alive.has(id) || !isId("instance", id)) continue;
      const row = await this.#parts.database.read
        .selectFrom("instances")
        .select("changed_at")
        .where("id", "=", id)
        .executeTakeFirst();
      if (row !== undefined && row.changed_at > since) continue;
      await this.#drivers.get(id)?.close();
      this.#drivers.delete(id);
      await forgetMachine(machineDirectory(this.#parts.directory, id));
    }
  }
}

/** Equal when the same rules hold for the same members. */
const rulesKey = (rows: HostRows): string => JSON.stringify([rows.groups, [...rows.nics.values()]]);

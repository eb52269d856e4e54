// Captures that are due: snapshot rows `pending` that are to be read from a volume. All of one group show one instant.
//
//   volume of a running machine   the machine freezes a view (QMP), storage reads it while the guest goes on
//   any other volume              its overlay is opened read-only by qemu-storage-daemon
//
// A server that dies while reading leaves the frozen view in QEMU: the next one reads on, of the same instant. One that
// dies before the instant leaves rows, and the capture begins anew.
import { mkdir, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { chain } from "../base/errors.ts";
import { type AccountId, accountId, type SnapshotId, type VolumeId } from "../base/ids.ts";
import type { Db } from "../database/database.ts";
import type { CaptureSpec } from "../model/disk.ts";
import { settleImages } from "../model/image-rows.ts";
import type { Snapshot } from "../model/snapshot.ts";
import { type CaptureGroup, snapshotCompleted, snapshotFailed, snapshotProgress } from "../model/snapshot-rows.ts";
import type { Volume } from "../model/volume.ts";
import { volumeOf } from "../model/volume-rows.ts";
import type { DiskKeySource } from "./disk-key.ts";
import type { HostParts } from "./host-parts.ts";
import { baseOf, captureDirectory, overlayPath, volumeBytes } from "./host-rows.ts";
import { instanceDirectory } from "./instance-directory.ts";
import type { InstanceDriver } from "./instance-driver.ts";
import type { CaptureRequest, MachineCapture } from "./machine-capture.ts";
import { captureStopped, endStoppedCapture, type StoppedCaptureRequest } from "./stopped-capture.ts";

/** Progress is written down when it has grown by so many per cent, but not with every one of a quick capture's. */
const PROGRESS_STEP = 5;
/** Each is a durable write to the database, which other calls wait for while the capture keeps the disk busy. */
const PROGRESS_MS = 1_000;

export class Captures {
  readonly #parts: HostParts;
  readonly #driverOf: (instanceId: string) => InstanceDriver | undefined;
  readonly #diskKeyOf: (owner: AccountId) => DiskKeySource;
  /** Groups under way. */
  readonly #groups = new Map<string, Promise<void>>();
  /** Snapshots being read, and how to give one up. */
  readonly #reading = new Map<SnapshotId, AbortController>();
  /** Volumes being read. */
  readonly #volumes = new Map<VolumeId, Promise<void>>();
  readonly #closing = new AbortController();

  constructor(
    parts: HostParts,
    driverOf: (instanceId: string) => InstanceDriver | undefined,
    diskKeyOf: (owner: AccountId) => DiskKeySource,
  ) {
    this.#parts = parts;
    this.#driverOf = driverOf;
    this.#diskKeyOf = diskKeyOf;
  }

  /** Resolves when none of the volumes is being read. */
  async volumesFree(ids: readonly VolumeId[]): Promise<void> {
    for (const id of ids) await this.#volumes.get(id);
  }

  isReading(id: VolumeId): boolean {
    return this.#volumes.has(id);
  }

  /** Starts what is due and not yet under way, and gives up what is under way and due no more. Returns at once. */
  start(due: readonly CaptureGroup[]): void {
    const wanted = new Set(due.flatMap((group) => group.snapshots.map((snapshot) => snapshot.id)));
    for (const [id, reading] of this.#reading)
      if (!wanted.has(id)) reading.abort(new Error("the snapshot was deleted"));
    for (const group of due) {
      if (this.#groups.has(group.group)) continue;
      // One capture of a volume at a time: a second one waits for the first.
      const ids = group.snapshots.flatMap((snapshot) => snapshot.volume_id ?? []);
      const before = ids.flatMap((id) => this.#volumes.get(id) ?? []);
      this.#track(group, async () => {
        await Promise.all(before);
        await this.#capture(group);
      });
    }
  }

  /** Reads on what an earlier server began; the rows tell what the snapshots are for. */
  resume(driver: InstanceDriver, due: readonly CaptureGroup[], capture: MachineCapture): void {
    const wanted = new Map(due.flatMap((group) => group.snapshots.map((snapshot) => [snapshot.id, group] as const)));
    const groups = new Set(capture.volumes.flatMap((volume) => wanted.get(volume.snapshotId) ?? []));
    for (const group of groups) {
      this.#track(group, () => this.#readAll(group, capture.volumes, (id, ok) => capture.finishVolume(id, ok)));
    }
    for (const { snapshotId } of capture.volumes) {
      if (wanted.has(snapshotId)) continue;
      // Nobody waits for it any more: the row was deleted, or had failed.
      capture.finishVolume(snapshotId, false).catch((error) => this.#warn(error, snapshotId, driver.id));
    }
  }

  /** Ends what a killed server left open of disks that no machine holds: it would keep their machines from starting. */
  async endLeftovers(): Promise<void> {
    const directory = join(this.#parts.directory, "captures");
    for (const name of await readdir(directory).catch(() => [])) {
      await endStoppedCapture(instanceDirectory(join(directory, name)));
      await rm(join(directory, name), { recursive: true, force: true });
    }
  }

  /** Stops reading. What machines have frozen stays for the next server. */
  async close(): Promise<void> {
    this.#closing.abort(new Error("the server is stopping"));
    await Promise.allSettled(this.#groups.values());
  }

  #track(group: CaptureGroup, work: () => Promise<void>): void {
    const done = work()
      .catch(async (error) => {
        if (this.#closing.signal.aborted) return;
        this.#warn(error, group.group);
        await this.#fail(group.snapshots, chain(error));
      })
      .catch((error) => this.#warn(error, group.group))
      .finally(() => {
        this.#groups.delete(group.group);
        for (const { volume_id: id } of group.snapshots) {
          if (id !== null && this.#volumes.get(id) === done) this.#volumes.delete(id);
        }
      });
    this.#groups.set(group.group, done);
    for (const { volume_id: id } of group.snapshots) if (id !== null) this.#volumes.set(id, done);
  }

  async #capture(group: CaptureGroup): Promise<void> {
    const volumes = await this.#volumesOf(group.snapshots);
    const requests = await Promise.all(
      group.snapshots.map((snapshot): Promise<CaptureRequest> => this.#request(snapshot, volumes)),
    );
    const instanceId = [...volumes.values()].find((volume) => volume.instance_id !== null)?.instance_id;
    const driver = instanceId == null ? undefined : this.#driverOf(instanceId);
    const capture = await driver?.beginCapture(requests, await this.#wantsReboot(group));
    if (capture != null) {
      await this.#readAll(group, capture.volumes, (id, ok) => capture.finishVolume(id, ok));
      return;
    }
    const path = captureDirectory(this.#parts.directory, group.group);
    await mkdir(path, { recursive: true, mode: 0o700 });
    const stopped = await captureStopped(path, await this.#stoppedRequests(requests, volumes), {
      log: this.#parts.log,
      // One call made them: they are of one account.
      diskKey: this.#diskKeyOf(accountId(group.snapshots[0]?.account_id ?? "")),
    });
    try {
      await this.#readAll(group, stopped.volumes, (id, ok) => stopped.finishVolume(id, ok));
    } finally {
      // Nothing of it outlives this server: the next one begins anew, of disks that lie still.
      await stopped.finish(false);
      await rm(path, { recursive: true, force: true });
    }
  }

  #stoppedRequests(
    requests: readonly CaptureRequest[],
    volumes: ReadonlyMap<string, Volume>,
  ): Promise<StoppedCaptureRequest[]> {
    return Promise.all(
      requests.map(async ({ volumeId, ...request }) => {
        const volume = volumes.get(volumeId);
        if (volume === undefined) throw new Error(`${volumeId} is gone`);
        const base = baseOf(volume);
        return {
          ...request,
          disk: {
            volumeId,
            deviceName: volume.device_name ?? "",
            overlayPath: overlayPath(this.#parts.directory, volumeId),
            bytes: volumeBytes(volume),
            base: base === null ? null : await this.#parts.storage.export(base),
            root: volume.is_root === 1,
          },
        };
      }),
    );
  }

  async #request(snapshot: Snapshot, volumes: ReadonlyMap<string, Volume>): Promise<CaptureRequest> {
    const volume = volumes.get(snapshot.volume_id ?? "");
    if (volume === undefined) throw new Error(`the volume ${snapshot.volume_id} is gone`);
    const last = volume.captured_as;
    return {
      volumeId: volume.id,
      snapshotId: snapshot.id,
      lastSnapshotId: last !== null && (await this.#parts.storage.has(last)) ? last : null,
      launchSnapshotId: volume.snapshot_id,
    };
  }

  async #volumesOf(snapshots: readonly Snapshot[]): Promise<Map<string, Volume>> {
    const ids = snapshots.flatMap((snapshot) => (snapshot.volume_id === null ? [] : [snapshot.volume_id]));
    const rows = await this.#parts.database.read
      .selectFrom("volumes")
      .selectAll()
      .where("id", "in", ids)
      .where("state", "<>", "deleted")
      .execute();
    return new Map(rows.map((row) => [row.id, volumeOf(row)]));
  }

  /** CreateImage without NoReboot: the guest is shut down for its instant. */
  async #wantsReboot({ group }: CaptureGroup): Promise<boolean> {
    const row = await this.#parts.database.read
      .selectFrom("images")
      .select("reboot")
      .where("id", "=", group)
      .executeTakeFirst();
    return row?.reboot === 1;
  }

  /** Reads every volume of the group; each that is durable is said to be so at once. */
  async #readAll(
    group: CaptureGroup,
    volumes: readonly CaptureSpec[],
    finish: (id: SnapshotId, ok: boolean) => Promise<void>,
  ): Promise<void> {
    await Promise.all(
      volumes.flatMap((volume) => {
        const row = group.snapshots.find((snapshot) => snapshot.id === volume.snapshotId);
        return row === undefined ? [] : [this.#read(volume, accountId(row.account_id), finish)];
      }),
    );
    const read = new Set(volumes.map((volume) => volume.snapshotId));
    // An instant that was only half taken up again, after a crash: the rest can't be had any more.
    const lost = group.snapshots.filter((snapshot) => !read.has(snapshot.id));
    if (lost.length > 0) await this.#fail(lost, "its instant was lost in a restart");
  }

  async #read(
    spec: CaptureSpec,
    owner: AccountId,
    finish: (id: SnapshotId, ok: boolean) => Promise<void>,
  ): Promise<void> {
    const { database, storage, clock } = this.#parts;
    const { snapshotId } = spec;
    const reading = new AbortController();
    this.#reading.set(snapshotId, reading);
    let shown = 0;
    let shownAt = performance.now();
    try {
      const content = await storage.capture(spec, {
        owner,
        signal: AbortSignal.any([this.#closing.signal, reading.signal]),
        onProgress: ({ doneBytes, totalBytes }) => {
          const percent = totalBytes === 0 ? 0 : Math.floor((doneBytes / totalBytes) * 100);
          if (percent < shown + PROGRESS_STEP || performance.now() < shownAt + PROGRESS_MS) return;
          shown = percent;
          shownAt = performance.now();
          database
            .transaction((tx) => snapshotProgress(tx, snapshotId, percent))
            .catch((error) => this.#warn(error, snapshotId));
        },
      });
      await database.transaction(async (tx) => {
        await snapshotCompleted(tx, snapshotId, { ...content, at: clock.now() });
        await settleImages(tx);
      });
      await finish(snapshotId, true);
    } catch (cause) {
      // A server that stops leaves the frozen view for the next one.
      if (this.#closing.signal.aborted) return;
      await finish(snapshotId, false).catch((error) => this.#warn(error, snapshotId));
      // Deleted meanwhile: there is nobody to tell.
      if (!reading.signal.aborted) await this.#failOne(snapshotId, chain(cause));
    } finally {
      this.#reading.delete(snapshotId);
    }
  }

  #failOne(id: SnapshotId, message: string): Promise<void> {
    this.#parts.log.warn({ snapshotId: id, error: message }, "a capture failed");
    return this.#parts.database.transaction(async (tx: Db) => {
      await snapshotFailed(tx, id, message);
      await settleImages(tx);
    });
  }

  async #fail(snapshots: readonly Snapshot[], message: string): Promise<void> {
    for (const { id } of snapshots) await this.#failOne(id, message);
  }

  #warn(error: unknown, what: string, instanceId?: string): void {
    this.#parts.log.warn({ capture: what, instanceId, error: chain(error) }, "a capture met a problem");
  }
}

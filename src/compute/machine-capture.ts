// Captures of a running machine: what its disks held at one instant, read at leisure while the guest writes on.
//
// Fleecing: per disk a `blockdev-backup` with sync=none copies what the guest is about to overwrite into a temporary
// file whose backing is the live disk; seen through that file the disk stands still. All disks of a capture begin in ONE
// transaction, together with their new dirty bitmaps: 3 to 6 ms, no pause that a guest can measure.
//
//   begin:   overlay <- fl-snap-… (qcow2, temporary)  = export snap-… on the instance's NBD socket
//   finish:  export, job, node and file go; see dirty-bitmaps.ts for what becomes of the bitmaps
//
// A server that dies in between leaves job, node and export at work in QEMU and a note (`snap-….json`) beside the file:
// the next server goes on reading, of the same instant.
//
// Known limit: when the host's disk is full, the copy before a guest's write fails, and with it that write.
import { readFile, rm, writeFile } from "node:fs/promises";
import { chain } from "../base/errors.ts";
import type { SnapshotId, VolumeId } from "../base/ids.ts";
import type { Log } from "../base/log.ts";
import type { CaptureSpec } from "../model/disk.ts";
import { volumeSerial } from "./block-nodes.ts";
import { addBitmap, bitmapAction, bitmapName, mergeBack, reconcileBitmaps } from "./dirty-bitmaps.ts";
import { type DiskKeySource, encryptOption } from "./disk-key.ts";
import { AGENT_CHARDEV, whileFrozen } from "./guest-agent.ts";
import { captureFile, capturesOnDisk, fleeceFile, type InstanceDirectory } from "./instance-directory.ts";
import { createQcow2 } from "./qcow2.ts";
import { type Qmp, QmpClosedError, QmpError } from "./qmp.ts";
import type { QmpBlockNode, TransactionAction } from "./qmp-schema.ts";

export interface CaptureRequest {
  readonly volumeId: VolumeId;
  /** The snapshot to be. */
  readonly snapshotId: SnapshotId;
  /** The snapshot of this volume that finished last and still has its blocks; `null`: none. */
  readonly lastSnapshotId: SnapshotId | null;
  /** What the volume was made from and lies over; `null`: it was made empty. */
  readonly launchSnapshotId: SnapshotId | null;
}

/** One volume at the capture's instant, as storage reads it. */
export interface VolumeCapture extends CaptureSpec {
  readonly volumeId: VolumeId;
  readonly source: Extract<CaptureSpec["source"], { kind: "nbd" }>;
}

export interface MachineCapture {
  readonly volumes: readonly VolumeCapture[];
  /** The guest's agent froze its filesystems for the instant; else it is as after a power cut, which EC2's are too. */
  readonly frozen: boolean;
  /** One volume is read (`ok`: its snapshot is durable) or given up. May be called again after a failure. */
  finishVolume(snapshotId: SnapshotId, ok: boolean): Promise<void>;
  /** `finishVolume` for those that still run. */
  finish(ok: boolean): Promise<void>;
  /** `finish(false)`. */
  abort(): Promise<void>;
}

/** The handle on captures of `volumes`, given how one of them ends. */
export function captureHandle(
  volumes: readonly VolumeCapture[],
  frozen: boolean,
  finishVolume: (volume: VolumeCapture, ok: boolean) => Promise<void>,
): MachineCapture {
  const finished = new Set<SnapshotId>();
  const finishOne = async (snapshotId: SnapshotId, ok: boolean) => {
    const volume = volumes.find((one) => one.snapshotId === snapshotId);
    if (!volume) throw new Error(`${snapshotId} is no part of this capture`);
    if (finished.has(snapshotId)) return;
    await finishVolume(volume, ok);
    finished.add(snapshotId);
  };
  const finish = async (ok: boolean) => {
    for (const { snapshotId } of volumes) await finishOne(snapshotId, ok);
  };
  return { volumes, frozen, finishVolume: finishOne, finish, abort: () => finish(false) };
}

/** The volume is being captured already: one at a time. */
export class CaptureBusyError extends Error {
  override readonly name = "CaptureBusyError";
}

/** The machine has no such volume. */
export class NotAttachedError extends Error {
  override readonly name = "NotAttachedError";
}

const EVENT_LIMIT_MS = 30_000;

const fleeceNode = (snapshotId: SnapshotId): string => `fl-${snapshotId}`;
const exportId = (snapshotId: SnapshotId): string => `ex-${snapshotId}`;

export const changedSinceBitmap = (base: SnapshotId): string => `qemu:dirty-bitmap:${bitmapName(base)}`;
export const ALLOCATION_DEPTH = "qemu:allocation-depth";

export class MachineCaptures {
  readonly #qmp: () => Qmp;
  readonly #directory: InstanceDirectory;
  readonly #own: (path: string) => void;
  readonly #log: Log;
  readonly #diskKey: DiskKeySource;
  /** Volumes with a capture under way. */
  readonly #busy = new Map<VolumeId, SnapshotId>();

  /** @param diskKey  gives what QEMU has, too */
  constructor(
    qmp: () => Qmp,
    directory: InstanceDirectory,
    own: (path: string) => void,
    log: Log,
    diskKey: DiskKeySource,
  ) {
    this.#qmp = qmp;
    this.#directory = directory;
    this.#own = own;
    this.#log = log;
    this.#diskKey = diskKey;
  }

  isCapturing(volumeId: VolumeId): boolean {
    return this.#busy.has(volumeId);
  }

  /**
   * The instant lies within this call; all volumes share it. Before and after it, 35 ms of preparation; a guest agent
   * that answers adds its freeze. Nothing remains of a call that throws.
   *
   * @throws CaptureBusyError, NotAttachedError
   */
  async begin(
    requests: readonly CaptureRequest[],
    options: { readonly freeze?: boolean } = {},
  ): Promise<MachineCapture> {
    for (const { volumeId } of requests) {
      const running = this.#busy.get(volumeId);
      if (running !== undefined) throw new CaptureBusyError(`${volumeId} is being captured for ${running}`);
    }
    for (const { volumeId, snapshotId } of requests) this.#busy.set(volumeId, snapshotId);
    try {
      const nodes = await this.#nodes();
      // All settle before anything is undone.
      const prepared = await Promise.allSettled(requests.map((request) => this.#prepare(request, nodes)));
      const volumes = prepared.map((one) => {
        if (one.status === "rejected") throw one.reason;
        return one.value;
      });
      await this.#startServer();
      const actions = volumes.flatMap(instantActions);
      const instant = () => this.#qmp().execute("transaction", { actions });
      let frozen = false;
      if (options.freeze === true && (await this.#hasAgent()))
        ({ frozen } = await whileFrozen(this.#directory.guestAgent, this.#log, instant));
      else await instant();
      for (const volume of volumes) await this.#export(volume);
      return this.#handle(volumes, frozen);
    } catch (cause) {
      for (const { snapshotId, volumeId } of requests) {
        await this.#tearDown(snapshotId, volumeId, false).catch((error) => {
          this.#log.warn({ snapshotId, error: chain(error) }, "could not undo a capture that never began");
        });
        this.#busy.delete(volumeId);
      }
      throw new Error(`begin to capture ${requests.map(({ volumeId }) => volumeId).join(", ")}`, { cause });
    }
  }

  /**
   * After adoption: the capture that another server began, if its instant can still be read; what can't is cleaned up.
   * Whoever gets it must finish it.
   */
  async unfinished(): Promise<MachineCapture | null> {
    const qmp = this.#qmp();
    const nodes = new Set((await this.#nodes()).map((node) => node["node-name"]));
    const exports = new Set((await qmp.execute("query-block-exports")).map((one) => one.id));
    const jobs = await qmp.execute("query-jobs");
    const volumes: VolumeCapture[] = [];
    for (const snapshotId of capturesOnDisk(this.#directory)) {
      const noted = await this.#readNote(snapshotId);
      const works =
        nodes.has(fleeceNode(snapshotId)) &&
        exports.has(exportId(snapshotId)) &&
        jobs.some((job) => job.id === fleeceNode(snapshotId) && job.status === "running");
      if (noted && works && !this.#busy.has(noted.volumeId)) {
        volumes.push(noted);
        this.#busy.set(noted.volumeId, snapshotId);
      } else if (!noted || this.#busy.get(noted.volumeId) !== snapshotId) {
        await this.#tearDown(snapshotId, noted?.volumeId ?? null, null);
      }
    }
    return volumes.length === 0 ? null : this.#handle(volumes, false);
  }

  #handle(volumes: readonly VolumeCapture[], frozen: boolean): MachineCapture {
    return captureHandle(volumes, frozen, async ({ snapshotId, volumeId }, ok) => {
      await this.#tearDown(snapshotId, volumeId, ok);
      this.#busy.delete(volumeId);
    });
  }

  /** Has a program in the guest opened the agent's port? To find out by asking takes as long as an answer may. */
  async #hasAgent(): Promise<boolean> {
    const devices = await this.#qmp().execute("query-chardev");
    return devices.some((device) => device.label === AGENT_CHARDEV && device["frontend-open"]);
  }

  async #nodes(): Promise<readonly QmpBlockNode[]> {
    return this.#qmp().execute("query-named-block-nodes", { flat: true });
  }

  /** Bitmaps put right, the note written, the fleecing file there and known to QEMU. */
  async #prepare(request: CaptureRequest, nodes: readonly QmpBlockNode[]): Promise<VolumeCapture> {
    const { volumeId, snapshotId } = request;
    const node = volumeSerial(volumeId);
    const live = nodes.find((one) => one["node-name"] === node);
    if (!live) throw new NotAttachedError(`${volumeId} is not attached`);
    const plan = reconcileBitmaps(node, live["dirty-bitmaps"] ?? [], request.lastSnapshotId);
    if (plan.actions.length > 0) await this.#qmp().execute("transaction", { actions: plan.actions });
    const bytes = live.image["virtual-size"];
    const volume: VolumeCapture = {
      volumeId,
      snapshotId,
      bytes,
      base: plan.base ?? request.launchSnapshotId,
      source: {
        kind: "nbd",
        socket: this.#directory.nbd,
        exportName: snapshotId,
        changed: plan.base === null ? ALLOCATION_DEPTH : changedSinceBitmap(plan.base),
      },
    };
    await writeFile(captureFile(this.#directory, snapshotId), JSON.stringify(volume));
    const file = fleeceFile(this.#directory, snapshotId);
    await rm(file, { force: true }); // of an attempt that a crash cut short
    // What the guest overwrites while this capture is read lies in it.
    const key = await this.#diskKey();
    await createQcow2(file, bytes, key === null ? null : await key.headers.create());
    this.#own(file);
    await this.#qmp().execute("blockdev-add", {
      driver: "qcow2",
      "node-name": fleeceNode(snapshotId),
      backing: node,
      ...(key === null ? {} : encryptOption),
      file: { driver: "file", filename: file },
    });
    return volume;
  }

  async #startServer(): Promise<void> {
    try {
      await this.#qmp().execute("nbd-server-start", {
        addr: { type: "unix", data: { path: this.#directory.nbd } },
        "max-connections": 0,
      });
    } catch (error) {
      if (!(error instanceof QmpError && /already running/.test(error.message))) throw error;
    }
  }

  async #export({ snapshotId, volumeId, source }: VolumeCapture): Promise<void> {
    const context =
      source.changed === ALLOCATION_DEPTH
        ? { "allocation-depth": true }
        : { bitmaps: [{ node: volumeSerial(volumeId), name: source.changed?.slice("qemu:dirty-bitmap:".length) }] };
    await this.#qmp().execute("block-export-add", {
      id: exportId(snapshotId),
      type: "nbd",
      "node-name": fleeceNode(snapshotId),
      name: snapshotId,
      writable: false,
      ...context,
    });
  }

  /**
   * Takes down whatever there is of a capture and settles its bitmaps. Safe to repeat.
   * @param ok  `null`: nobody knows here; the next capture's `reconcileBitmaps` does
   */
  async #tearDown(snapshotId: SnapshotId, volumeId: VolumeId | null, ok: boolean | null): Promise<void> {
    const noted = await this.#readNote(snapshotId);
    try {
      await this.#removeExport(snapshotId);
      await this.#cancelJob(snapshotId);
      const nodes = await this.#nodes();
      if (nodes.some((node) => node["node-name"] === fleeceNode(snapshotId))) {
        await this.#qmp().execute("blockdev-del", { "node-name": fleeceNode(snapshotId) });
      }
      const live = volumeId && nodes.find((node) => node["node-name"] === volumeSerial(volumeId));
      if (live && ok !== null) await this.#settleBitmaps(live, snapshotId, noted, ok);
    } catch (error) {
      // QEMU is gone: so are job, node and export, and its bitmaps are as it left them.
      if (!(error instanceof QmpClosedError)) throw new Error(`finish the capture for ${snapshotId}`, { cause: error });
    }
    await rm(fleeceFile(this.#directory, snapshotId), { force: true });
    await rm(captureFile(this.#directory, snapshotId), { force: true });
  }

  async #settleBitmaps(
    live: QmpBlockNode,
    snapshotId: SnapshotId,
    noted: VolumeCapture | null,
    ok: boolean,
  ): Promise<void> {
    const node = live["node-name"];
    const has = (name: string) => (live["dirty-bitmaps"] ?? []).some((bitmap) => bitmap.name === name);
    const young = bitmapName(snapshotId);
    // Without a valid bitmap there was nothing to freeze, and a failed capture's own is of no use.
    const old = noted?.base && noted.source.changed !== ALLOCATION_DEPTH ? bitmapName(noted.base) : null;
    const actions: TransactionAction[] = [];
    if (ok && old !== null && has(old)) actions.push(bitmapAction("remove", node, old));
    if (!ok && has(young)) {
      if (old !== null && has(old)) actions.push(...mergeBack(node, old, young));
      else actions.push(bitmapAction("remove", node, young));
    }
    if (actions.length > 0) await this.#qmp().execute("transaction", { actions });
  }

  async #removeExport(snapshotId: SnapshotId): Promise<void> {
    const qmp = this.#qmp();
    const id = exportId(snapshotId);
    if (!(await qmp.execute("query-block-exports")).some((one) => one.id === id)) return;
    const gone = qmp.nextEvent(({ event, data }) => event === "BLOCK_EXPORT_DELETED" && data.id === id, {
      limitMs: EVENT_LIMIT_MS,
    });
    await qmp.execute("block-export-del", { id, mode: "hard" });
    await gone;
  }

  async #cancelJob(snapshotId: SnapshotId): Promise<void> {
    const qmp = this.#qmp();
    const id = fleeceNode(snapshotId);
    if (!(await qmp.execute("query-jobs")).some((job) => job.id === id)) return;
    const over = qmp.nextEvent(
      ({ event, data }) => (event === "BLOCK_JOB_CANCELLED" || event === "BLOCK_JOB_COMPLETED") && data.device === id,
      { limitMs: EVENT_LIMIT_MS },
    );
    await qmp.execute("block-job-cancel", { device: id });
    await over;
  }

  async #readNote(snapshotId: SnapshotId): Promise<VolumeCapture | null> {
    try {
      const note: VolumeCapture = JSON.parse(await readFile(captureFile(this.#directory, snapshotId), "utf8"));
      return note.snapshotId === snapshotId ? note : null;
    } catch {
      return null; // none, or torn by a crash before the instant
    }
  }
}

function instantActions({ volumeId, snapshotId, base, source }: VolumeCapture): TransactionAction[] {
  const node = volumeSerial(volumeId);
  const fleece = fleeceNode(snapshotId);
  const actions: TransactionAction[] = [
    { type: "blockdev-backup", data: { "job-id": fleece, device: node, target: fleece, sync: "none" } },
    addBitmap(node, bitmapName(snapshotId)),
  ];
  if (base !== null && source.changed !== ALLOCATION_DEPTH)
    actions.push(bitmapAction("disable", node, bitmapName(base)));
  return actions;
}

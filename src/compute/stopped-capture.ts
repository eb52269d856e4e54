// Captures of volumes that no machine holds: of stopped instances, and volumes attached to none.
//
// The same graph as a running machine's, opened read-only by a qemu-storage-daemon, with an empty image on top in the
// place of the fleecing file, so that an allocation depth means the same in both cases and there is one way of reading.
// The overlay's lock keeps a machine from starting meanwhile, and a capture from starting over a running machine.
import { rm } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { chain } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import type { MachineDisk } from "../model/disk.ts";
import { volumeNodes, volumeSerial } from "./block-nodes.ts";
import { spawnDetached } from "./detached-process.ts";
import { bitmapName, reconcileBitmaps } from "./dirty-bitmaps.ts";
import { captureFile, fleeceFile, type InstanceDirectory, instanceDirectory } from "./instance-directory.ts";
import {
  ALLOCATION_DEPTH,
  type CaptureRequest,
  captureHandle,
  changedSinceBitmap,
  type MachineCapture,
  type VolumeCapture,
} from "./machine-capture.ts";
import { ensureOverlay, qemuImg } from "./overlay.ts";
import { createQcow2 } from "./qcow2.ts";
import {
  findProgram,
  identifyByPidFile,
  lastWords,
  QEMU_STORAGE_DAEMON,
  signalProcess,
  waitForEnd,
} from "./qemu-process.ts";
import type { QmpBitmap, TransactionAction } from "./qmp-schema.ts";

/** Up in 11 ms; it waits 10 s for a block server that is away. */
const START_LIMIT_MS = 20_000;
const END_LIMIT_MS = 10_000;

export interface StoppedCaptureRequest extends Omit<CaptureRequest, "volumeId"> {
  readonly disk: MachineDisk;
}

/**
 * Opens the volumes for reading. One at a time per directory; whatever an earlier server left there is ended first.
 *
 * @param path  a directory for sockets and temporary files: the instance's own
 * @throws Error when a machine holds one of the overlays; nothing is left running then
 */
export async function captureStopped(
  path: string,
  requests: readonly StoppedCaptureRequest[],
  { log }: { readonly log: Log },
): Promise<MachineCapture> {
  const directory = instanceDirectory(path);
  const daemon = await findProgram(QEMU_STORAGE_DAEMON);
  await endStoppedCapture(directory);
  try {
    const volumes = await Promise.all(requests.map((request) => prepare(directory, request)));
    const argv = requests.flatMap(({ disk, snapshotId }) => {
      const top = {
        driver: "file",
        "node-name": `${snapshotId}-file`,
        filename: fleeceFile(directory, snapshotId),
        "read-only": true,
      };
      const seen = {
        driver: "qcow2",
        "node-name": snapshotId,
        file: top["node-name"],
        backing: volumeSerial(disk.volumeId),
        "read-only": true,
      };
      return [...volumeNodes(disk, { readOnly: true }), top, seen].flatMap((node) => [
        "--blockdev",
        JSON.stringify(node),
      ]);
    });
    argv.push(
      "--nbd-server",
      JSON.stringify({ addr: { type: "unix", path: directory.storageDaemon }, "max-connections": 0 }),
    );
    for (const volume of volumes) argv.push("--export", JSON.stringify(exportOf(volume)));
    argv.push("--pidfile", directory.storageDaemonPid);
    await rm(directory.storageDaemonLog, { force: true });
    const child = await spawnDetached([daemon, ...argv], directory.path, directory.storageDaemonLog);
    await untilServing(directory, () => child.exit() !== null);
    return handle(directory, volumes, requests, log);
  } catch (cause) {
    await endStoppedCapture(directory);
    for (const { snapshotId } of requests) await rm(fleeceFile(directory, snapshotId), { force: true });
    throw new Error(`capture ${requests.map(({ disk }) => disk.volumeId).join(", ")}, stopped`, { cause });
  }
}

/** Ends a storage daemon that a server which is no more left in this directory: it holds the overlays' locks. */
export async function endStoppedCapture(directory: InstanceDirectory): Promise<void> {
  const running = identifyByPidFile(directory.storageDaemonPid, directory.storageDaemonPid);
  if (running) {
    signalProcess(running, "SIGTERM");
    if (!(await waitForEnd(running, END_LIMIT_MS))) {
      signalProcess(running, "SIGKILL");
      if (!(await waitForEnd(running, END_LIMIT_MS))) throw new Error(`process ${running.pid} survives SIGKILL`);
    }
  }
  await rm(directory.storageDaemon, { force: true });
  await rm(directory.storageDaemonPid, { force: true });
}

async function prepare(directory: InstanceDirectory, request: StoppedCaptureRequest): Promise<VolumeCapture> {
  const { disk, snapshotId, lastSnapshotId, launchSnapshotId } = request;
  await ensureOverlay(disk);
  const plan = reconcileBitmaps(volumeSerial(disk.volumeId), await overlayBitmaps(disk.overlayPath), lastSnapshotId);
  for (const action of plan.actions) await changeBitmap(disk.overlayPath, action);
  const file = fleeceFile(directory, snapshotId);
  await rm(file, { force: true });
  await rm(captureFile(directory, snapshotId), { force: true });
  await createQcow2(file, disk.bytes);
  return {
    volumeId: disk.volumeId,
    snapshotId,
    bytes: disk.bytes,
    base: plan.base ?? launchSnapshotId,
    source: {
      kind: "nbd",
      socket: directory.storageDaemon,
      exportName: snapshotId,
      changed: plan.base === null ? ALLOCATION_DEPTH : changedSinceBitmap(plan.base),
    },
  };
}

function exportOf({ volumeId, snapshotId, base, source }: VolumeCapture): Record<string, unknown> {
  const context =
    base === null || source.changed === ALLOCATION_DEPTH
      ? { "allocation-depth": true }
      : { bitmaps: [{ node: volumeSerial(volumeId), name: bitmapName(base) }] };
  return {
    type: "nbd",
    id: `ex-${snapshotId}`,
    "node-name": snapshotId,
    name: snapshotId,
    writable: false,
    ...context,
  };
}

/** qemu-storage-daemon writes its pid file when all that its arguments ask for is up. */
async function untilServing(directory: InstanceDirectory, hasEnded: () => boolean): Promise<void> {
  const until = performance.now() + START_LIMIT_MS;
  while (identifyByPidFile(directory.storageDaemonPid, directory.storageDaemonPid) === null) {
    if (hasEnded() || performance.now() >= until) {
      const words = await lastWords(directory.storageDaemonLog);
      throw new Error(`qemu-storage-daemon ${hasEnded() ? "ended at its start" : "does not come up"}: ${words}`);
    }
    await sleep(3);
  }
}

/** The daemon ends with the last volume; then each overlay gets the bitmap that the next capture starts from. */
function handle(
  directory: InstanceDirectory,
  volumes: readonly VolumeCapture[],
  requests: readonly StoppedCaptureRequest[],
  log: Log,
): MachineCapture {
  const outcomes = new Map<VolumeCapture, boolean>();
  return captureHandle(volumes, false, async (volume, ok) => {
    outcomes.set(volume, ok);
    if (outcomes.size < volumes.length) return;
    await endStoppedCapture(directory);
    for (const [n, one] of volumes.entries()) {
      await rm(fleeceFile(directory, one.snapshotId), { force: true });
      const disk = requests[n]?.disk;
      if (!disk || outcomes.get(one) !== true) continue; // the old bitmap is as it was
      await beginRecording(disk.overlayPath, one).catch((error) => {
        // Without it the next capture reads all that is allocated: slower, as right.
        log.warn({ volumeId: one.volumeId, error: chain(error) }, "could not add a dirty bitmap to a stopped volume");
      });
    }
  });
}

async function beginRecording(overlay: string, { snapshotId, base, source }: VolumeCapture): Promise<void> {
  await qemuImg(["bitmap", "--add", "-g", "65536", "-f", "qcow2", overlay, bitmapName(snapshotId)]);
  if (base !== null && source.changed !== ALLOCATION_DEPTH) {
    await qemuImg(["bitmap", "--remove", "-f", "qcow2", overlay, bitmapName(base)]);
  }
}

/** The bitmaps that a closed overlay holds, as QMP would tell them. */
async function overlayBitmaps(overlay: string): Promise<QmpBitmap[]> {
  const info: {
    "format-specific"?: { data?: { bitmaps?: { name: string; granularity: number; flags: string[] }[] } };
  } = JSON.parse(await qemuImg(["info", "--output=json", "-f", "qcow2", overlay]));
  return (info["format-specific"]?.data?.bitmaps ?? []).map(({ name, granularity, flags }) => ({
    name,
    granularity,
    count: 0,
    // `auto`: records as soon as the image is opened. `in-use`: was not closed.
    recording: flags.includes("auto"),
    busy: false,
    persistent: true,
    inconsistent: flags.includes("in-use"),
  }));
}

/** What a transaction does in a running QEMU, done to a closed overlay. */
async function changeBitmap(overlay: string, { type, data }: TransactionAction): Promise<void> {
  if (type === "block-dirty-bitmap-merge") {
    const sources = Array.isArray(data.bitmaps) ? data.bitmaps.map(String) : [];
    await qemuImg([
      "bitmap",
      ...sources.flatMap((name) => ["--merge", name]),
      "-f",
      "qcow2",
      overlay,
      String(data.target),
    ]);
    return;
  }
  const verb = type.slice("block-dirty-bitmap-".length);
  await qemuImg(["bitmap", `--${verb}`, "-f", "qcow2", overlay, String(data.name)]);
}

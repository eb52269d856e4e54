// Captures of volumes that no machine holds: of stopped instances, and volumes attached to none.
//
// The same graph as a running machine's, opened read-only by a qemu-storage-daemon, with an empty image on top in the
// place of the fleecing file, so that an allocation depth means the same in both cases and there is one way of reading.
// The overlay's lock keeps a machine from starting meanwhile, and a capture from starting over a running machine.
import { existsSync, writeFileSync } from "node:fs";
import { rm } from "node:fs/promises";
import { getPriority, setPriority } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";
import { chain } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import { startDetached } from "../base/programs.ts";
import type { MachineDisk } from "../model/disk.ts";
import { volumeNodes, volumeSerial } from "./block-nodes.ts";
import { bitmapName, reconcileBitmaps } from "./dirty-bitmaps.ts";
import { type DiskKey, type DiskKeySource, noDiskKey, secretObject, withSecretFile } from "./disk-key.ts";
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
const NICE = 10;

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
  { log, diskKey = noDiskKey }: { readonly log: Log; readonly diskKey?: DiskKeySource },
): Promise<MachineCapture> {
  const directory = instanceDirectory(path);
  const daemon = await findProgram(QEMU_STORAGE_DAEMON);
  await endStoppedCapture(directory);
  try {
    const key = await diskKey();
    const prepared = await Promise.all(requests.map((request) => prepare(directory, request, key)));
    const volumes = prepared.map(({ capture }) => capture);
    const encrypted = new Set(prepared.filter((one) => one.encrypted).map(({ capture }) => capture.volumeId));
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
      const nodes = volumeNodes(disk, { readOnly: true, encrypted: encrypted.has(disk.volumeId) });
      return [...nodes, top, seen].flatMap((node) => ["--blockdev", JSON.stringify(node)]);
    });
    if (encrypted.size > 0) argv.unshift("--object", secretObject);
    argv.push(
      "--nbd-server",
      JSON.stringify({ addr: { type: "unix", path: directory.storageDaemon }, "max-connections": 0 }),
    );
    for (const volume of volumes) argv.push("--export", JSON.stringify(exportOf(volume)));
    argv.push("--pidfile", directory.storageDaemonPid);
    await rm(directory.storageDaemonLog, { force: true });
    const child = await withSecretFile(encrypted.size === 0 ? null : key, undefined, (secret) =>
      startDetached([daemon, ...argv], directory.path, directory.storageDaemonLog, secret),
    );
    yieldToOthers(child.pid);
    await untilServing(directory, () => child.exit() !== null);
    return handle(directory, volumes, requests, { log, key });
  } catch (cause) {
    await endStoppedCapture(directory);
    for (const { snapshotId } of requests) await rm(fleeceFile(directory, snapshotId), { force: true });
    throw new Error(`capture ${requests.map(({ disk }) => disk.volumeId).join(", ")}, stopped`, { cause });
  }
}

/** As storage's own threads: whoever calls, and what guests do, comes first. */
function yieldToOthers(pid: number): void {
  try {
    setPriority(pid, Math.max(NICE, getPriority(pid)));
    // It leads a session of its own: where Linux shares the processor out by sessions, the session's weight is what counts.
    if (existsSync(`/proc/${pid}/autogroup`)) writeFileSync(`/proc/${pid}/autogroup`, String(NICE));
  } catch {
    // It has ended already, and whoever waits for it says why; or it keeps its weight.
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

async function prepare(
  directory: InstanceDirectory,
  request: StoppedCaptureRequest,
  key: DiskKey | null,
): Promise<{ readonly capture: VolumeCapture; readonly encrypted: boolean }> {
  const { disk, snapshotId, lastSnapshotId, launchSnapshotId } = request;
  const { encrypted } = await ensureOverlay(disk, key);
  const overlay = { path: disk.overlayPath, key };
  const plan = reconcileBitmaps(volumeSerial(disk.volumeId), await overlayBitmaps(overlay), lastSnapshotId);
  for (const action of plan.actions) await changeBitmap(overlay, action);
  const file = fleeceFile(directory, snapshotId);
  await rm(file, { force: true });
  await rm(captureFile(directory, snapshotId), { force: true });
  // Opened for reading: nothing is ever written to it.
  await createQcow2(file, disk.bytes);
  const capture: VolumeCapture = {
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
  return { capture, encrypted };
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
  { log, key }: { readonly log: Log; readonly key: DiskKey | null },
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
      await beginRecording({ path: disk.overlayPath, key }, one).catch((error) => {
        // Without it the next capture reads all that is allocated: slower, as right.
        log.warn({ volumeId: one.volumeId, error: chain(error) }, "could not add a dirty bitmap to a stopped volume");
      });
    }
  });
}

/** A closed overlay, and what opens it. */
interface Overlay {
  readonly path: string;
  readonly key: DiskKey | null;
}

async function beginRecording(overlay: Overlay, { snapshotId, base, source }: VolumeCapture): Promise<void> {
  await qemuImg(["bitmap", "--add", "-g", "65536"], overlay, [bitmapName(snapshotId)]);
  if (base !== null && source.changed !== ALLOCATION_DEPTH) {
    await qemuImg(["bitmap", "--remove"], overlay, [bitmapName(base)]);
  }
}

/** The bitmaps that a closed overlay holds, as QMP would tell them. */
async function overlayBitmaps(overlay: Overlay): Promise<QmpBitmap[]> {
  const info: {
    "format-specific"?: { data?: { bitmaps?: { name: string; granularity: number; flags: string[] }[] } };
  } = JSON.parse(await qemuImg(["info", "--output=json"], overlay));
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
async function changeBitmap(overlay: Overlay, { type, data }: TransactionAction): Promise<void> {
  if (type === "block-dirty-bitmap-merge") {
    const sources = Array.isArray(data.bitmaps) ? data.bitmaps.map(String) : [];
    await qemuImg(["bitmap", ...sources.flatMap((name) => ["--merge", name])], overlay, [String(data.target)]);
    return;
  }
  const verb = type.slice("block-dirty-bitmap-".length);
  await qemuImg(["bitmap", `--${verb}`], overlay, [String(data.name)]);
}

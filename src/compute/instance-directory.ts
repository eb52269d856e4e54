// Every name that an instance has on the host's disk. Nothing else in compute spells a file name.
//
// One directory per instance. Volumes' overlays may lie elsewhere (`MachineDisk.overlayPath`): they outlive instances.
//
//   machine.json     the MachineSpec that QEMU was started with, for whoever adopts it
//   pid              written and locked by QEMU as long as it lives
//   qemu.log         QEMU's stdout and stderr
//   qmp, qmp2        QMP sockets: the driver's own, and one for whoever looks at a machine that its driver holds
//   con, console.log the serial port: a socket for one interactive client, and all that the guest ever wrote
//   qga              the guest agent's channel
//   nbd              where a running machine shows captures
//   vars.fd          UEFI variables, a private copy
//   snap-….qcow2     a capture's fleecing file, gone when it ends
//   snap-….json      what that capture is, for a server that comes after a crash
//   qsd.…            a stopped machine's capture: socket, pid file, log of qemu-storage-daemon
//   screen.png       a screenshot on its way
import { existsSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { isId, type SnapshotId } from "../base/ids.ts";

/** `sun_path` has 108 bytes and QEMU keeps the last for a zero. */
const SOCKET_PATH_BYTES_MAX = 107;

export interface InstanceDirectory {
  readonly path: string;
  readonly spec: string;
  readonly pid: string;
  readonly log: string;
  readonly qmp: string;
  readonly qmpSpare: string;
  readonly console: string;
  readonly consoleLog: string;
  readonly guestAgent: string;
  readonly nbd: string;
  readonly uefiVars: string;
  readonly screenshot: string;
  readonly storageDaemon: string;
  readonly storageDaemonPid: string;
  readonly storageDaemonLog: string;
}

/**
 * The names in an instance's directory; touches nothing.
 * @throws Error when the path is so long that its sockets could not be bound
 */
export function instanceDirectory(path: string): InstanceDirectory {
  const sockets = { qmp: "qmp", qmpSpare: "qmp2", console: "con", guestAgent: "qga", nbd: "nbd", storageDaemon: "qsd" };
  for (const name of Object.values(sockets)) {
    const bytes = Buffer.byteLength(join(path, name));
    if (bytes > SOCKET_PATH_BYTES_MAX) {
      throw new Error(
        `the instance directory ${path} is too long: its socket ${name} would have a path of ${bytes} bytes, ` +
          `the system takes ${SOCKET_PATH_BYTES_MAX}; choose a data directory nearer to the root`,
      );
    }
  }
  return {
    path,
    spec: join(path, "machine.json"),
    pid: join(path, "pid"),
    log: join(path, "qemu.log"),
    qmp: join(path, sockets.qmp),
    qmpSpare: join(path, sockets.qmpSpare),
    console: join(path, sockets.console),
    consoleLog: join(path, "console.log"),
    guestAgent: join(path, sockets.guestAgent),
    nbd: join(path, sockets.nbd),
    uefiVars: join(path, "vars.fd"),
    screenshot: join(path, "screen.png"),
    storageDaemon: join(path, sockets.storageDaemon),
    storageDaemonPid: join(path, "qsd.pid"),
    storageDaemonLog: join(path, "qsd.log"),
  };
}

/** Where writes go that would have changed what a capture reads. */
export const fleeceFile = (directory: InstanceDirectory, snapshotId: SnapshotId): string =>
  join(directory.path, `${snapshotId}.qcow2`);

export const captureFile = (directory: InstanceDirectory, snapshotId: SnapshotId): string =>
  join(directory.path, `${snapshotId}.json`);

/** Snapshots of which a capture's file lies here, finished or not. */
export function capturesOnDisk(directory: InstanceDirectory): SnapshotId[] {
  const found = new Set<SnapshotId>();
  if (!existsSync(directory.path)) return [];
  for (const name of readdirSync(directory.path)) {
    const stem = name.replace(/\.(qcow2|json)$/, "");
    if (stem !== name && isId("snapshot", stem)) found.add(stem);
  }
  return [...found];
}

/** What only means something while a QEMU lives. The logs and UEFI variables stay. */
export function removeRunFiles(directory: InstanceDirectory): void {
  const { spec, pid, qmp, qmpSpare, console, guestAgent, nbd, screenshot } = directory;
  for (const file of [spec, pid, qmp, qmpSpare, console, guestAgent, nbd, screenshot]) rmSync(file, { force: true });
  for (const snapshotId of capturesOnDisk(directory)) {
    rmSync(fleeceFile(directory, snapshotId), { force: true });
    rmSync(captureFile(directory, snapshotId), { force: true });
  }
}

// Captures show one instant of all disks, exactly, while the guest writes on; and say truly what changed since the last.
//
// A copy is kept per snapshot, as storage would: made from the copy of its base and the extents that the capture calls
// changed. It must equal what the disks held at the instant, which the test learns by pausing the machine around it.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { closeSync, existsSync, openSync, readdirSync, readFileSync, readSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { chain } from "../../src/base/errors.ts";
import { newId, type SnapshotId } from "../../src/base/ids.ts";
import { silentLog } from "../../src/base/log.ts";
import { volumeSerial } from "../../src/compute/block-nodes.ts";
import { adoptMachine } from "../../src/compute/launch-machine.ts";
import type { Machine } from "../../src/compute/machine.ts";
import { CaptureBusyError, type MachineCapture, type VolumeCapture } from "../../src/compute/machine-capture.ts";
import type { MachineSpec } from "../../src/compute/machine-spec.ts";
import { Qmp } from "../../src/compute/qmp.ts";
import { captureStopped } from "../../src/compute/stopped-capture.ts";
import type { MachineDisk } from "../../src/model/disk.ts";
import { GUEST_DISK } from "./compute-guest.ts";
import { type Extent, NbdReader } from "./compute-nbd.ts";
import { reached, skipGuests, startWorld } from "./compute-world.ts";

const sha256 = (bytes: Buffer) => createHash("sha256").update(bytes).digest("hex");

/** The bytes at the top of a volume, through QEMU's spare monitor. Only of use while the machine is paused. */
async function liveBytes(spec: MachineSpec, disk: MachineDisk): Promise<Buffer> {
  const qmp = await Qmp.connect(join(spec.directory, "qmp2"));
  const node = volumeSerial(disk.volumeId);
  try {
    await qmp.execute("block-export-add", {
      id: "test",
      type: "nbd",
      "node-name": node,
      name: "test",
      writable: false,
    });
    const nbd = await NbdReader.open(join(spec.directory, "nbd"), "test", null);
    const bytes = await nbd.read(0, nbd.bytes);
    nbd.close();
    const gone = qmp.nextEvent(({ event }) => event === "BLOCK_EXPORT_DELETED", { limitMs: 10_000 });
    await qmp.execute("block-export-del", { id: "test", mode: "hard" });
    await gone;
    return bytes;
  } finally {
    qmp.close();
  }
}

const isChanged = ({ flags }: Extent, { source }: VolumeCapture): boolean =>
  source.changed?.startsWith("qemu:dirty-bitmap:") ? (flags & 1) === 1 : flags === 1 || flags === 2;

class Copies {
  readonly #copies = new Map<SnapshotId | null, Buffer>();

  constructor(launch: SnapshotId) {
    const file = openSync(GUEST_DISK, "r");
    const bytes = Buffer.alloc(64 << 20);
    readSync(file, bytes);
    closeSync(file);
    this.#copies.set(launch, bytes);
  }

  /** @returns bytes read */
  async take(volume: VolumeCapture): Promise<number> {
    const nbd = await NbdReader.open(volume.source.socket, volume.source.exportName, volume.source.changed);
    assert.equal(nbd.bytes, volume.bytes);
    const copy = Buffer.alloc(volume.bytes);
    if (volume.base !== null) this.#copies.get(volume.base)!.copy(copy);
    let read = 0;
    for (const extent of await nbd.extents()) {
      if (!isChanged(extent, volume)) continue;
      (await nbd.read(extent.offset, extent.length)).copy(copy, extent.offset);
      read += extent.length;
    }
    nbd.close();
    this.#copies.set(volume.snapshotId, copy);
    return read;
  }

  hash(snapshotId: SnapshotId): string {
    return sha256(this.#copies.get(snapshotId)!);
  }
}

/** Everything of captures that could be left over. */
async function leftovers(spec: MachineSpec): Promise<string[]> {
  const qmp = await Qmp.connect(join(spec.directory, "qmp2"));
  try {
    const nodes = (await qmp.execute("query-named-block-nodes", { flat: true })).map((node) => node["node-name"]);
    const jobs = (await qmp.execute("query-jobs")).map((job) => job.id);
    const exports = (await qmp.execute("query-block-exports")).map((one) => one.id);
    const files = readdirSync(spec.directory).filter((name) => name.startsWith("snap-"));
    return [...nodes.filter((name) => name.startsWith("fl-")), ...jobs, ...exports, ...files];
  } finally {
    qmp.close();
  }
}

/** Writes random blocks to both disks until the guest ends. */
const WRITER =
  "(while :; do dd if=/dev/urandom of=/dev/nvme1n1 bs=4k count=1 seek=$((RANDOM % 8192)) conv=notrunc,fsync 2>/dev/null;" +
  " dd if=/dev/urandom of=/file bs=4k count=1 seek=$((RANDOM % 1024)) conv=notrunc,fsync 2>/dev/null; done) & true";

test("captures of a running guest, of a stopped one and after its death are exact, whole or incremental", {
  skip: skipGuests,
  timeout: 300_000,
}, async (t) => {
  const world = await startWorld(t, { encrypted: true });
  const launch = newId("snapshot");
  const copies = new Copies(launch);
  const root = world.rootDisk();
  const data = world.emptyDisk();
  const disks = [root, data];
  const spec = world.spec({ disks });
  let machine: Machine = await world.launch(spec);
  let guest = await world.console(spec);
  await guest.run(
    "dd if=/dev/urandom of=/dev/nvme1n1 bs=1M count=8 2>/dev/null && dd if=/dev/urandom of=/file bs=1M count=4 2>/dev/null && sync",
  );

  /** What each volume's last finished capture was. */
  const last = new Map<MachineDisk, SnapshotId>();
  const requests = () =>
    disks.map((disk) => ({
      volumeId: disk.volumeId,
      snapshotId: newId("snapshot"),
      lastSnapshotId: last.get(disk) ?? null,
      launchSnapshotId: disk.root ? launch : null,
    }));
  /** Begins a capture, with the hashes that it must come to. */
  const beginAt = async (): Promise<{ capture: MachineCapture; truth: string[] }> => {
    await machine.pause();
    const capture = await machine.beginCapture(requests());
    const truth = [];
    for (const disk of disks) truth.push(sha256(await liveBytes(spec, disk)));
    await machine.resume();
    return { capture, truth };
  };
  const isOf = (disk: MachineDisk) => (volume: VolumeCapture) => volume.volumeId === disk.volumeId;
  /** @returns bytes read of each disk. A capture that was taken up again lists its volumes in any order. */
  const readAndCheck = async (capture: MachineCapture, truth: readonly string[]): Promise<number[]> => {
    const volumes = disks.map((disk) => capture.volumes.find(isOf(disk))!);
    const read = [];
    for (const volume of volumes) read.push(await copies.take(volume));
    assert.deepEqual(
      volumes.map(({ snapshotId }) => copies.hash(snapshotId)),
      truth,
    );
    return read;
  };
  const remember = (capture: MachineCapture) =>
    disks.forEach((disk) => void last.set(disk, capture.volumes.find(isOf(disk))!.snapshotId));

  await t.test("the first reads all that the overlay holds, over the launch snapshot", async () => {
    const { capture, truth } = await beginAt();
    assert.deepEqual(
      capture.volumes.map(({ base }) => base),
      [launch, null],
    );
    assert.deepEqual(
      capture.volumes.map(({ source }) => source.changed),
      ["qemu:allocation-depth", "qemu:allocation-depth"],
    );
    await guest.run(WRITER);
    await guest.run("dd if=/dev/urandom of=/dev/nvme1n1 bs=1M count=2 seek=6 conv=notrunc,fsync 2>/dev/null"); // into what is being read
    const read = await readAndCheck(capture, truth);
    assert.ok(read[0]! < 32 << 20, `of a disk of 64 MiB mostly in the base, ${read[0]} bytes were read`);
    await assert.rejects(machine.beginCapture(requests()), CaptureBusyError);
    await capture.finish(true);
    remember(capture);
    assert.deepEqual(await leftovers(spec), []);
  });

  await t.test("the next reads what changed since", async () => {
    const { capture, truth } = await beginAt();
    assert.deepEqual(
      capture.volumes.map(({ base }) => base),
      disks.map((disk) => last.get(disk)),
    );
    await readAndCheck(capture, truth);
    await capture.finish(true);
    remember(capture);
  });

  await t.test("one that failed takes nothing from the next", async () => {
    const { capture } = await beginAt();
    await guest.run("dd if=/dev/urandom of=/dev/nvme1n1 bs=1M count=1 seek=20 conv=notrunc,fsync 2>/dev/null");
    await capture.abort();
    assert.deepEqual(await leftovers(spec), []);
    const again = await beginAt();
    assert.deepEqual(
      again.capture.volumes.map(({ base }) => base),
      disks.map((disk) => last.get(disk)),
    );
    await readAndCheck(again.capture, again.truth);
    // Of two volumes, one may succeed alone.
    const [first, second] = again.capture.volumes;
    await again.capture.finishVolume(first!.snapshotId, true);
    await again.capture.finishVolume(second!.snapshotId, false);
    last.set(root, first!.snapshotId);
    const third = await beginAt();
    assert.deepEqual(
      third.capture.volumes.map(({ base }) => base),
      disks.map((disk) => last.get(disk)),
    );
    await readAndCheck(third.capture, third.truth);
    await third.capture.finish(true);
    remember(third.capture);
    assert.deepEqual(await leftovers(spec), []);
  });

  await t.test("one whose server died is read on by the next server", async () => {
    const { truth } = await beginAt();
    machine.release();
    machine = (await adoptMachine(spec.directory, { log: silentLog, diskKey: world.diskKey }))!;
    const found = (await machine.unfinishedCapture())!;
    assert.equal(found.volumes.length, 2);
    await readAndCheck(found, truth);
    await found.finish(true);
    remember(found);
    assert.equal(await machine.unfinishedCapture(), null);
    assert.deepEqual(await leftovers(spec), []);
  });

  await t.test("one whose server died and that is given up costs the next nothing", async () => {
    await beginAt();
    machine.release();
    machine = (await adoptMachine(spec.directory, { log: silentLog, diskKey: world.diskKey }))!;
    await (await machine.unfinishedCapture())!.abort();
    const { capture, truth } = await beginAt();
    assert.deepEqual(
      capture.volumes.map(({ base }) => base),
      disks.map((disk) => last.get(disk)),
    );
    await readAndCheck(capture, truth);
    await capture.finish(true);
    remember(capture);
  });

  const captureOff = () =>
    captureStopped(
      spec.directory,
      requests().map((request, n) => ({ ...request, disk: disks[n]! })),
      { log: silentLog, diskKey: world.diskKey },
    );

  await t.test("stopped: the same reader, from the bitmap that QEMU stored", async () => {
    await assert.rejects(captureOff(), (error) => /lock/.test(chain(error))); // a machine holds it
    await machine.powerdown({ timeoutMs: 60_000 });
    const capture = await captureOff();
    assert.deepEqual(
      capture.volumes.map(({ base }) => base),
      disks.map((disk) => last.get(disk)),
    );
    const truth = [];
    for (const volume of capture.volumes) {
      const nbd = await NbdReader.open(volume.source.socket, volume.source.exportName, null);
      truth.push(sha256(await nbd.read(0, nbd.bytes)));
      nbd.close();
    }
    const read = await readAndCheck(capture, truth);
    assert.ok(read[0]! > 0, "something had been written since");
    await capture.finish(true);
    remember(capture);
    assert.equal(existsSync(join(spec.directory, "qsd.pid")), false);
  });

  await t.test("stopped, again: nothing has changed, nothing is read", async () => {
    const capture = await captureOff();
    const read = [];
    for (const volume of capture.volumes) read.push(await copies.take(volume));
    assert.deepEqual(read, [0, 0]);
    assert.deepEqual(
      capture.volumes.map(({ snapshotId }) => copies.hash(snapshotId)),
      disks.map((disk) => copies.hash(last.get(disk)!)),
    );
    await capture.finish(true);
    remember(capture);
  });

  await t.test("started again: the bitmap made while it was stopped goes on", async () => {
    machine = await world.launch(spec);
    guest = await world.console(spec);
    await guest.run("dd if=/dev/urandom of=/dev/nvme1n1 bs=64k count=3 conv=notrunc,fsync 2>/dev/null");
    const { capture, truth } = await beginAt();
    const read = await readAndCheck(capture, truth);
    assert.equal(read[1], 3 * 65536);
    await capture.finish(true);
    remember(capture);
  });

  await t.test("after QEMU was killed: its bitmaps are void, all allocated is read", async () => {
    process.kill(machine.process.pid, "SIGKILL");
    await reached(machine, "ended");
    machine = await world.launch(spec);
    guest = await world.console(spec);
    const { capture, truth } = await beginAt();
    assert.deepEqual(
      capture.volumes.map(({ base }) => base),
      [launch, null],
    );
    await readAndCheck(capture, truth);
    await capture.finish(true);
    assert.deepEqual(await leftovers(spec), []);
    assert.equal(
      readFileSync(join(spec.directory, "qemu.log"), "utf8").replace(/.*inconsistent.*\n|.*bitmap.*\n/gi, ""),
      "",
    );
  });
});

// A machine's life, with a real guest.
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { newId } from "../../src/base/ids.ts";
import { silentLog } from "../../src/base/log.ts";
import {
  AlreadyRunningError,
  adoptMachine,
  forgetMachine,
  launchMachine,
  MachineStartError,
  machineLastWords,
} from "../../src/compute/launch-machine.ts";
import type { MachineEvent } from "../../src/compute/machine.ts";
import { DetachRefusedError } from "../../src/compute/machine-disks.ts";
import { readConsole } from "../../src/compute/machine-files.ts";
import { ProgramMissingError } from "../../src/compute/qemu-process.ts";
import { GUEST_COMMAND_LINE, type GuestConsole } from "./compute-guest.ts";
import { reached, skipGuests, startWorld } from "./compute-world.ts";

const log = silentLog;
const options = { skip: skipGuests, timeout: 400_000 };

test("a guest's own doings are told as they happen, and only `quit` ends its QEMU", options, async (t) => {
  const world = await startWorld(t);
  const spec = world.spec();
  const machine = await world.launch(spec);
  assert.deepEqual(machine.state(), { kind: "running" });
  const events: MachineEvent[] = [];
  machine.onEvent((event) => events.push(event));
  const guest = await world.console(spec);

  await t.test("it finds itself on EC2", async () => {
    const dmi = (name: string) => guest.run(`cat /sys/class/dmi/id/${name}`);
    assert.equal(await dmi("product_uuid"), spec.uuid);
    assert.match(spec.uuid, /^ec2/);
    assert.equal(await dmi("board_asset_tag"), spec.instanceId);
    assert.equal(await dmi("product_name"), "t3.nano");
    assert.equal(await dmi("sys_vendor"), "Amazon EC2");
    assert.equal(await guest.run("cat /sys/block/nvme0n1/device/serial"), spec.disks[0]!.volumeId.replace("-", ""));
  });

  await t.test("console and screen can be read; the other monitor answers", async () => {
    await guest.run("echo a line for the log");
    assert.match((await readConsole(spec.directory)).toString(), /GUEST READY[\s\S]*a line for the log/);
    assert.equal((await readConsole(spec.directory, 10)).length, 10);
    assert.deepEqual((await machine.screenshot()).subarray(0, 8), Buffer.from("\x89PNG\r\n\x1a\n", "latin1"));
  });

  await t.test("a second launch is refused and harms nothing", async () => {
    await assert.rejects(launchMachine(spec, { log }), AlreadyRunningError);
    await assert.rejects(forgetMachine(spec.directory), AlreadyRunningError);
    assert.equal(await guest.run("echo still here"), "still here");
  });

  await t.test("it reboots itself", async () => {
    guest.type("reboot -f");
    await guest.booted();
    assert.deepEqual(events.splice(0), [{ kind: "reset", by: "guest" }]);
  });

  await t.test("it is rebooted through its own shutdown", async () => {
    await guest.run("echo marked > /mark");
    assert.deepEqual(await machine.reboot({ timeoutMs: 60_000 }), { by: "guest" });
    await guest.booted();
    assert.equal(await guest.run("cat /mark"), "marked"); // it synced
    assert.deepEqual(events.splice(0), [
      { kind: "off", asked: true },
      { kind: "reset", by: "host" },
      { kind: "running" },
    ]);
  });

  await t.test("it panics, waits, and is reset", async () => {
    guest.type("echo c > /proc/sysrq-trigger");
    await reached(machine, "panicked");
    await machine.reset();
    assert.deepEqual(machine.state(), { kind: "running" });
    await guest.booted();
    events.length = 0;
  });

  await t.test("it powers off of itself; QEMU waits", async () => {
    guest.type("poweroff -f");
    assert.deepEqual(await reached(machine, "off"), { kind: "off", asked: false });
    await machine.quit();
    assert.deepEqual(machine.state(), { kind: "ended", asked: true, reason: "QEMU exited with status 0" });
    assert.equal(existsSync(join(spec.directory, "qmp")), false);
    assert.match((await readConsole(spec.directory)).toString(), /GUEST READY/);
    await forgetMachine(spec.directory);
    assert.equal(existsSync(spec.directory), false);
    assert.equal(existsSync(spec.disks[0]!.overlayPath), true);
  });
});

test("powerdown: a guest that doesn't listen is ended at the limit, a killed QEMU is noticed", options, async (t) => {
  const world = await startWorld(t);
  const spec = world.spec();
  const first = await world.launch(spec);
  const guest = await world.console(spec);
  await guest.run("killall acpid");
  assert.deepEqual(await first.powerdown({ timeoutMs: 300 }), { by: "force" });
  assert.equal(first.state().kind, "ended");

  const second = await world.launch(spec);
  process.kill(second.process.pid, "SIGKILL");
  assert.deepEqual(await reached(second, "ended"), {
    kind: "ended",
    asked: false,
    reason: "QEMU was killed by SIGKILL",
  });
  await second.quit(); // of one that is gone: nothing to do
});

test("a machine outlives the server that started it, and the next one takes it up", options, async (t) => {
  const world = await startWorld(t);
  const spec = world.spec();
  writeFileSync(join(world.directory, "spec.json"), JSON.stringify(spec));
  // A server in a process of its own, killed as it goes on.
  const program = `
    const { launchMachine } = await import(${JSON.stringify(new URL("../../src/compute/launch-machine.ts", import.meta.url))});
    const { readFileSync } = await import("node:fs");
    const silent = { debug() {}, info() {}, warn() {}, error() {} };
    await launchMachine(JSON.parse(readFileSync(${JSON.stringify(join(world.directory, "spec.json"))}, "utf8")), { log: silent });
    process.kill(process.pid, "SIGKILL");
  `;
  const server = spawn(process.execPath, ["--input-type=module", "-e", program], {
    stdio: ["ignore", "inherit", "inherit"],
  });
  await new Promise((resolve) => server.once("exit", resolve));
  assert.equal(server.signalCode, "SIGKILL");

  const machine = (await adoptMachine(spec.directory, { log }))!;
  assert.ok(machine, "it was found");
  world.atEnd(() => machine.state().kind === "ended" || process.kill(machine.process.pid, "SIGKILL"));
  assert.deepEqual(machine.spec, spec);
  assert.deepEqual(machine.state(), { kind: "running" });
  const guest = await world.console(spec);
  await assert.rejects(launchMachine(spec, { log }), AlreadyRunningError);

  // Without its pid file too: as if the server had died before QEMU wrote it.
  machine.release();
  writeFileSync(join(spec.directory, "pid"), "");
  const again = (await adoptMachine(spec.directory, { log }))!;
  assert.equal(again.process.pid, machine.process.pid);

  // What happens while nobody looks is seen by who looks next.
  again.release();
  guest.type("poweroff -f");
  await guest.until(/reboot: Power down/);
  const off = (await adoptMachine(spec.directory, { log }))!;
  await reached(off, "off");
  const ended = reached(off, "ended");
  process.kill(off.process.pid, "SIGKILL");
  assert.deepEqual(await ended, { kind: "ended", asked: false, reason: "QEMU ended" });
  assert.equal(await adoptMachine(spec.directory, { log }), null);
});

test("a QEMU that died while nobody looked is not adopted, and its last words are kept", options, async (t) => {
  const world = await startWorld(t);
  const spec = world.spec();
  const machine = await world.launch(spec);
  machine.release();
  process.kill(machine.process.pid, "SIGTERM");
  while (existsSync(`/proc/${machine.process.pid}`)) await new Promise((resolve) => setTimeout(resolve, 5));
  assert.equal(await adoptMachine(spec.directory, { log }), null);
  assert.match(await machineLastWords(spec.directory), /terminating on signal 15/);
});

test("volumes are plugged in and out while the guest runs", options, async (t) => {
  const world = await startWorld(t);
  const early = world.emptyDisk("/dev/sdb");
  const root = world.rootDisk();
  const spec = world.spec({ disks: [root, early] });
  const machine = await world.launch(spec);
  const guest = await world.console(spec);
  const serials = async () =>
    (await guest.run("cat /sys/class/nvme/*/serial"))
      .split("\n")
      .map((line) => line.trim())
      .sort();
  const seen = (...volumes: { volumeId: string }[]) => volumes.map(({ volumeId }) => volumeId.replace("-", "")).sort();
  const untilSeen = async (...volumes: { volumeId: string }[]) => {
    await guest.run(`until [ $(ls /sys/class/nvme | wc -l) = ${volumes.length} ]; do sleep 0.05; done`);
    assert.deepEqual(await serials(), seen(...volumes));
  };
  await untilSeen(root, early);

  const late = world.emptyDisk("/dev/sdc");
  await machine.attachDisk(late);
  await machine.attachDisk(late); // again: nothing to do
  await untilSeen(root, early, late);
  assert.deepEqual((await machine.disks()).sort(), [root, early, late].map(({ volumeId }) => volumeId).sort());
  await guest.run(
    "until [ -b /dev/nvme2n1 ]; do sleep 0.05; done; echo kept | dd of=/dev/nvme2n1 conv=notrunc,fsync 2>/dev/null",
  );

  // One that was there at boot goes too: it sits in a port like the others.
  await machine.detachDisk(early.volumeId);
  await untilSeen(root, late);
  await machine.detachDisk(late.volumeId);
  await machine.detachDisk(late.volumeId); // again: nothing to do
  await untilSeen(root);
  execFileSync("qemu-img", ["check", "-q", late.overlayPath]); // closed
  await machine.attachDisk(late);
  await untilSeen(root, late);
  assert.equal(await guest.run("until [ -b /dev/nvme1n1 ]; do sleep 0.05; done; head -c 4 /dev/nvme1n1"), "kept");

  await t.test("a bad one leaves nothing behind", async () => {
    const bad = world.emptyDisk("/dev/sdd");
    writeFileSync(bad.overlayPath, "no image");
    await assert.rejects(machine.attachDisk(bad), (error) => /not a qcow2 image/.test(String(error)));
    assert.equal((await machine.disks()).length, 2);
  });

  await t.test("a guest that is stopped doesn't let go; when it runs on, the volume goes after all", async () => {
    await machine.pause();
    await assert.rejects(machine.detachDisk(late.volumeId, { limitMs: 200 }), DetachRefusedError);
    assert.equal((await machine.disks()).length, 2);
    const gone = new Promise<void>((resolve) => {
      machine.onEvent((event) => event.kind === "detached" && event.volumeId === late.volumeId && resolve());
    });
    await machine.resume();
    await gone;
    assert.deepEqual(await machine.disks(), [root.volumeId]);
  });
});

test("volumes are plugged into a machine whose guest has not looked at its bus yet", options, async (t) => {
  const world = await startWorld(t);
  const spec = world.spec({ disks: [world.rootDisk()] });
  const machine = await world.launch(spec);
  // In its firmware, which has not numbered the ports: QEMU's own list of PCI devices shows none behind them.
  await machine.pause();
  const [one, two] = [world.emptyDisk("/dev/sdb"), world.emptyDisk("/dev/sdc")];
  await machine.attachDisk(one);
  await machine.attachDisk(one); // again, as after a server's death: nothing to do
  await machine.attachDisk(two);
  assert.equal((await machine.disks()).length, 3);
  await machine.resume();
  const guest = await world.console(spec);
  await guest.run("until [ $(ls /sys/class/nvme | wc -l) = 3 ]; do sleep 0.05; done");
});

test("what can't start says why, and leaves nothing running", options, async (t) => {
  const world = await startWorld(t);
  const nothingRuns = (uuid: string) =>
    assert.equal(execFileSync("ps", ["-eo", "args"], { encoding: "utf8" }).includes(`-uuid ${uuid}`), false);

  await t.test("QEMU is not installed", async () => {
    const path = process.env.PATH;
    process.env.PATH = join(world.directory, "empty");
    try {
      await assert.rejects(launchMachine(world.spec(), { log }), ProgramMissingError);
    } finally {
      process.env.PATH = path;
    }
  });

  await t.test("an overlay is damaged", async () => {
    const spec = world.spec();
    const { overlayPath, bytes } = spec.disks[0]!;
    execFileSync("qemu-img", ["create", "-q", "-f", "qcow2", overlayPath, String(bytes)]);
    const image = readFileSync(overlayPath);
    image.writeBigUInt64BE(0x1234n, 40); // the L1 table is nowhere
    writeFileSync(overlayPath, image);
    await assert.rejects(
      world.launch(spec),
      (error) => error instanceof MachineStartError && /status 1.*L1/s.test(error.message),
    );
    nothingRuns(spec.uuid);
    assert.equal(existsSync(join(spec.directory, "qmp")), false);
  });

  await t.test("the network's launcher fails", async () => {
    const attachment = { launcher: ["nsenter", "-t", "1", "-n/nowhere"], netdev: "user,id=net0" };
    const spec = world.spec({ nic: { mac: "02:00:00:00:00:01", attachment } });
    await assert.rejects(
      world.launch(spec),
      (error) => error instanceof MachineStartError && /nowhere/.test(error.message),
    );
    nothingRuns(spec.uuid);
  });

  await t.test("another QEMU holds the overlay", async () => {
    const spec = world.spec();
    const machine = await world.launch(spec);
    const thief = world.spec({ disks: spec.disks });
    await assert.rejects(
      world.launch(thief),
      (error) => error instanceof MachineStartError && /lock/.test(error.message),
    );
    nothingRuns(thief.uuid);
    await machine.kill();
  });
});

test("as another user, with a network card, under UEFI: it boots all the same", options, async (t) => {
  const world = await startWorld(t, { encrypted: true });
  if (process.getuid?.() !== 0) return t.skip("only root can give QEMU another user");
  execFileSync("chmod", ["755", world.directory]);
  execFileSync("chmod", ["666", world.base.socket]);
  const attachment = { launcher: ["env", "LANG=C"], netdev: "user,id=net0,restrict=on" };
  const spec = world.spec({
    runAs: { uid: 65534, gid: 65534 },
    nic: { mac: "02:0a:0b:0c:0d:0e", attachment },
    firmware: "uefi",
    memoryMib: 256, // OVMF does not fit into 128
    directKernel: { path: world.openKernel(), commandLine: GUEST_COMMAND_LINE },
  });
  const machine = await world.launch(spec);
  const status = readFileSync(`/proc/${machine.process.pid}/status`, "utf8");
  assert.match(status, /^Uid:\t65534\t65534/m);
  assert.match(status, /^Groups:\s*$/m);
  assert.match(status, /^Seccomp:\t2/m);
  assert.match(status, /^NoNewPrivs:\t1/m);
  const guest: GuestConsole = await world.console(spec);
  assert.equal(await guest.run("cat /sys/bus/pci/devices/0000:00:05.0/class"), "0x020000");
  assert.equal(await guest.run("test -d /sys/firmware/efi && echo efi"), "efi");
  // Captures too: files that come later are given to that user.
  const capture = await machine.beginCapture([
    {
      volumeId: spec.disks[0]!.volumeId,
      snapshotId: newId("snapshot"),
      lastSnapshotId: null,
      launchSnapshotId: null,
    },
  ]);
  await capture.finish(true);
  const late = world.emptyDisk();
  await machine.attachDisk(late);
  await machine.powerdown({ timeoutMs: 60_000 });
});

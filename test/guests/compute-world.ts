// What a test of machines needs around it: a short temporary directory, a block server's stand-in, specs and launches,
// and at the end nothing left.
import { type ChildProcess, spawn } from "node:child_process";
import { copyFileSync, existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { chain } from "../../src/base/errors.ts";
import { newId } from "../../src/base/ids.ts";
import { silentLog } from "../../src/base/log.ts";
import { type DiskKeySource, diskKeys, noDiskKey } from "../../src/compute/disk-key.ts";
import { launchMachine } from "../../src/compute/launch-machine.ts";
import type { Machine, MachineState } from "../../src/compute/machine.ts";
import { instanceUuid, type MachineSpec } from "../../src/compute/machine-spec.ts";
import { signalProcess, waitForEnd } from "../../src/compute/qemu-process.ts";
import { Qmp } from "../../src/compute/qmp.ts";
import type { BlockExport, MachineDisk } from "../../src/model/disk.ts";
import {
  GUEST_COMMAND_LINE,
  GUEST_DISK,
  GUEST_DISK_BYTES,
  GUEST_KERNEL,
  GuestConsole,
  prepareGuest,
} from "./compute-guest.ts";

export const skipGuests = prepareGuest() ?? false;

export interface World {
  readonly directory: string;
  /** The guest's root disk, served by `qemu-nbd` as our block server serves a snapshot. */
  readonly base: BlockExport;
  /** What `launch` gives; for `adoptMachine` and `captureStopped`. */
  readonly diskKey: DiskKeySource;
  rootDisk(): MachineDisk;
  /** An empty volume of 32 MiB. */
  emptyDisk(deviceName?: string): MachineDisk;
  spec(over?: Partial<MachineSpec>): MachineSpec;
  /** Launches; whatever becomes of it, its QEMU is gone when the test ends. */
  launch(spec: MachineSpec): Promise<Machine>;
  /** The console, once the guest has come up. */
  console(spec: MachineSpec): Promise<GuestConsole>;
  /** A copy of the kernel that any user may read. */
  openKernel(): string;
  /** Ends a process of ours when the test ends. */
  atEnd(action: () => unknown): void;
}

/** @param encrypted  with overlays as a server makes them; else plain ones, which tests can look into */
export async function startWorld(t: TestContext, { encrypted = false } = {}): Promise<World> {
  const directory = mkdtempSync(join(tmpdir(), "ingot-compute-"));
  const atEnd: (() => unknown)[] = [];
  t.after(async () => {
    for (const action of atEnd.reverse()) await action();
    rmSync(directory, { recursive: true, force: true });
  });
  const socket = join(directory, "base");
  const server = spawn(
    "qemu-nbd",
    ["--read-only", "-t", "-e", "16", "-k", socket, "-x", "root", "-f", "raw", GUEST_DISK],
    { stdio: "inherit" },
  );
  atEnd.push(() => endProcess(server));
  while (!existsSync(socket)) await new Promise((resolve) => setTimeout(resolve, 5));
  const base = { socket, name: "root", bytes: GUEST_DISK_BYTES };
  let machines = 0;

  const world: World = {
    directory,
    base,
    diskKey: encrypted ? diskKeys(async () => "a".repeat(64))("owner") : noDiskKey,
    rootDisk() {
      const volumeId = newId("volume");
      return {
        volumeId,
        deviceName: "/dev/xvda",
        bytes: GUEST_DISK_BYTES,
        overlayPath: join(directory, `${volumeId}.qcow2`),
        base,
        root: true,
      };
    },
    emptyDisk(deviceName = "/dev/sdf") {
      const volumeId = newId("volume");
      return {
        volumeId,
        deviceName,
        bytes: 32 << 20,
        overlayPath: join(directory, `${volumeId}.qcow2`),
        base: null,
        root: false,
      };
    },
    spec(over = {}) {
      const instanceId = newId("instance");
      return {
        instanceId,
        uuid: instanceUuid(instanceId),
        instanceType: "t3.nano",
        directory: join(directory, `m${++machines}`),
        vcpus: 1,
        memoryMib: 128,
        firmware: "bios",
        disks: [world.rootDisk()],
        nic: null,
        directKernel: { path: GUEST_KERNEL, commandLine: GUEST_COMMAND_LINE },
        accelerator: "tcg",
        ...over,
      };
    },
    async launch(spec) {
      const machine = await launchMachine(spec, { log: silentLog, diskKey: world.diskKey });
      atEnd.push(async () => {
        signalProcess(machine.process, "SIGKILL");
        await waitForEnd(machine.process, 10_000);
      });
      return machine;
    },
    async console(spec) {
      const guest = new GuestConsole(join(spec.directory, "con"));
      atEnd.push(() => guest.close());
      try {
        await guest.booted();
      } catch (cause) {
        throw new Error(`the guest did not come up; ${await whatItDoes(spec)}`, { cause });
      }
      return guest;
    },
    openKernel() {
      const path = join(directory, "vmlinuz");
      copyFileSync(GUEST_KERNEL, path);
      return path;
    },
    atEnd: (action) => void atEnd.push(action),
  };
  return world;
}

/** For the report of a guest that hangs: where it is, and what its disks wait for. */
async function whatItDoes(spec: MachineSpec): Promise<string> {
  try {
    const qmp = await Qmp.connect(join(spec.directory, "qmp2"), { limitMs: 5_000 });
    try {
      const { status } = await qmp.execute("query-status");
      const told = await Promise.all(
        ["info registers", "info blockstats", "info irq"].map((line) =>
          qmp.execute("human-monitor-command", { "command-line": line }),
        ),
      );
      return [`its QEMU is ${status}`, ...told, readFileSync(join(spec.directory, "qemu.log"), "utf8")].join("\n");
    } finally {
      qmp.close();
    }
  } catch (error) {
    return `its QEMU does not answer: ${chain(error)}`;
  }
}

async function endProcess(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = new Promise((resolve) => child.once("exit", resolve));
  child.kill("SIGKILL");
  await ended;
}

/** Resolves when the machine is in a state of that kind; rejects after two minutes. */
export async function reached<K extends MachineState["kind"]>(
  machine: Machine,
  kind: K,
): Promise<Extract<MachineState, { kind: K }>> {
  const isIt = (state: { kind: string }): state is Extract<MachineState, { kind: K }> => state.kind === kind;
  const now = machine.state();
  if (isIt(now)) return now;
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`the machine is ${machine.state().kind}, never ${kind}`)), 120_000);
    const stop = machine.onEvent((event) => {
      if (!isIt(event)) return;
      clearTimeout(timer);
      stop();
      resolve(event);
    });
  });
}

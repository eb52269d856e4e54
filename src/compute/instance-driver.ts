// One driver per instance: compares the row with the machine and acts, one thing after the other.
//
// Every step may be run again from its beginning: a server that dies in the middle leaves a row and a machine, and the
// next one compares them anew. What can't wait (a termination, a forced stop) interrupts what is patient (a shutdown).
import { join } from "node:path";
import { chain, unreachable } from "../base/errors.ts";
import type { InstanceId, VolumeId } from "../base/ids.ts";
import type { MachineDisk } from "../model/disk.ts";
import type { DirectKernel } from "../model/image.ts";
import {
  becameRunning,
  becameStopped,
  becameTerminated,
  fellTo,
  type Instance,
  rebootDone,
  type StateChange,
} from "../model/instance.ts";
import type { Nic } from "../model/nic.ts";
import type { Volume } from "../model/volume.ts";
import {
  applyModifications,
  areModified,
  releaseVolumes,
  volumeAttached,
  volumeBusy,
  volumeDetached,
  volumeNotAttached,
  volumesOfInstance,
} from "../model/volume-rows.ts";
import type { DirectBoots } from "./direct-boot.ts";
import type { DiskKeySource } from "./disk-key.ts";
import type { HostParts } from "./host-parts.ts";
import { baseOf, machineDirectory, overlayPath, volumeBytes } from "./host-rows.ts";
import { findInstanceType } from "./instance-types.ts";
import { adoptMachine, launchMachine, machineLastWords } from "./launch-machine.ts";
import type { Machine, MachineEvent } from "./machine.ts";
import type { CaptureRequest, MachineCapture } from "./machine-capture.ts";
import { instanceUuid, type MachineSpec } from "./machine-spec.ts";
import { ensureOverlay } from "./overlay.ts";

/** EC2 gives a guest some minutes to shut down; a full Debian under TCG needs a few seconds. */
const SHUTDOWN_LIMIT_MS = 120_000;
/** After a step that failed for a reason that may pass (a full disk, a database away). */
const RETRY_MS = 2_000;
/** A guest that can lets go in 0.15 s. Meanwhile nothing else is done for this machine, so no longer than it takes under load. */
const DETACH_AGAIN_LIMIT_MS = 2_000;

/** What the rows say of one instance. */
export interface InstanceTarget {
  readonly instance: Instance;
  readonly volumes: readonly Volume[];
  readonly nic: Nic | null;
  /** Resolves when the security groups of these rows are in force: no machine gets its network before. */
  readonly rulesInForce: Promise<void>;
}

export interface DriverOptions {
  readonly parts: HostParts;
  /** Something has happened that the rows should be compared for. */
  readonly poke: () => void;
  /** Resolves when no capture reads these volumes any more. */
  readonly volumesFree: (ids: readonly VolumeId[]) => Promise<void>;
  /** Of the instance's account. */
  readonly diskKey: DiskKeySource;
  readonly directBoots: DirectBoots;
}

/**
 * A step waits for a volume to be free, and the capture that has the volume waits for its turn behind this step: the
 * capture goes first, and the step begins anew.
 */
class CaptureGoesFirst extends Error {
  override readonly name = "CaptureGoesFirst";
}

export class InstanceDriver {
  readonly id: InstanceId;
  readonly #parts: HostParts;
  readonly #poke: () => void;
  readonly #volumesFree: DriverOptions["volumesFree"];
  readonly #diskKey: DiskKeySource;
  readonly #directBoots: DirectBoots;
  readonly #directory: string;
  readonly #tasks: (() => Promise<void>)[] = [];
  #machine: Machine | null = null;
  #target: InstanceTarget | null = null;
  #busy = false;
  #closed = false;
  /** Ends the wait for a guest that takes its time. */
  #patient = false;
  /** Tells a step that waits for volumes of a task behind it. */
  #onTask: (() => void) | null = null;
  #retry: NodeJS.Timeout | null = null;

  constructor(id: InstanceId, options: DriverOptions) {
    this.id = id;
    this.#parts = options.parts;
    this.#poke = options.poke;
    this.#volumesFree = options.volumesFree;
    this.#diskKey = options.diskKey;
    this.#directBoots = options.directBoots;
    this.#directory = machineDirectory(options.parts.directory, id);
  }

  get machine(): Machine | null {
    return this.#machine;
  }

  /** Takes up the machine that an earlier server started, if it still runs. */
  async adopt(): Promise<void> {
    const machine = await adoptMachine(this.#directory, { log: this.#parts.log, diskKey: this.#diskKey });
    if (machine !== null) this.#hold(machine);
  }

  /** The rows say this now. Returns at once. */
  converge(target: InstanceTarget): void {
    this.#target = target;
    const { desired, force } = target.instance;
    if (this.#patient && (desired === "terminated" || (desired === "stopped" && force === 1))) {
      this.#machine?.quit().catch((error) => this.#warn(error, "could not end a machine at once"));
    }
    void this.#work();
  }

  /**
   * Begins a capture of the running machine, when its turn comes.
   * @param reboot  shut the guest down for it, and start it again right after the instant
   * @returns null when there is no machine: its disks can be read as they lie
   */
  beginCapture(requests: readonly CaptureRequest[], reboot: boolean): Promise<MachineCapture | null> {
    return this.#enqueue(async () => {
      const machine = this.#machine;
      if (machine === null || machine.state().kind === "ended") return null;
      if (!reboot || machine.state().kind !== "running") return machine.beginCapture(requests, { freeze: true });
      this.#patient = true;
      try {
        await machine.shutDownGuest({ timeoutMs: SHUTDOWN_LIMIT_MS });
        const capture = await machine.beginCapture(requests);
        await machine.reset();
        return capture;
      } finally {
        this.#patient = false;
      }
    });
  }

  /** Lets go: the machine runs on for the next server. */
  async close(): Promise<void> {
    this.#closed = true;
    if (this.#retry !== null) clearTimeout(this.#retry);
    this.#machine?.release();
    this.#machine = null;
  }

  #enqueue<T>(task: () => Promise<T>): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      this.#tasks.push(() => task().then(resolve, reject));
      this.#onTask?.();
      void this.#work();
    });
  }

  async #work(): Promise<void> {
    if (this.#busy) return;
    this.#busy = true;
    try {
      while (!this.#closed) {
        const target = this.#target;
        const task = this.#tasks.shift();
        if (task !== undefined) await task();
        else if (target !== null) {
          this.#target = null;
          if (this.#isSettled(target)) continue;
          const now = await this.#asOfNow(target);
          if (now !== null && !(await this.#stepped(now))) this.#target ??= target;
        } else break;
      }
    } catch (error) {
      if (!this.#closed) {
        this.#warn(error, "could not bring an instance where its owner wants it; trying again");
        // One at a time: each look at the rows may end here, and each would bring another look.
        this.#retry ??= setTimeout(() => {
          this.#retry = null;
          this.#poke();
        }, RETRY_MS).unref();
      }
    } finally {
      this.#busy = false;
    }
  }

  /** Nothing to do, as far as these rows tell: by far the most frequent case, and free. */
  #isSettled({ instance, volumes }: InstanceTarget): boolean {
    const machine = this.#machine?.state().kind ?? null;
    if (instance.desired === "stopped") return instance.state === "stopped" && machine === null;
    return (
      instance.desired === "running" &&
      instance.state === "running" &&
      (machine === "running" || machine === "panicked") &&
      instance.reboots_asked === instance.reboots_done &&
      volumes.every((volume) => volume.attachment === "attached")
    );
  }

  /**
   * The rows, read again. Those that came may have been read while the step before was still at work: done once more, a
   * reboot would be a second reboot.
   */
  async #asOfNow({ nic, rulesInForce }: InstanceTarget): Promise<InstanceTarget | null> {
    const db = this.#parts.database.read;
    const instance = (await db.selectFrom("instances").selectAll().where("id", "=", this.id).executeTakeFirst()) as
      | Instance
      | undefined;
    if (instance === undefined || instance.state === "terminated") return null;
    // Its place on the network has changed since: another look brings the new one.
    if (instance.state === "pending" && nic?.publicIp !== instance.public_ip) {
      this.#poke();
      return null;
    }
    return { instance, volumes: await volumesOfInstance(db, this.id), nic, rulesInForce };
  }

  /** False when it is to be done anew, after what waits. */
  async #stepped(target: InstanceTarget): Promise<boolean> {
    try {
      await this.#step(target);
      return true;
    } catch (error) {
      if (error instanceof CaptureGoesFirst) return false;
      throw error;
    }
  }

  /** Resolves when no capture reads these volumes. @throws CaptureGoesFirst */
  async #free(ids: readonly VolumeId[]): Promise<void> {
    const { promise: came, resolve } = Promise.withResolvers<"task">();
    this.#onTask = () => resolve("task");
    try {
      if (this.#tasks.length > 0) throw new CaptureGoesFirst();
      if ((await Promise.race([this.#volumesFree(ids), came])) === "task") throw new CaptureGoesFirst();
    } finally {
      this.#onTask = null;
    }
  }

  #step(target: InstanceTarget): Promise<void> {
    const { desired } = target.instance;
    switch (desired) {
      case "running":
        return this.#run(target);
      case "stopped":
        return this.#stop(target);
      case "terminated":
        return this.#terminate(target);
      default:
        return unreachable(desired);
    }
  }

  async #run(target: InstanceTarget): Promise<void> {
    const { instance } = target;
    const machine = this.#machine;
    if (machine === null) {
      if (instance.state === "pending") await this.#launch(target);
      else await this.#lost();
      return;
    }
    const state = machine.state();
    switch (state.kind) {
      case "ended":
        this.#machine = null;
        if (instance.state === "pending") await this.#launch(target);
        else await this.#lost(state.reason);
        return;
      case "off":
        // Asked for, yet nobody waits: a server died between a shutdown and the start that was to follow.
        if (state.asked) await machine.reset();
        else await this.#guestShutDown(instance);
        return;
      case "panicked":
      case "paused":
      case "running":
        if (instance.state === "pending") await this.#wrote((tx, at) => becameRunning(tx, instance.id, at));
        await this.#changeVolumes(machine, target.volumes);
        if (instance.reboots_asked > instance.reboots_done) await this.#reboot(machine, instance);
        return;
      default:
        unreachable(state);
    }
  }

  async #launch(target: InstanceTarget): Promise<void> {
    const { instance } = target;
    await this.#free(target.volumes.map((volume) => volume.id));
    try {
      this.#hold(await launchMachine(await this.#spec(target), { log: this.#parts.log, diskKey: this.#diskKey }));
    } catch (error) {
      // Not the instance's fault: the step is tried again.
      await target.rulesInForce;
      this.#warn(error, "an instance did not start");
      // As EC2: what never ran is terminated, what had run before is stopped again. Either way it says why.
      const first = instance.changed_at === instance.launched_at;
      await this.#fell(first ? "terminated" : "stopped", {
        code: "Server.InternalError",
        message: `Server.InternalError: Internal error on launch: ${chain(error)}`,
      });
      return;
    }
    await this.#wrote(async (tx, at) => {
      await becameRunning(tx, instance.id, at);
      for (const volume of target.volumes) await volumeAttached(tx, volume.id);
    });
  }

  /** What the machine is made of; its disks and its place on the network are there then. */
  async #spec({ instance, volumes: known, nic, rulesInForce }: InstanceTarget): Promise<MachineSpec> {
    const parts = this.#parts;
    if (nic === null) throw new Error(`${instance.id} has no network interface`);
    const type = findInstanceType(instance.type);
    const ids = known.map((volume) => volume.id);
    if (await areModified(parts.database.read, ids)) {
      await parts.database.transaction((tx) => applyModifications(tx, ids, parts.clock.now()));
    }
    const volumes = await volumesOfInstance(parts.database.read, instance.id);
    const disks = await Promise.all(volumes.map((volume) => this.#disk(volume)));
    // None needs another, and the disks and the network take a write to the disk or a round of nft each.
    const placed = rulesInForce.then(() => parts.network.addInstance(nic));
    const kernelFound = this.#directKernel(instance, volumes);
    const made = this.#makeOverlays(disks);
    await Promise.allSettled([placed, kernelFound, made]);
    await made;
    const attachment = await placed;
    const directKernel = await kernelFound;
    return {
      instanceId: instance.id,
      uuid: instanceUuid(instance.id),
      instanceType: instance.type,
      directory: this.#directory,
      vcpus: type.vcpus,
      memoryMib: type.memoryMib,
      firmware: instance.boot_mode === "uefi" ? "uefi" : "bios",
      disks,
      nic: { mac: nic.mac, attachment },
      accelerator: parts.accelerator,
      ...(directKernel === null ? {} : { directKernel }),
      ...(parts.runAs === undefined ? {} : { runAs: parts.runAs }),
    };
  }

  /** Ahead of the launch, which makes and checks what is missing then. */
  async #makeOverlays(disks: readonly MachineDisk[]): Promise<void> {
    const key = await this.#diskKey();
    await Promise.all(disks.map((disk) => ensureOverlay(disk, key)));
  }

  async #disk(volume: Volume): Promise<MachineDisk> {
    const parts = this.#parts;
    const base = baseOf(volume);
    return {
      volumeId: volume.id,
      deviceName: volume.device_name ?? "",
      bytes: volumeBytes(volume),
      overlayPath: overlayPath(parts.directory, volume.id),
      base: base === null ? null : await parts.storage.export(base),
      root: volume.is_root === 1,
    };
  }

  /**
   * Ingot's own images, and those whose disks boot in the same way, can do without firmware and boot loader, which halves a
   * boot under emulation. Only the first start does: afterwards the owner may have put another kernel on the disk, and
   * what the disk holds is what boots.
   */
  async #directKernel(
    instance: Instance,
    volumes: readonly Volume[],
  ): Promise<Required<MachineSpec>["directKernel"] | null> {
    if (instance.changed_at !== instance.launched_at || instance.boot_mode === "uefi") return null;
    const root = volumes.find((volume) => volume.is_root === 1);
    const base = root === undefined ? null : baseOf(root);
    if (base === null) return null;
    let found: DirectKernel | null = null;
    try {
      found = await this.#directBoots.kernelOf(this.#parts.database.read, base);
    } catch (error) {
      // Its firmware will say what is wrong with the disk.
      this.#warn(error, "could not look at what a disk boots");
    }
    if (found === null) return null;
    const { file, commandLine, initrd } = found;
    const kernel = { path: join(this.#parts.directory, file), commandLine };
    return initrd === undefined ? kernel : { ...kernel, initrdPath: join(this.#parts.directory, initrd) };
  }

  async #reboot(machine: Machine, instance: Instance): Promise<void> {
    this.#patient = true;
    try {
      await machine.reboot({ timeoutMs: SHUTDOWN_LIMIT_MS });
    } catch (error) {
      if (machine.state().kind !== "ended") throw error;
    } finally {
      this.#patient = false;
    }
    await this.#parts.database.transaction((tx) => rebootDone(tx, instance.id, instance.reboots_asked));
  }

  /** Volumes that come to, or leave, a machine that runs. */
  async #changeVolumes(machine: Machine, volumes: readonly Volume[]): Promise<void> {
    const parts = this.#parts;
    for (const volume of volumes) {
      if (volume.attachment === "attaching") await this.#attach(machine, volume);
      // A guest that was still booting has not heard the question: it is asked again with every look at the rows.
      const again = volume.attachment === "busy";
      if (volume.attachment === "detaching" || again) {
        await this.#free([volume.id]);
        try {
          await machine.detachDisk(volume.id, again ? { limitMs: DETACH_AGAIN_LIMIT_MS } : {});
          await parts.database.transaction((tx) => volumeDetached(tx, volume.id, parts.clock.now()));
        } catch (error) {
          if (again) continue;
          this.#warn(error, "a guest does not let go of a volume");
          await parts.database.transaction((tx) => volumeBusy(tx, volume.id));
        }
      }
    }
  }

  /**
   * As EC2: a volume that does not get into the machine is `available` again. Tried once, since whoever asked can ask again
   * and knows by then; it would look "attaching" for ever while its file is damaged.
   */
  async #attach(machine: Machine, volume: Volume): Promise<void> {
    const parts = this.#parts;
    await this.#free([volume.id]);
    try {
      await machine.attachDisk(await this.#disk(volume));
    } catch (error) {
      // A machine that can't say, or has it after all, is looked at again.
      if (this.#closed || (await machine.disks()).includes(volume.id)) throw error;
      this.#warn(error, "could not attach a volume");
      await parts.database.transaction((tx) => volumeNotAttached(tx, volume.id, parts.clock.now()));
      return;
    }
    await parts.database.transaction((tx) => volumeAttached(tx, volume.id));
  }

  async #stop({ instance, volumes }: InstanceTarget): Promise<void> {
    const machine = this.#machine;
    if (machine !== null && machine.state().kind !== "ended") {
      // A capture that is under way reads from the machine: it is finished first.
      await this.#free(volumes.map((volume) => volume.id));
      this.#patient = true;
      try {
        if (instance.force === 1) await machine.quit();
        else await machine.powerdown({ timeoutMs: SHUTDOWN_LIMIT_MS });
      } finally {
        this.#patient = false;
      }
    }
    this.#machine = null;
    if (instance.state === "stopped") return;
    await this.#parts.network.removeInstance(instance.id);
    await this.#wrote(async (tx, at) => {
      for (const volume of await volumesOfInstance(tx, instance.id)) {
        if (volume.attachment === "attaching") await volumeAttached(tx, volume.id);
        else if (volume.attachment !== "attached") await volumeDetached(tx, volume.id, at);
      }
      await becameStopped(tx, instance.id, at);
    });
  }

  async #terminate({ instance, volumes }: InstanceTarget): Promise<void> {
    const machine = this.#machine;
    if (machine !== null && machine.state().kind !== "ended") {
      if (machine.state().kind === "running") await machine.pause();
      await this.#free(volumes.map((volume) => volume.id));
      await machine.quit();
    }
    this.#machine = null;
    await this.#free(volumes.map((volume) => volume.id));
    await this.#parts.network.removeInstance(instance.id);
    await this.#wrote(async (tx, at) => {
      await releaseVolumes(tx, instance.id, at);
      await becameTerminated(tx, instance.id, at);
    });
    this.#poke();
  }

  /** The machine is gone and nobody asked for it: the host was restarted, or QEMU died. */
  async #lost(reason?: string): Promise<void> {
    const words = reason ?? (await machineLastWords(this.#directory));
    await this.#fell("stopped", {
      code: "Server.InternalError",
      message: `Server.InternalError: The machine ended unexpectedly${words === "" ? "" : `: ${words}`}`,
    });
  }

  #guestShutDown(instance: Instance): Promise<void> {
    return this.#fell(instance.shutdown_behavior === "terminate" ? "terminated" : "stopped", {
      code: "Client.InstanceInitiatedShutdown",
      message: "Client.InstanceInitiatedShutdown: Instance initiated shutdown",
    });
  }

  async #fell(desired: "stopped" | "terminated", reason: NonNullable<StateChange["reason"]>): Promise<void> {
    await this.#wrote((tx, at) =>
      fellTo(tx, this.id, desired, { at, transitionReason: reason.message.slice(0, 1000), reason }),
    );
    this.#poke();
  }

  async #wrote(work: (tx: Parameters<typeof becameRunning>[0], at: Date) => Promise<void>): Promise<void> {
    const at = this.#parts.clock.now();
    await this.#parts.database.transaction((tx) => work(tx, at));
  }

  #hold(machine: Machine): void {
    this.#machine = machine;
    machine.onEvent((event: MachineEvent) => {
      switch (event.kind) {
        case "off":
        case "ended":
        case "panicked":
          this.#poke();
          break;
        case "disk-error":
          this.#parts.log.warn({ instanceId: this.id, ...event }, "a guest's disk request failed");
          break;
        case "running":
        case "paused":
        case "reset":
        case "detached":
          break;
        default:
          unreachable(event);
      }
    });
  }

  #warn(error: unknown, message: string): void {
    this.#parts.log.warn({ instanceId: this.id, error: chain(error) }, message);
  }
}

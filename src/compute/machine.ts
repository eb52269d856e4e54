// One machine: a QEMU process and how it lives.
//
//             launch / adopt
//                   |
//               running <----------- resume, reboot
//              /   |   \                 |
//        paused   off   panicked --------+
//              \   |   /
//               ended        (from any state)
//
// off: the guest has shut down; its QEMU waits, disks and QMP at work, until we `quit` it. The machine ends only when we
// say so, after its dirty bitmaps are stored, or when its process dies.
//
// QEMU is a detached child: it goes on without us, and `adoptMachine` takes it up again, from another process.
import { setTimeout as sleep } from "node:timers/promises";
import { chain } from "../base/errors.ts";
import type { VolumeId } from "../base/ids.ts";
import type { Log } from "../base/log.ts";
import type { ProgramExit, RunningProgram } from "../base/programs.ts";
import type { MachineDisk } from "../model/disk.ts";
import { volumeOfDevice, volumeOfSerial } from "./block-nodes.ts";
import { type DiskKeySource, knownToQemu } from "./disk-key.ts";
import { type InstanceDirectory, removeRunFiles } from "./instance-directory.ts";
import { CaptureBusyError, type CaptureRequest, type MachineCapture, MachineCaptures } from "./machine-capture.ts";
import { MachineDisks } from "./machine-disks.ts";
import { boundLogs, giveTo, takeScreenshot } from "./machine-files.ts";
import type { MachineSpec } from "./machine-spec.ts";
import { lastWords, type ProcessIdentity, signalProcess, waitForEnd } from "./qemu-process.ts";
import { Qmp, QmpClosedError } from "./qmp.ts";
import type { QmpEvent, RunState } from "./qmp-schema.ts";

export type MachineState =
  | { readonly kind: "running" }
  /** Stopped in mid-run: by `pause`, or by QEMU on an error (`reason` is its run state: `io-error`). */
  | { readonly kind: "paused"; readonly reason: string }
  /** The guest has shut down; `asked`: because `powerdown` or `reboot` told it to. */
  | { readonly kind: "off"; readonly asked: boolean }
  | { readonly kind: "panicked" }
  /** QEMU is gone; `asked`: because `quit`, `kill` or `powerdown` said so. `reason` is for StateReason and the log. */
  | { readonly kind: "ended"; readonly asked: boolean; readonly reason: string };

export type MachineEvent =
  | MachineState
  /** The guest, or `reset`, has restarted the machine; it runs on. */
  | { readonly kind: "reset"; readonly by: "guest" | "host" }
  /** A guest's read or write failed. */
  | { readonly kind: "disk-error"; readonly volumeId: VolumeId | null; readonly reason: string }
  /** A volume was taken out: by `detachDisk`, or the guest let go late or of itself. */
  | { readonly kind: "detached"; readonly volumeId: VolumeId };

/** A guest that is still booting misses the button; pressing again does no harm. */
const BUTTON_INTERVAL_MS = 5_000;
/** SeaBIOS answers a reset with one or two of its own, 2 to 20 ms later, before anything boots: these are one. */
const RESET_ECHO_MS = 1_000;
/** Quitting takes 50 ms; longer when the block server is away, for whose reads QEMU would wait an hour. */
const QUIT_LIMIT_MS = 15_000;
const KILL_LIMIT_MS = 10_000;
/** QEMU's own log and the console log are looked at this often, and cut when too long. */
const LOG_INTERVAL_MS = 30_000;

interface MachineParts {
  readonly spec: MachineSpec;
  readonly directory: InstanceDirectory;
  readonly process: ProcessIdentity;
  /** The process, where it is our own child: it says how it ended. */
  readonly child: RunningProgram | null;
  readonly qmp: Qmp;
  readonly log: Log;
  readonly diskKey: DiskKeySource;
}

export class Machine {
  readonly spec: MachineSpec;
  readonly process: ProcessIdentity;
  readonly #directory: InstanceDirectory;
  readonly #log: Log;
  readonly #disks: MachineDisks;
  readonly #captures: MachineCaptures;
  readonly #listeners = new Set<(event: MachineEvent) => void>();
  readonly #ended = Promise.withResolvers<void>();
  readonly #logTimer: NodeJS.Timeout;
  #qmp: Qmp;
  #state: MachineState = { kind: "running" };
  /** How our own child ended; of an adopted process only its end can be known. */
  #exit: Promise<string> = Promise.resolve("QEMU ended");
  #lastResetMs = Number.NEGATIVE_INFINITY;
  #askedOff = false;
  #askedEnd = false;
  #released = false;

  /** For `launchMachine` and `adoptMachine`: `qmp` is negotiated, `process` is known to be this instance's. */
  static async take(parts: MachineParts): Promise<Machine> {
    const machine = new Machine(parts);
    await machine.#learnState();
    return machine;
  }

  private constructor(parts: MachineParts) {
    this.spec = parts.spec;
    this.process = parts.process;
    this.#directory = parts.directory;
    this.#log = parts.log;
    this.#qmp = parts.qmp;
    const own = (path: string) => giveTo(parts.spec.runAs, path);
    const diskKey = () => knownToQemu(this.#qmp, parts.diskKey);
    this.#disks = new MachineDisks(() => this.#qmp, parts.spec.dataDiskModel ?? "nvme", own, diskKey);
    this.#captures = new MachineCaptures(() => this.#qmp, parts.directory, own, parts.log, diskKey);
    if (parts.child !== null) this.#exit = parts.child.ended.then(described);
    this.#listen(parts.qmp);
    this.#logTimer = setInterval(() => {
      boundLogs(this.#directory).catch((error) => this.#log.warn({ error: chain(error) }, "could not cut a log"));
    }, LOG_INTERVAL_MS);
    this.#logTimer.unref();
  }

  state(): MachineState {
    return this.#state;
  }

  /** Calls `listener` for all that happens from now on. Returns how to stop. */
  onEvent(listener: (event: MachineEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Resolves when QEMU is gone. */
  get ended(): Promise<void> {
    return this.#ended.promise;
  }

  /**
   * Presses the power button, waits until the guest is off or `timeoutMs` has passed, and quits QEMU.
   * Under TCG a full system takes a few seconds; give it a minute or two.
   * @returns who ended it: the guest, or we by force
   */
  async powerdown(options: { readonly timeoutMs: number }): Promise<{ readonly by: "guest" | "force" }> {
    const off = await this.#pressUntilOff(options.timeoutMs);
    await this.quit();
    return { by: off ? "guest" : "force" };
  }

  /**
   * Restarts the guest in the same QEMU: through its own shutdown if that takes less than `timeoutMs`, else hard.
   */
  async reboot(options: { readonly timeoutMs: number }): Promise<{ readonly by: "guest" | "force" }> {
    const off = await this.#pressUntilOff(options.timeoutMs);
    await this.reset();
    return { by: off ? "guest" : "force" };
  }

  /**
   * Presses the power button and waits until the guest is off or `timeoutMs` has passed. QEMU stays, so that a capture can
   * be begun of what the guest has left; `reset` starts it again.
   * @returns whether the guest is off
   */
  shutDownGuest(options: { readonly timeoutMs: number }): Promise<boolean> {
    return this.#pressUntilOff(options.timeoutMs);
  }

  /** As the reset button. A machine that is off, paused or panicked runs again. */
  async reset(): Promise<void> {
    this.#askedOff = false;
    await this.#qmp.execute("system_reset");
    if (this.#state.kind !== "running") await this.#qmp.execute("cont");
  }

  async pause(): Promise<void> {
    await this.#qmp.execute("stop");
  }

  async resume(): Promise<void> {
    await this.#qmp.execute("cont");
  }

  /** Ends QEMU in good order (50 ms): bitmaps stored, overlays closed. For a guest that runs it is a power cut. */
  async quit(options: { readonly limitMs?: number } = {}): Promise<void> {
    this.#mayEnd();
    if (this.#state.kind === "ended") return;
    const limitMs = options.limitMs ?? QUIT_LIMIT_MS;
    try {
      await this.#qmp.execute("quit", {}, { limitMs });
    } catch (error) {
      // Usual: it hangs up before it answers. Else it is stuck, and the kill below is due at once.
      if (!(error instanceof QmpClosedError)) {
        this.#log.warn({ instanceId: this.spec.instanceId, error: chain(error) }, "QEMU does not quit: killing it");
        return this.kill();
      }
    }
    if (!(await waitForEnd(this.process, limitMs))) return this.kill();
    await this.#ended.promise;
  }

  /** Ends QEMU at once. Its bitmaps are lost: the next capture reads all that the overlay holds. */
  async kill(): Promise<void> {
    this.#mayEnd();
    if (this.#state.kind === "ended") return;
    signalProcess(this.process, "SIGKILL");
    if (!(await waitForEnd(this.process, KILL_LIMIT_MS))) {
      throw new Error(`QEMU of ${this.spec.instanceId}, process ${this.process.pid}, survives SIGKILL: its disk hangs`);
    }
    await this.#ended.promise;
  }

  /** Lets go of the machine, which runs on, so that this or another process can adopt it. No more events. */
  release(): void {
    this.#released = true;
    clearInterval(this.#logTimer);
    this.#listeners.clear();
    this.#qmp.close();
  }

  /** The volumes that the machine has, root included; QEMU's word. */
  disks(): Promise<VolumeId[]> {
    return this.#disks.list();
  }

  /** @see MachineDisks.attach */
  attachDisk(disk: MachineDisk): Promise<void> {
    return this.#disks.attach(disk);
  }

  /** @see MachineDisks.detach @throws CaptureBusyError while the volume is captured */
  async detachDisk(volumeId: VolumeId, options: { readonly limitMs?: number } = {}): Promise<void> {
    if (this.#captures.isCapturing(volumeId)) throw new CaptureBusyError(`${volumeId} is being captured`);
    await this.#disks.detach(volumeId, options.limitMs);
  }

  /** @see MachineDisks.grow */
  growDisk(volumeId: VolumeId, bytes: number): Promise<void> {
    return this.#disks.grow(volumeId, bytes);
  }

  /** @see MachineCaptures.begin */
  beginCapture(
    requests: readonly CaptureRequest[],
    options: { readonly freeze?: boolean } = {},
  ): Promise<MachineCapture> {
    return this.#captures.begin(requests, options);
  }

  /** @see MachineCaptures.unfinished */
  unfinishedCapture(): Promise<MachineCapture | null> {
    return this.#captures.unfinished();
  }

  /** What the display shows, as PNG; 20 ms. */
  screenshot(): Promise<Buffer> {
    return takeScreenshot(this.#qmp, this.#directory);
  }

  #mayEnd(): void {
    if (this.#released) throw new Error(`${this.spec.instanceId} was released: whoever adopted it may end it`);
    this.#askedEnd = true;
  }

  /** True when the guest is off (or beyond: panicked, ended) by the limit. */
  async #pressUntilOff(timeoutMs: number): Promise<boolean> {
    const over = new AbortController();
    const stop = this.onEvent((event) => {
      if (event.kind === "off" || event.kind === "ended" || event.kind === "panicked") over.abort();
    });
    try {
      this.#askedOff = true;
      const until = performance.now() + timeoutMs;
      while (this.#state.kind === "running") {
        const left = until - performance.now();
        if (left <= 0) break;
        await this.#qmp.execute("system_powerdown", {}, { limitMs: Math.max(1, left) });
        await sleep(Math.min(left, BUTTON_INTERVAL_MS), undefined, { signal: over.signal }).catch(() => {});
      }
    } catch (error) {
      // QEMU hung up or doesn't answer: what follows, quit or reset, deals with that.
      this.#log.warn({ instanceId: this.spec.instanceId, error: chain(error) }, "could not press the power button");
    } finally {
      stop();
    }
    return this.#state.kind === "off";
  }

  #listen(qmp: Qmp): void {
    qmp.onEvent((event) => this.#onQmpEvent(event));
    qmp.closed
      .then(() => this.#onHangUp())
      .catch((error) => this.#log.error({ instanceId: this.spec.instanceId, error: chain(error) }, "lost a machine"));
  }

  #onQmpEvent({ event, data }: QmpEvent): void {
    switch (event) {
      case "SHUTDOWN":
        // guest:false is our own `quit`, or a signal to QEMU: the process is about to end.
        if (data.guest === true) this.#become({ kind: "off", asked: this.#askedOff });
        break;
      case "GUEST_PANICKED":
        this.#become({ kind: "panicked" });
        break;
      case "STOP":
        // Follows SHUTDOWN and GUEST_PANICKED too.
        if (this.#state.kind === "running") this.#become({ kind: "paused", reason: "paused" });
        break;
      case "RESUME":
        this.#askedOff = false;
        this.#become({ kind: "running" });
        break;
      case "RESET":
        this.#onReset(data.guest === true ? "guest" : "host");
        break;
      case "BLOCK_IO_ERROR":
        this.#onIoError(data);
        break;
      case "DEVICE_DELETED":
        this.#onDeviceDeleted(data.device);
        break;
    }
  }

  #onReset(by: "guest" | "host"): void {
    const now = performance.now();
    const echo = now - this.#lastResetMs < RESET_ECHO_MS;
    this.#lastResetMs = now;
    if (!echo) this.#tell({ kind: "reset", by });
  }

  #onIoError(data: Readonly<Record<string, unknown>>): void {
    const volumeId = typeof data["node-name"] === "string" ? volumeOfSerial(data["node-name"]) : null;
    this.#tell({ kind: "disk-error", volumeId, reason: `${String(data.operation)}: ${String(data.reason)}` });
    if (data.action === "stop") this.#become({ kind: "paused", reason: "io-error" });
  }

  #onDeviceDeleted(device: unknown): void {
    const volumeId = typeof device === "string" ? volumeOfDevice(device) : null;
    if (volumeId === null) return;
    this.#disks
      .forgetDevice(volumeId)
      .then(() => this.#tell({ kind: "detached", volumeId }))
      .catch((error) =>
        this.#log.warn({ volumeId, error: chain(error) }, "could not close a volume that was taken out"),
      );
  }

  /** Asks QEMU. An event that comes with the answer is the newer. */
  async #learnState(): Promise<void> {
    const before = this.#state;
    const { status } = await this.#qmp.execute("query-status");
    if (this.#state === before) this.#become(stateOf(status));
  }

  #become(state: MachineState): void {
    if (this.#state.kind === "ended") return;
    if (state.kind === this.#state.kind && state.kind === "running") return;
    this.#state = state;
    this.#tell(state);
  }

  #tell(event: MachineEvent): void {
    for (const listener of [...this.#listeners]) {
      try {
        listener(event);
      } catch (error) {
        this.#log.error({ instanceId: this.spec.instanceId, error: chain(error) }, "a listener to a machine failed");
      }
    }
  }

  /** QMP is closed: QEMU is gone or going, or, which has not been seen, it hung up on us and lives. */
  async #onHangUp(): Promise<void> {
    if (this.#released) return;
    while (!(await waitForEnd(this.process, 2_000))) {
      if (this.#askedEnd) continue;
      try {
        const qmp = await Qmp.connect(this.#directory.qmp, { limitMs: 5_000 });
        this.#qmp = qmp;
        this.#listen(qmp);
        await this.#learnState();
        return;
      } catch (error) {
        this.#log.warn({ instanceId: this.spec.instanceId, error: chain(error) }, "QEMU lives but cannot be reached");
      }
    }
    clearInterval(this.#logTimer);
    const words = this.#askedEnd ? "" : await lastWords(this.#directory.log).catch(() => "");
    removeRunFiles(this.#directory);
    const reason = [await this.#exit, words].filter((part) => part !== "").join(": ");
    this.#become({ kind: "ended", asked: this.#askedEnd, reason });
    this.#ended.resolve();
  }
}

const described = ({ code, signal }: ProgramExit): string =>
  signal === null ? `QEMU exited with status ${code}` : `QEMU was killed by ${signal}`;

function stateOf(runState: RunState): MachineState {
  switch (runState) {
    case "running":
      return { kind: "running" };
    case "shutdown":
      // Who wanted it was known to the process that asked, if one did. The rows say whether a stop is due.
      return { kind: "off", asked: false };
    case "guest-panicked":
      return { kind: "panicked" };
    default:
      return { kind: "paused", reason: runState };
  }
}

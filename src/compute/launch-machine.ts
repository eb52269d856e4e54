// Machines started, taken up again after a restart of the server, and forgotten.
import { existsSync, readdirSync } from "node:fs";
import { mkdir, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { systemCode } from "../base/errors.ts";
import type { VolumeId } from "../base/ids.ts";
import type { Log } from "../base/log.ts";
import { type RunningProgram, startDetached } from "../base/programs.ts";
import { type DiskKeySource, noDiskKey, withSecretFile } from "./disk-key.ts";
import { ensureUefiVars, findUefi } from "./firmware.ts";
import { type InstanceDirectory, instanceDirectory, removeRunFiles } from "./instance-directory.ts";
import { Machine } from "./machine.ts";
import { giveTo } from "./machine-files.ts";
import type { MachineSpec } from "./machine-spec.ts";
import { ensureOverlay } from "./overlay.ts";
import { qemuArgv } from "./qemu-argv.ts";
import {
  findProgram,
  identifyByPidFile,
  identifyProcess,
  lastWords,
  type ProcessIdentity,
  QEMU,
  signalProcess,
  waitForEnd,
} from "./qemu-process.ts";
import { Qmp } from "./qmp.ts";
import { endStoppedCapture } from "./stopped-capture.ts";

/** From spawn to QMP: 0.1 s, plus the block server's 10 s at most, plus a host under load. */
const START_LIMIT_MS = 30_000;

/** QEMU did not come up. What it said is in the message. */
export class MachineStartError extends Error {
  override readonly name = "MachineStartError";
}

/** The instance's QEMU runs already: adopt it. */
export class AlreadyRunningError extends Error {
  override readonly name = "AlreadyRunningError";
}

export interface MachineOptions {
  readonly log: Log;
  /** Of whom the volumes are; without it, overlays are made plain. */
  readonly diskKey?: DiskKeySource;
}

/**
 * Starts a machine; resolves when QMP answers, 0.1 to 0.2 s later, before the guest has done anything to speak of.
 * Overlays that are absent are made; nothing is copied.
 *
 * @throws ProgramMissingError, MachineStartError, AlreadyRunningError; nothing is left running then
 */
export async function launchMachine(spec: MachineSpec, { log, diskKey = noDiskKey }: MachineOptions): Promise<Machine> {
  const directory = instanceDirectory(spec.directory);
  const qemu = await findProgram(QEMU);
  await mkdir(directory.path, { recursive: true, mode: 0o700 });
  const running = await findRunning(directory, spec.uuid);
  if (running) throw new AlreadyRunningError(`${spec.instanceId} runs already, as process ${running.pid}`);
  await endStoppedCapture(directory);
  removeRunFiles(directory);
  await rm(directory.log, { force: true });

  const uefi = spec.firmware === "uefi" ? await findUefi() : null;
  const key = await diskKey();
  const encrypted = new Set<VolumeId>();
  await Promise.all([
    ...spec.disks.map(async (disk) => {
      if ((await ensureOverlay(disk, key)).encrypted) encrypted.add(disk.volumeId);
    }),
    uefi === null ? undefined : ensureUefiVars(uefi, directory.uefiVars),
    writeFile(`${directory.spec}.new`, JSON.stringify(spec)).then(() =>
      rename(`${directory.spec}.new`, directory.spec),
    ),
    writeFile(directory.consoleLog, "", { flag: "a", mode: 0o600 }),
  ]);
  for (const path of [directory.path, directory.uefiVars, directory.consoleLog]) giveTo(spec.runAs, path);
  for (const disk of spec.disks) giveTo(spec.runAs, disk.overlayPath);

  const argv = qemuArgv(spec, { uefiCode: uefi?.code ?? null, encrypted });
  const prefix = [...(spec.nic?.attachment.launcher ?? []), ...(await dropPrivileges(spec))];
  const child = await withSecretFile(encrypted.size === 0 ? null : key, spec.runAs, (secret) =>
    startDetached([...prefix, qemu, ...argv], directory.path, directory.log, secret),
  );
  try {
    const qmp = await firstContact(child, directory, spec);
    const process = identifyByPidFile(directory.pid, spec.uuid);
    if (process === null) throw new MachineStartError(`QEMU of ${spec.instanceId} ended at its start`);
    const machine = await Machine.take({ spec, directory, process, child, qmp, log, diskKey });
    log.info({ instanceId: spec.instanceId, pid: process.pid }, "started a machine");
    return machine;
  } catch (error) {
    const started = identifyProcess(child.pid, spec.uuid);
    if (started !== null) {
      signalProcess(started, "SIGKILL");
      await waitForEnd(started, START_LIMIT_MS);
    }
    removeRunFiles(directory);
    throw error;
  }
}

/**
 * Takes up a machine that another process started: its state now, its events from now on.
 * `null` when none runs there; what QEMU said last is then in `directory`'s log (`machineLastWords`).
 * 10 ms. @throws QmpTimeoutError when another process drives it, or it is stuck
 */
export async function adoptMachine(
  path: string,
  { log, diskKey = noDiskKey }: MachineOptions,
): Promise<Machine | null> {
  const directory = instanceDirectory(path);
  const spec = await readSpec(directory);
  if (spec === null) return null;
  const process = await findRunning(directory, spec.uuid);
  if (process === null) {
    removeRunFiles(directory);
    return null;
  }
  const qmp = await connectWhenThere(directory.qmp, () => waitForEnd(process, 0));
  try {
    const { UUID } = await qmp.execute("query-uuid");
    if (UUID !== spec.uuid) throw new Error(`the QEMU at ${directory.qmp} is ${UUID}, not ${spec.uuid}`);
    const machine = await Machine.take({ spec, directory, process, child: null, qmp, log, diskKey });
    log.info({ instanceId: spec.instanceId, pid: process.pid, state: machine.state().kind }, "adopted a machine");
    return machine;
  } catch (cause) {
    qmp.close();
    throw new Error(`adopt ${spec.instanceId}`, { cause });
  }
}

/**
 * Removes an instance's directory and all in it; overlays that lie elsewhere stay.
 * @throws AlreadyRunningError while its QEMU runs
 */
export async function forgetMachine(path: string): Promise<void> {
  const directory = instanceDirectory(path);
  const spec = await readSpec(directory);
  const process = spec && (await findRunning(directory, spec.uuid));
  if (process) throw new AlreadyRunningError(`${spec.instanceId} still runs, as process ${process.pid}`);
  await endStoppedCapture(directory);
  await rm(directory.path, { recursive: true, force: true });
}

/** The end of what QEMU printed in its latest run, for the StateReason of one that died while nobody looked. */
export const machineLastWords = (path: string): Promise<string> => lastWords(instanceDirectory(path).log);

async function readSpec(directory: InstanceDirectory): Promise<MachineSpec | null> {
  try {
    return JSON.parse(await readFile(directory.spec, "utf8"));
  } catch (error) {
    if (systemCode(error) === "ENOENT") return null;
    throw new Error(`read ${directory.spec}`, { cause: error });
  }
}

/** The instance's living QEMU. */
async function findRunning(directory: InstanceDirectory, uuid: string): Promise<ProcessIdentity | null> {
  const byFile = identifyByPidFile(directory.pid, uuid);
  if (byFile) return byFile;
  // A server killed just after it started QEMU: QEMU writes its pid file late. Only then is all of /proc looked at.
  if (!(await stat(directory.spec).catch(() => null))) return null;
  for (const name of readdirSync("/proc")) {
    const found = /^\d+$/.test(name) ? identifyProcess(Number(name), uuid) : null;
    if (found) return found;
  }
  return null;
}

/** Connects to QMP of a QEMU that has just been started, or says why it ended. */
async function firstContact(child: RunningProgram, directory: InstanceDirectory, spec: MachineSpec): Promise<Qmp> {
  try {
    return await connectWhenThere(directory.qmp, async () => child.exit() !== null);
  } catch (cause) {
    // The connection breaks a moment before the exit is known.
    await Promise.race([child.ended, sleep(1_000, undefined, { ref: false })]);
    const exit = child.exit();
    const words = await lastWords(directory.log);
    const what =
      exit === null
        ? `QEMU of ${spec.instanceId} does not answer`
        : `QEMU of ${spec.instanceId} ended at its start (${exit.signal ?? `status ${exit.code}`})`;
    throw new MachineStartError(words === "" ? what : `${what}: ${words}`, { cause });
  }
}

/** Connects as soon as the socket is there. */
async function connectWhenThere(path: string, hasEnded: () => Promise<boolean>): Promise<Qmp> {
  const until = performance.now() + START_LIMIT_MS;
  for (;;) {
    // To look is cheaper than a connection that is refused, and ten machines may be starting.
    if (!existsSync(path) && performance.now() < until && !(await hasEnded())) {
      await sleep(3);
      continue;
    }
    try {
      return await Qmp.connect(path, { limitMs: Math.max(1, until - performance.now()) });
    } catch (error) {
      const code = systemCode(error instanceof Error ? error.cause : error);
      if (code !== "ENOENT" && code !== "ECONNREFUSED") throw error;
      if ((await hasEnded()) || performance.now() >= until) throw error;
      await sleep(3);
    }
  }
}

/** The part of argv that changes the user, before QEMU: its own -runas does not go with the sandbox. */
async function dropPrivileges(spec: MachineSpec): Promise<string[]> {
  if (spec.runAs === undefined) return [];
  const { uid, gid } = spec.runAs;
  // /dev/kvm usually belongs to a group of its own.
  const kvm = spec.accelerator === "kvm" ? await stat("/dev/kvm") : null;
  const groups = kvm === null ? ["--clear-groups"] : [`--groups=${kvm.gid}`];
  return [await findProgram("setpriv"), `--reuid=${uid}`, `--regid=${gid}`, ...groups, "--"];
}

// KVM or TCG? Answered by running a guest for a moment.
//
// The presence of /dev/kvm, its API version, KVM_CREATE_VM and even real-mode code prove nothing: on a host where all
// four passed, no kernel ever booted. Only a stub that enters long mode, turns paging on, counts and leaves through an
// exit port tells; and it must run with the CPU model that launches use.
import { spawn } from "node:child_process";
import { constants } from "node:fs";
import { access, mkdtemp, readFile, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chain } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import { KIB } from "../base/units.ts";
import { cpuModel } from "./qemu-argv.ts";
import { findProgram, QEMU } from "./qemu-process.ts";

export interface Accelerator {
  readonly kind: "kvm" | "tcg";
  /** One sentence for `ingot status` and the log. */
  readonly reason: string;
}

/** A working probe takes 0.2 s; on a host where KVM is broken it never ends. */
const PROBE_LIMIT_MS = 2_000;
/** isa-debug-exit: status = (value << 1) | 1, and the stub writes 16. */
const STUB_EXIT_STATUS = 33;

/** 16-bit entry -> page tables for the first 2 MiB -> long mode -> a loop of two million -> out 0xf4, 16. */
const STUB_CODE =
  "+i5mDwEWsAAPIMBmg8gBDyLAZuoaAA8ACABmuBAAjtiOwI7QvwAQAAAxwLkADAAA86vHBQAQAAADIAAAxwUAIAAAAzAAAMcFADAAAIMAAAAPIOCDyCAP" +
  "IuC4ABAAAA8i2LmAAADADzINAAEAAA8wDyDADQAAAIAPIsDqgQAPABgAuYCEHgBI/8l1+7AQ5vT0AAAAAAAAAAD//wAAAJrPAP//AAAAks8A//8AAACa" +
  "rwAfAJAADwA=";

/** The stub as a 64 KiB BIOS image: halts everywhere, code at 0, and at the reset vector a jump to it. */
export function probeFirmware(): Buffer {
  const image = Buffer.alloc(64 * KIB, 0xf4);
  Buffer.from(STUB_CODE, "base64").copy(image);
  Buffer.from([0xea, 0x00, 0x00, 0x00, 0xf0]).copy(image, 0xfff0);
  return image;
}

/**
 * What guests of this host run on. Costs 0.2 s (at most 2 s) once per boot of the host, where there is a /dev/kvm that
 * we may open; else nothing. Never throws for want of KVM: the answer is then TCG and why.
 *
 * @param runDirectory  where the answer is kept until the host boots again
 */
export async function probeAccelerator(runDirectory: string, log: Log): Promise<Accelerator> {
  try {
    await access("/dev/kvm", constants.R_OK | constants.W_OK);
  } catch (cause) {
    // Not kept: a module loaded or a group joined changes it.
    return { kind: "tcg", reason: `KVM cannot be used: ${chain(cause)}` };
  }
  const cacheFile = join(runDirectory, "accelerator.json");
  const bootId = (await readFile("/proc/sys/kernel/random/boot_id", "utf8")).trim();
  const known = await readCache(cacheFile, bootId);
  if (known) return known;
  const status = await runStub("kvm");
  const found: Accelerator =
    status === STUB_EXIT_STATUS
      ? { kind: "kvm", reason: "a guest in long mode ran under KVM" }
      : {
          kind: "tcg",
          reason: `a guest in long mode did not run under KVM: ${status === null ? "no end" : `status ${status}`}`,
        };
  log.info({ ...found }, "probed the accelerator");
  const temporary = `${cacheFile}.${process.pid}`;
  await writeFile(temporary, JSON.stringify({ bootId, ...found }));
  await rename(temporary, cacheFile);
  return found;
}

async function readCache(file: string, bootId: string): Promise<Accelerator | null> {
  let kept: unknown;
  try {
    kept = JSON.parse(await readFile(file, "utf8"));
  } catch {
    return null; // absent or torn: probed again
  }
  if (typeof kept !== "object" || kept === null || !("bootId" in kept) || kept.bootId !== bootId) return null;
  if (!("kind" in kept) || !("reason" in kept) || typeof kept.reason !== "string") return null;
  if (kept.kind !== "kvm" && kept.kind !== "tcg") return null;
  return { kind: kept.kind, reason: kept.reason };
}

/** Runs the stub; its exit status, or `null` when it had to be killed. @throws Error when QEMU cannot be started */
export async function runStub(accelerator: Accelerator["kind"]): Promise<number | null> {
  const qemu = await findProgram(QEMU);
  const directory = await mkdtemp(join(tmpdir(), "ingot-probe-"));
  try {
    const firmware = join(directory, "probe64.bin");
    await writeFile(firmware, probeFirmware());
    const argv = [
      "-accel",
      accelerator,
      "-cpu",
      cpuModel(accelerator),
      "-machine",
      "pc",
      "-m",
      "16",
      "-bios",
      firmware,
    ];
    argv.push("-nodefaults", "-no-user-config", "-display", "none", "-device", "isa-debug-exit,iobase=0xf4,iosize=4");
    const child = spawn(qemu, argv, { stdio: "ignore", timeout: PROBE_LIMIT_MS, killSignal: "SIGKILL" });
    return await new Promise<number | null>((resolve, reject) => {
      child.once("error", (cause) => reject(new Error("start QEMU to probe the accelerator", { cause })));
      child.once("exit", (code) => resolve(code));
    });
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

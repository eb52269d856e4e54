// node bench/store/run.ts [--small] [--dir DIR] [--rounds 3] [--reads | --first]
//
// Ingot's block store against restic, borg, casync and qemu-img.
//
// Works on what bench/store/data.ts has made (made now where it is missing). Rounds are interleaved: each keeps all seven
// images with every tool, one tool after another, from an empty repository. Medians; casync, by far the slowest, runs in
// the first round only. Every tool is a process of its own under /usr/bin/time: wall, CPU (user and system, of all its
// threads and children) and the largest resident size. Writes bench/store/results.md; with --reads, which only reads,
// results-reads.md, and with --first, which only keeps and restores one image, results-first.md.
import { execFileSync, spawn, spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { cpus, loadavg } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { parseArgs } from "node:util";
import type { SnapshotId } from "../../src/base/ids.ts";
import type { CaptureSource } from "../../src/model/disk.ts";
import { pressed } from "./api-pressure.ts";
import { bootReads, type RandomReads, randomReads } from "./reads.ts";
import { type Cost, cpuOf, RunningIngot, residentMbOf } from "./running-ingot.ts";

const { values } = parseArgs({
  options: {
    small: { type: "boolean" },
    dir: { type: "string" },
    rounds: { type: "string", default: "3" },
    reads: { type: "boolean" },
    first: { type: "boolean" },
  },
});
const small = values.small === true;
const data = values.dir ?? (small ? "/var/tmp/ingot-bench-store-small" : "/var/tmp/ingot-bench-store");
const rounds = Number(values.rounds);
const IMAGES = ["v1", "v2", "v3", "v4", "v5", "v6", "other"] as const;
type Image = (typeof IMAGES)[number];
const raw = (image: string): string => join(data, `${image}.raw`);
const overlay = (image: string): string => join(data, `${image}.overlay`);

/** More than any tool takes for one image: its own memory, and the pages of the files that it writes. */
const WARM_BYTES = 1.5 * 2 ** 30;
const zeroes = Buffer.alloc(8 << 20);
/**
 * Has the kernel give and take back so much memory. What a virtual machine has not used for a while costs its next user a
 * second or two per gigabyte, whoever that happens to be.
 */
function warmMemory(bytes: number): void {
  const path = join(scratch, "warm-memory");
  const fd = openSync(path, "w");
  for (let at = 0; at < bytes; at += zeroes.length) writeSync(fd, zeroes, 0, zeroes.length, at);
  closeSync(fd);
  rmSync(path);
}

/** Runs a program to its end under /usr/bin/time. */
function timed(
  program: string,
  argv: readonly string[],
  options: { cwd?: string; env?: NodeJS.ProcessEnv } = {},
): Cost {
  const report = join(scratch, "time");
  const done = spawnSync("/usr/bin/time", ["-q", "-o", report, "-f", "%e %U %S %M", program, ...argv], {
    ...options,
    env: { ...process.env, ...options.env },
    stdio: ["ignore", "ignore", "pipe"],
  });
  if (done.status !== 0) throw new Error(`${program} ${argv.join(" ")}: ${done.stderr}`);
  const [wall = "", user = "", system = "", kib = ""] = readFileSync(report, "utf8")
    .trim()
    .split("\n")
    .at(-1)!
    .split(" ");
  return {
    wallS: Number(wall),
    cpuS: Number(user) + Number(system),
    residentMb: Math.round((Number(kib) * 1024) / 1e6),
  };
}

const sizeOf = (path: string): number => {
  const stat = statSync(path);
  return stat.isDirectory() ? readdirSync(path).reduce((sum, name) => sum + sizeOf(join(path, name)), 0) : stat.size;
};

const scratch = mkdtempSync(join("/var/tmp", "ingot-bench-run-"));
const NODE = process.execPath;
/** As `ingot` has it: what is loaded is compiled once, not by every process. */
const COMPILED = { NODE_COMPILE_CACHE: join(scratch, "compiled") };

/** One way of keeping images. */
interface Tool {
  readonly name: string;
  /** Rounds that it takes part in. */
  readonly rounds: number;
  begin(home: string): void | Promise<void>;
  keep(home: string, image: Image, before: Image | null): Cost | Promise<Cost>;
  /** Writes an image to `path`. */
  restore(home: string, image: Image, path: string): Cost | Promise<Cost>;
  end?(home: string): Promise<void>;
  /** Restores have all blocks of the disk written, holes too. */
  readonly dense?: boolean;
}

const RESTIC = { RESTIC_PASSWORD: "x", RESTIC_CACHE_DIR: join(scratch, "restic-cache") };
const BORG = {
  BORG_BASE_DIR: join(scratch, "borg"),
  BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK: "yes",
  BORG_RELOCATED_REPO_ACCESS_IS_OK: "yes",
};
const bytesOf = (image: string): number => statSync(raw(image)).size;
const snapshots = new Map<string, SnapshotId>();
const running = new Map<string, RunningIngot>();
const ingotIn = (home: string): RunningIngot => running.get(home)!;
const snapshotOf = (home: string, image: Image): SnapshotId => snapshots.get(`${home}/${image}`)!;

/** A generation's overlay as the host opens a stopped machine's disk; `use` gets the socket. Gives its server's CPU seconds. */
async function servedOverlay(image: Image, use: (socket: string) => Promise<void>): Promise<number> {
  const socket = join(scratch, "changed.sock");
  rmSync(socket, { force: true });
  // An empty layer, the overlay, and beneath it what is the store's and is not read (here nothing at all, there the block
  // server).
  const top = join(scratch, "top.qcow2");
  execFileSync("qemu-img", ["create", "-q", "-f", "qcow2", top, String(bytesOf(image))]);
  const layer = join(scratch, "layer.qcow2");
  execFileSync("cp", [overlay(image), layer]);
  execFileSync("qemu-img", ["rebase", "-u", "-b", "", layer]);
  const layers = [
    `driver=qcow2,file.driver=file,file.filename=${top}`,
    `backing.driver=qcow2,backing.file.driver=file,backing.file.filename=${layer}`,
    `backing.backing.driver=null-co,backing.backing.size=${bytesOf(image)},backing.backing.read-zeroes=on`,
  ].join(",");
  const options = ["-r", "-A", "-t", "-e", "8", "-x", "disk", "-k", socket, "--image-opts", layers];
  const server = spawn("qemu-nbd", options, { stdio: ["ignore", "ignore", "inherit"] });
  try {
    while (!existsSync(socket)) await delay(10);
    await use(socket);
    return cpuOf(server.pid!);
  } finally {
    server.kill();
    if (server.exitCode === null && server.signalCode === null)
      await new Promise((resume) => server.once("exit", resume));
  }
}

function ingotTool(name: string, changed: boolean): Tool {
  return {
    name,
    rounds,
    async begin(home) {
      mkdirSync(home);
      running.set(home, await RunningIngot.start(home, COMPILED));
    },
    async keep(home, image, before) {
      const bytes = bytesOf(image);
      const base = before === null || image === "other" ? null : snapshotOf(home, before);
      const kept = async (source: CaptureSource): Promise<Cost> => {
        const { answer, cost } = await ingotIn(home).ask({ command: "capture", bytes, base, source });
        snapshots.set(`${home}/${image}`, answer.id!);
        return cost;
      };
      if (!changed || base === null) return kept({ kind: "file", path: raw(image) });
      let cost: Cost | null = null;
      // The overlay's reader works for Ingot: its time counts, too.
      const readerS = await servedOverlay(image, async (socket) => {
        cost = await kept({ kind: "nbd", socket, exportName: "disk", changed: "qemu:allocation-depth" });
      });
      return { ...cost!, cpuS: cost!.cpuS + readerS };
    },
    restore: async (home, image, path) =>
      (await ingotIn(home).ask({ command: "restore", id: snapshotOf(home, image), path })).cost,
    async end(home) {
      await ingotIn(home).end();
      running.delete(home);
    },
  };
}

const QCOW2 = ["convert", "-c", "-O", "qcow2", "-o", "compression_type=zstd"];

const TOOLS: readonly Tool[] = [
  ingotTool("Ingot", false),
  ingotTool("Ingot, changed blocks known", true),
  {
    name: "restic",
    rounds,
    begin: (home) => void timed("restic", ["-q", "-r", home, "init", "--repository-version", "2"], { env: RESTIC }),
    keep(home, image) {
      const link = join(scratch, "disk.raw");
      rmSync(link, { force: true });
      // One name for all generations, so that restic finds the one before.
      execFileSync("ln", [raw(image), link]);
      return timed("restic", ["-q", "-r", home, "backup", "--compression", "auto", "--tag", image, link], {
        env: RESTIC,
      });
    },
    restore(home, image, path) {
      const into = `${path}.d`;
      const cost = timed("restic", ["-q", "-r", home, "restore", "latest", "--tag", image, "--target", into], {
        env: RESTIC,
      });
      execFileSync("mv", [join(into, scratch, "disk.raw"), path]);
      rmSync(into, { recursive: true, force: true });
      return cost;
    },
    dense: true,
  },
  {
    name: "borg zstd,3",
    rounds,
    begin: (home) => void timed("borg", ["init", "-e", "none", home], { env: BORG }),
    keep: (home, image) =>
      timed("borg", ["create", "-C", "zstd,3", `${home}::${image}`, `${image}.raw`], { env: BORG, cwd: data }),
    restore(home, image, path) {
      const into = `${path}.d`;
      mkdirSync(into);
      const cost = timed("borg", ["extract", "--sparse", `${home}::${image}`], { env: BORG, cwd: into });
      execFileSync("mv", [join(into, `${image}.raw`), path]);
      rmSync(into, { recursive: true, force: true });
      return cost;
    },
  },
  {
    name: "casync",
    rounds: 1,
    begin: (home) => mkdirSync(home),
    keep: (home, image) =>
      timed("casync", [
        "make",
        "--compression=zstd",
        `--store=${home}/store.castr`,
        `${home}/${image}.caibx`,
        raw(image),
      ]),
    restore: (home, image, path) =>
      timed("casync", ["extract", `--store=${home}/store.castr`, `${home}/${image}.caibx`, path]),
  },
  {
    name: "qcow2 zstd",
    rounds,
    begin: (home) => mkdirSync(home),
    keep: (home, image) => timed("qemu-img", [...QCOW2, "-f", "raw", raw(image), join(home, `${image}.qcow2`)]),
    restore: (home, image, path) => timed("qemu-img", ["convert", "-O", "raw", join(home, `${image}.qcow2`), path]),
  },
  {
    name: "qcow2 zstd chain, changed blocks known",
    rounds,
    begin: (home) => mkdirSync(home),
    keep(home, image, before) {
      const into = join(home, `${image}.qcow2`);
      if (before === null || image === "other") return timed("qemu-img", [...QCOW2, "-f", "raw", raw(image), into]);
      return timed("qemu-img", [
        ...QCOW2,
        "-f",
        "qcow2",
        "-B",
        join(home, `${before}.qcow2`),
        "-F",
        "qcow2",
        overlay(image),
        into,
      ]);
    },
    restore: (home, image, path) => timed("qemu-img", ["convert", "-O", "raw", join(home, `${image}.qcow2`), path]),
  },
];

const median = (numbers: readonly number[]): number => {
  const sorted = [...numbers].sort((a, b) => a - b);
  const half = Math.floor(sorted.length / 2);
  return sorted.length % 2 === 1 ? sorted[half]! : (sorted[half - 1]! + sorted[half]!) / 2;
};

interface Measured {
  readonly keep: Map<Image, Cost[]>;
  readonly restore: Cost[];
  readonly stored: Map<Image, number>;
}
const measured = new Map<Tool, Measured>(
  TOOLS.map((tool) => [tool, { keep: new Map(IMAGES.map((image) => [image, []])), restore: [], stored: new Map() }]),
);
const say = (line: string): void => console.log(`${new Date().toISOString().slice(11, 19)} ${line}`);
const homeOf = (tool: Tool): string => join(scratch, tool.name.replace(/\W+/g, "-"));

/** @param images  that each tool keeps, v1 among them, which it then restores */
async function round(number: number, tools: readonly Tool[], images: readonly Image[]): Promise<void> {
  for (const tool of tools) {
    if (number > tool.rounds) continue;
    const home = homeOf(tool);
    rmSync(home, { recursive: true, force: true });
    const found = measured.get(tool)!;
    await tool.begin(home);
    let stored = 0;
    let before: Image | null = null;
    for (const image of images) {
      warmMemory(WARM_BYTES);
      found.keep.get(image)!.push(await tool.keep(home, image, before));
      const now = sizeOf(home);
      if (number === 1) found.stored.set(image, now - stored);
      stored = now;
      before = image;
    }
    const path = join(scratch, "restored");
    warmMemory(tool.dense === true ? bytesOf("v1") + WARM_BYTES : WARM_BYTES);
    found.restore.push(await tool.restore(home, "v1", path));
    execFileSync("cmp", [path, raw("v1")]);
    rmSync(path);
    await tool.end?.(home);
    say(`round ${number}: ${tool.name}, ${(stored / 1e6).toFixed(0)} MB`);
    // Ingot's and qemu's are read from later.
    if (number < rounds && tool.rounds > number) rmSync(home, { recursive: true, force: true });
  }
}

interface Reads {
  readonly name: string;
  readonly random: RandomReads[];
  readonly boot: number[];
  residentMb: number;
}

const FIRST_BOOT = "Ingot, first boot";
const AT_ONCE = "Ingot, boot profile known";
/** A guest's first read comes this long after QEMU has connected, at the least: 2.4 s after here, where it is emulated. */
const LEAD_MS = 250;
const LATER = `Ingot, boot profile known, reads begin ${LEAD_MS} ms after connecting`;

/** Servers of v6 one after another, fresh for each measurement, in interleaved rounds. */
async function reads(): Promise<Reads[]> {
  const ingot = TOOLS[0]!;
  const qcow2 = TOOLS.find(({ name }) => name === "qcow2 zstd")!;
  const units = readFileSync(join(data, "boot.units"), "utf8").trim().split("\n").map(Number);
  const bytes = bytesOf("v6");
  // Only where there is data: holes cost nobody anything. The same places for all.
  const extents = execFileSync("qemu-img", ["map", "--output=json", "-f", "raw", raw("v6")], { maxBuffer: 64 << 20 });
  const filled = (JSON.parse(extents.toString()) as { start: number; length: number; data: boolean }[]).filter(
    (e) => e.data,
  );
  const total = filled.reduce((sum, { length }) => sum + length, 0);
  const random = randomBytes(4 * 3000);
  const offsets = Array.from({ length: 3000 }, (_, i) => {
    let at = Math.floor((random.readUInt32LE(4 * i) / 2 ** 32) * total);
    for (const { start, length } of filled) {
      if (at < length) return start + Math.floor(at / 4096) * 4096;
      at -= length;
    }
    return 0;
  });
  const nbd = (name: string, program: string, argv: (socket: string) => string[]) => ({ name, program, argv });
  const servers = [
    nbd("qemu-nbd raw", "qemu-nbd", (socket) => [
      "-r",
      "-t",
      "-e",
      "8",
      "-f",
      "raw",
      "-x",
      "disk",
      "-k",
      socket,
      raw("v6"),
    ]),
    nbd("nbdkit raw", "nbdkit", (socket) => ["-f", "-r", "-U", socket, "file", raw("v6")]),
    nbd("qemu-nbd qcow2 zstd", "qemu-nbd", (socket) => [
      ...["-r", "-t", "-e", "8", "-f", "qcow2", "-x", "disk", "-k", socket],
      join(homeOf(qcow2), "v6.qcow2"),
    ]),
  ];
  const results: Reads[] = [...servers.map(({ name }) => name), FIRST_BOOT, AT_ONCE, LATER].map((name) => ({
    name,
    random: [],
    boot: [],
    residentMb: 0,
  }));
  const home = homeOf(ingot);
  const id = snapshotOf(home, "v6");
  const profiles = join(home, "ingot", "profiles");
  const process = await RunningIngot.start(home, COMPILED);
  for (let n = 0; n < rounds; n++) {
    for (const [i, server] of servers.entries()) {
      const result = results[i]!;
      for (const what of ["random", "boot"] as const) {
        const socket = join(scratch, `${n}-${i}-${what}.sock`);
        warmMemory(WARM_BYTES);
        const child = spawn(server.program, server.argv(socket), { stdio: ["ignore", "ignore", "inherit"] });
        while (!existsSync(socket)) await new Promise((resume) => setTimeout(resume, 10));
        const name = server.program === "nbdkit" ? "" : "disk";
        if (what === "random") result.random.push(await randomReads(socket, name, offsets));
        else result.boot.push(await bootReads(socket, name, units, bytes, 0));
        result.residentMb = Math.max(result.residentMb, residentMbOf(child.pid!));
        child.kill();
        await new Promise((resume) => child.once("exit", resume));
      }
    }
    for (const [what, name] of [
      ["random", FIRST_BOOT],
      // The first boot records its profile, the others follow it.
      ["boot", FIRST_BOOT],
      ["boot", AT_ONCE],
      ["boot", LATER],
    ] as const) {
      const result = results.find((each) => each.name === name)!;
      if (name === FIRST_BOOT) rmSync(profiles, { recursive: true, force: true });
      warmMemory(WARM_BYTES);
      const { socket = "", pid = 0 } = (await process.ask({ command: "serve", id })).answer;
      // A server that has served another image: its code is compiled, and its cache holds nothing of this one.
      await randomReads(
        socket,
        snapshotOf(home, "other"),
        Array.from({ length: 2000 }, (_, i) => (i % 2 === 0 ? i : 2000 - i) * 64 * 1024),
      );
      if (what === "random") result.random.push(await randomReads(socket, id, offsets));
      else result.boot.push(await bootReads(socket, id, units, bytes, name === LATER ? LEAD_MS : 0));
      result.residentMb = Math.max(result.residentMb, residentMbOf(pid));
      await process.ask({ command: "stop-serving" });
    }
    say(`reads, round ${n + 1}`);
  }
  await process.end();
  return results;
}

const table = (headings: readonly string[], rows: readonly (readonly string[])[]): string =>
  [
    `| ${headings.join(" | ")} |`,
    `|${headings.map(() => "---").join("|")}|`,
    ...rows.map((row) => `| ${row.join(" | ")} |`),
  ].join("\n");

const readsTable = (served: readonly Reads[]): string =>
  table(
    ["server", "4 KiB random p50 µs", "p99 µs", "a boot's reads, ms: median, fastest, slowest", "resident MB"],
    served.map(({ name, random, boot, residentMb }) => [
      name,
      random.length > 0 ? String(median(random.map(({ p50Us }) => p50Us))) : "",
      random.length > 0 ? String(median(random.map(({ p99Us }) => p99Us))) : "",
      [median(boot), Math.min(...boot), Math.max(...boot)].map((ms) => ms.toFixed(0)).join(", "),
      String(residentMb),
    ]),
  );

/** What `reads` needs, and nothing else. */
async function onlyReads(): Promise<void> {
  for (const tool of TOOLS.filter(({ name }) => name === "Ingot" || name === "qcow2 zstd")) {
    const home = homeOf(tool);
    await tool.begin(home);
    for (const image of ["other", "v6"] as const) await tool.keep(home, image, null);
    await tool.end?.(home);
  }
  const text = `# Reads of v6 through NBD\n\n\`node bench/store/run.ts --reads --rounds ${rounds}\`, ${new Date().toISOString().slice(0, 16)}Z: ${cpus().length} × ${cpus()[0]?.model.trim()}.\n\n${readsTable(await reads())}\n`;
  writeFileSync(join(import.meta.dirname, "results-reads.md"), text);
  console.log(text);
}

/** The first capture and a restore alone, in many rounds: both take less than two seconds, so single ones differ. */
async function onlyFirst(): Promise<void> {
  const tools = TOOLS.filter(({ name }) => name === "Ingot" || name === "restic" || name === "qcow2 zstd");
  for (let n = 1; n <= rounds; n++) await round(n, tools, ["v1"]);
  const walls = (costs: readonly Cost[]): string => {
    const all = costs.map(({ wallS }) => wallS);
    return [median(all), Math.min(...all), Math.max(...all)].map((s) => s.toFixed(2)).join(", ");
  };
  const figures = tools.map((tool) => ({ name: tool.name, ...measured.get(tool)! }));
  const ours = figures[0]!;
  const ratio = (theirs: readonly Cost[], own: readonly Cost[]): string =>
    `${(median(theirs.map(({ wallS }) => wallS)) / median(own.map(({ wallS }) => wallS))).toFixed(2)} ×`;
  const rows = figures.map(({ name, keep, restore }) => [
    name,
    walls(keep.get("v1")!),
    ratio(keep.get("v1")!, ours.keep.get("v1")!),
    walls(restore),
    ratio(restore, ours.restore),
  ]);
  const headings = ["", "first capture, s: median, fastest, slowest", "÷ Ingot", "restore, s", "÷ Ingot"];
  const text = `# The first capture and a restore of v1\n\n\`node bench/store/run.ts --first --rounds ${rounds}\`, ${new Date().toISOString().slice(0, 16)}Z: ${cpus().length} × ${cpus()[0]?.model.trim()}. Wall.\n\n${table(headings, rows)}\n`;
  writeFileSync(join(import.meta.dirname, "results-first.md"), text);
  console.log(text);
}

function report(served: readonly Reads[], api: { quiet: number; busy: number; bytesPerSecond: number }): string {
  const of = (name: string): Measured => measured.get(TOOLS.find((tool) => tool.name === name)!)!;
  const keep = (name: string, image: Image, what: "wallS" | "cpuS" | "residentMb"): number =>
    median(
      of(name)
        .keep.get(image)!
        .map((cost) => cost[what]),
    );
  const restore = (name: string, what: "wallS" | "cpuS"): number => median(of(name).restore.map((cost) => cost[what]));
  const total = (name: string): number => [...of(name).stored.values()].reduce((sum, bytes) => sum + bytes, 0);
  const mb = (bytes: number): string => (bytes / 1e6).toFixed(0);
  const rows = TOOLS.map(({ name }) => {
    const resident = Math.max(...[...of(name).keep.values()].flat().map((cost) => cost.residentMb));
    const cpu = IMAGES.reduce((sum, image) => sum + keep(name, image, "cpuS"), 0);
    return [
      name,
      `${keep(name, "v1", "wallS").toFixed(2)} / ${keep(name, "v1", "cpuS").toFixed(2)}`,
      `${keep(name, "v6", "wallS").toFixed(2)} / ${keep(name, "v6", "cpuS").toFixed(2)}`,
      cpu.toFixed(1),
      ...IMAGES.map((image) => mb(of(name).stored.get(image)!)),
      mb(total(name)),
      `${restore(name, "wallS").toFixed(2)} / ${restore(name, "cpuS").toFixed(2)}`,
      String(resident),
    ];
  });
  const plain = served.find(({ name }) => name === "qemu-nbd raw")!;
  const boot = (name: string): number => median(served.find((each) => each.name === name)!.boot);
  const I = "Ingot";
  const C = "Ingot, changed blocks known";
  const Q = "qcow2 zstd";
  const R = "restic";
  const chain = "qcow2 zstd chain, changed blocks known";
  const generations = (name: string): Image[] =>
    IMAGES.filter((image) => image !== "v1" && image !== "other" && of(name));
  const changedCpu = (name: string): number =>
    generations(name).reduce((sum, image) => sum + keep(name, image, "cpuS"), 0);
  const allResident = (name: string): number =>
    Math.max(...[...of(name).keep.values()].flat().map((c) => c.residentMb));
  const goal = (what: string, value: number, limit: number, sign: "≥" | "≤", unit: string): string[] => [
    what,
    `${value.toFixed(2)}${unit}`,
    `${sign} ${limit}${unit}`,
    (sign === "≥" ? value >= limit : value <= limit) ? "met" : "**missed**",
  ];
  const goals = [
    goal("first capture, wall: restic ÷ Ingot", keep(R, "v1", "wallS") / keep(I, "v1", "wallS"), 3.4, "≥", "×"),
    goal("first capture, wall: qcow2 zstd ÷ Ingot", keep(Q, "v1", "wallS") / keep(I, "v1", "wallS"), 1.9, "≥", "×"),
    goal("first capture, CPU: Ingot ÷ restic", keep(I, "v1", "cpuS") / keep(R, "v1", "cpuS"), 0.33, "≤", "×"),
    goal("full rescan v5→v6, CPU: Ingot ÷ restic", keep(I, "v6", "cpuS") / keep(R, "v6", "cpuS"), 0.33, "≤", "×"),
    goal("changed blocks v5→v6, CPU: Ingot ÷ restic", keep(C, "v6", "cpuS") / keep(R, "v6", "cpuS"), 0.12, "≤", "×"),
    goal("changed blocks v2…v6, CPU: Ingot ÷ qcow2 chain", changedCpu(C) / changedCpu(chain), 1, "≤", "×"),
    goal("stored, seven images: Ingot ÷ restic", total(I) / total(R), 0.87, "≤", "×"),
    goal("stored: Ingot ÷ borg zstd", total(I) / total("borg zstd,3"), 0.82, "≤", "×"),
    goal("stored: Ingot ÷ qcow2 chain", total(C) / total(chain), 0.84, "≤", "×"),
    goal("stored: Ingot ÷ casync", total(I) / total("casync"), 0.86, "≤", "×"),
    goal("restore, wall: restic ÷ Ingot", restore(R, "wallS") / restore(I, "wallS"), 5, "≥", "×"),
    goal("restore, wall: qcow2 zstd ÷ Ingot", restore(Q, "wallS") / restore(I, "wallS"), 1.5, "≥", "×"),
    goal(
      `boot's reads with a profile, ${LEAD_MS} ms after connecting: speed of raw NBD`,
      (100 * median(plain.boot)) / boot(LATER),
      85,
      "≥",
      " %",
    ),
    goal("the same, at once", (100 * median(plain.boot)) / boot(AT_ONCE), 85, "≥", " %"),
    goal("resident in capture", Math.max(allResident(I), allResident(C)), 200, "≤", " MB"),
    goal("resident in serving", Math.max(...served.slice(-3).map(({ residentMb }) => residentMb)), 256, "≤", " MB"),
    goal("DescribeImages p99 during a capture at full speed", api.busy, 20, "≤", " ms"),
  ];
  const version = (program: string, ...argv: string[]): string =>
    (execFileSync(program, argv).toString().split("\n")[0] ?? "").trim();
  return `# The block store beside its peers

\`node bench/store/run.ts${small ? " --small" : ""} --rounds ${rounds}\`, ${new Date().toISOString().slice(0, 16)}Z: ${cpus().length} × ${cpus()[0]?.model.trim()}, load ${begun.map((x) => x.toFixed(1)).join(" ")} before and ${loadavg()
    .map((x) => x.toFixed(1))
    .join(
      " ",
    )} after, page cache and free memory warm. ${version("restic", "version")}; ${version("borg", "--version")}; casync ${version("casync", "--version")}; ${version("qemu-img", "--version")}. Ingot and restic encrypt, the others do not. Medians of ${rounds} interleaved rounds (casync: one). Ingot is a server that runs, as its users have it, from its bundle; the start of its threads is in its figures. The peers are processes that are started for each task, as their users run them.

${small ? "**Small images: this run only shows that everything works; its ratios say nothing.**\n\n" : ""}${table(["goal", "measured", "goal", ""], goals)}

## Capture and restore

Seconds as wall / CPU; MB stored by each image. "changed blocks known": what a machine's overlay or dirty bitmap says has changed, read over NBD with its server's CPU counted; \`other\` has no generation before it.

${table(
  ["", "v1", "v5→v6", "CPU s, all", ...IMAGES.map((image) => `${image} MB`), "total MB", "restore v1", "resident MB"],
  rows,
)}

## Reads of v6 through NBD

${readsTable(served)}

One read at a time, of data only; the boot's reads eight at a time, in 64 KiB units${small ? " (made up for small images)" : ", as v6 really read them up to its login prompt"}. Each measurement begins with an empty cache of the server's own.

## The API while a capture runs

DescribeImages p99: ${api.quiet.toFixed(1)} ms quiet, ${api.busy.toFixed(1)} ms during a capture of ${(api.bytesPerSecond / 1e6).toFixed(0)} MB/s of data, ten callers a second each waiting for its answer.
`;
}

if (!existsSync(join(data, "boot.units"))) {
  execFileSync(NODE, [join(import.meta.dirname, "data.ts"), ...(small ? ["--small"] : []), "--dir", data], {
    stdio: "inherit",
  });
}
RunningIngot.build();
const begun = loadavg();
try {
  // Everybody reads from the page cache.
  for (const image of IMAGES)
    execFileSync("cat", [raw(image), ...(existsSync(overlay(image)) ? [overlay(image)] : [])], {
      stdio: ["ignore", "ignore", "inherit"],
    });
  await compileOnce();
  if (values.reads === true) await onlyReads();
  else if (values.first === true) await onlyFirst();
  else await everything();
} finally {
  for (const each of running.values()) await each.end();
  rmSync(scratch, { recursive: true, force: true });
}

/** Fills the compiler's cache. */
async function compileOnce(): Promise<void> {
  const ingot = TOOLS[0]!;
  await ingot.begin(join(scratch, "warm"));
  await ingot.keep(join(scratch, "warm"), "v1", null);
  await ingot.restore(join(scratch, "warm"), "v1", join(scratch, "warm.raw"));
  await ingot.end?.(join(scratch, "warm"));
  for (const name of ["warm", "warm.raw"]) rmSync(join(scratch, name), { recursive: true });
}

async function everything(): Promise<void> {
  for (let n = 1; n <= rounds; n++) await round(n, TOOLS, IMAGES);
  const served = await reads();
  const api = await pressed(raw("v6"), say);
  const text = report(served, api);
  writeFileSync(join(import.meta.dirname, small ? "results-small.md" : "results.md"), text);
  console.log(text);
}

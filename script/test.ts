// npm test [-- check|unit|api|faults|guests|s3|clients|FILE…]: all but s3 and clients when nothing is named, the quickest first.
//
// A file with a failure is run once more, alone: this machine may have been busy with something else. Both runs are printed,
// the second counts, and the last lines name what needed it, so that nothing flaky goes unseen.
import { spawnSync } from "node:child_process";
import { globSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { run } from "node:test";
import { spec } from "node:test/reporters";

const root = dirname(import.meta.dirname);
process.chdir(root);

interface Stage {
  readonly files: readonly string[];
  readonly concurrency: number;
  /** Needs programs that are not light to install: only when it is named. */
  readonly named?: true;
}

/** Each in a process per file. Guests are emulated: more than one at a time would only wait for the processor. */
const STAGES: Record<string, Stage> = {
  unit: { files: ["src/**/*.test.ts", "script/*.test.ts", "test/*.test.ts"], concurrency: 2 },
  api: { files: ["test/api/**/*.test.ts"], concurrency: 2 },
  faults: { files: ["test/faults/**/*.test.ts"], concurrency: 1 },
  guests: { files: ["test/guests/**/*.test.ts"], concurrency: 1 },
  s3: { files: ["test/s3/**/*.test.ts"], concurrency: 1, named: true },
  clients: { files: ["test/clients/**/*.test.ts"], concurrency: 1, named: true },
};
const CHECKS = [
  ["tsc", "-p", "."],
  ["biome", "check", "--error-on-warnings"],
  ["knip", "--no-progress"],
];

/** The longest takes three minutes here. One that hangs has failed, and its process ends with whatever it left open. */
const TEST_LIMIT_MS = 12 * 60_000;
const END_WITH_TESTS = new URL("end-with-tests.ts", import.meta.url).href;

let passed = 0;
let failed = 0;
let skipped = 0;
/** Files that failed in company and passed alone. */
const flaky: string[] = [];
/** Every failure of any run, for the end of the output: who reads a cut log reads its tail. */
const failures: string[] = [];

function check(): void {
  for (const [program = "", ...argv] of CHECKS) {
    process.stdout.write(`▶ ${program} ${argv.join(" ")}\n`);
    const started = performance.now();
    const { status, error } = spawnSync(join(root, "node_modules/.bin", program), argv, { stdio: "inherit" });
    if (error !== undefined || status !== 0) failed++;
    else passed++;
    process.stdout.write(`${status === 0 ? "✔" : "✖"} ${program} (${seconds(started)})\n`);
  }
}

interface Outcome {
  passed: number;
  failed: number;
  skipped: number;
  /** Files with a failure. */
  readonly broken: Set<string>;
}

async function runOnce(files: readonly string[], concurrency: number): Promise<Outcome> {
  const outcome: Outcome = { passed: 0, failed: 0, skipped: 0, broken: new Set() };
  const stream = run({
    files: [...files],
    concurrency,
    timeout: TEST_LIMIT_MS,
    execArgv: ["--import", END_WITH_TESTS],
  });
  stream.on("test:pass", ({ skip, todo, details }) => {
    if (details.type === "suite") return;
    if (skip !== undefined || todo !== undefined) outcome.skipped++;
    else outcome.passed++;
  });
  stream.on("test:fail", ({ name, details, todo, file }) => {
    if (details.type === "suite" || todo !== undefined) return;
    outcome.failed++;
    const said = details.error.cause instanceof Error ? details.error.cause : details.error;
    failures.push(`${name} (${file === undefined ? "?" : relative(root, file)})\n${short(said)}`);
    // A file that can't be loaded is its own failed test.
    outcome.broken.add(files.find((name) => file?.endsWith(name)) ?? "");
  });
  for await (const text of stream.compose(spec)) process.stdout.write(text);
  return outcome;
}

async function runFiles(name: string, files: string[], concurrency: number): Promise<void> {
  if (files.length === 0) return;
  process.stdout.write(`▶ ${name}: ${files.length} files\n`);
  const started = performance.now();
  const first = await runOnce(files, concurrency);
  passed += first.passed;
  skipped += first.skipped;
  if (first.broken.has("")) failed += first.failed;
  else if (first.broken.size > 0) {
    const again = [...first.broken];
    process.stdout.write(`▶ ${name}: once more, alone: ${again.join(", ")}\n`);
    const second = await runOnce(again, 1);
    failed += second.failed;
    passed += first.failed - Math.min(first.failed, second.failed);
    for (const file of again) if (!second.broken.has(file)) flaky.push(file);
  }
  process.stdout.write(`▶ ${name} took ${seconds(started)}\n`);
}

/** The beginning of what a failure said, indented. */
const short = (error: Error): string =>
  (error.stack ?? error.message)
    .split("\n", 25)
    .map((line) => `    ${line.slice(0, 300)}`)
    .join("\n");

const seconds = (started: number): string => `${((performance.now() - started) / 1000).toFixed(1)} s`;

const asked = process.argv.slice(2);
const started = performance.now();
const named = asked.filter((word) => word === "check" || word in STAGES);
const files = asked.filter((word) => !named.includes(word));
if (asked.length === 0 || named.includes("check")) check();
for (const [name, stage] of Object.entries(STAGES)) {
  if (named.includes(name) || (asked.length === 0 && stage.named !== true)) {
    await runFiles(name, stage.files.flatMap((pattern) => globSync(pattern)).sort(), stage.concurrency);
  }
}
await runFiles("named files", files, 1);

for (const failure of failures) process.stdout.write(`\nfailed once at least: ${failure}\n`);
for (const file of flaky) process.stdout.write(`flaky: ${file}\n`);
process.stdout.write(`\nin ${seconds(started)}\n${passed} passed, ${failed} failed, ${skipped} skipped\n`);
process.exitCode = failed === 0 && passed > 0 ? 0 : 1;

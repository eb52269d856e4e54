// npm test [-- check|unit|api|faults|s3|guests|FILE…]: all of it when nothing is named, the quickest first.
import { spawnSync } from "node:child_process";
import { globSync } from "node:fs";
import { dirname, join } from "node:path";
import { run } from "node:test";
import { spec } from "node:test/reporters";

const root = dirname(import.meta.dirname);
process.chdir(root);

/** Each in a process per file. Guests are emulated: more than one at a time would only wait for the processor. */
const STAGES: Record<string, { readonly files: readonly string[]; readonly concurrency: number }> = {
  unit: { files: ["src/**/*.test.ts", "script/*.test.ts", "test/*.test.ts"], concurrency: 2 },
  api: { files: ["test/api/**/*.test.ts"], concurrency: 2 },
  faults: { files: ["test/faults/**/*.test.ts"], concurrency: 1 },
  s3: { files: ["test/s3/**/*.test.ts"], concurrency: 1 },
  guests: { files: ["test/guests/**/*.test.ts"], concurrency: 1 },
};
const CHECKS = [
  ["tsc", "-p", "."],
  ["biome", "check", "--error-on-warnings"],
  ["knip", "--no-progress"],
];

let passed = 0;
let failed = 0;
let skipped = 0;

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

async function runFiles(name: string, files: string[], concurrency: number): Promise<void> {
  if (files.length === 0) return;
  process.stdout.write(`▶ ${name}: ${files.length} files\n`);
  const started = performance.now();
  const stream = run({ files, concurrency });
  stream.on("test:pass", ({ skip, todo, details }) => {
    if (details.type === "suite") return;
    if (skip !== undefined || todo !== undefined) skipped++;
    else passed++;
  });
  stream.on("test:fail", ({ details, todo }) => {
    if (details.type !== "suite" && todo === undefined) failed++;
  });
  for await (const text of stream.compose(spec)) process.stdout.write(text);
  process.stdout.write(`▶ ${name} took ${seconds(started)}\n`);
}

const seconds = (started: number): string => `${((performance.now() - started) / 1000).toFixed(1)} s`;

const asked = process.argv.slice(2);
const started = performance.now();
const named = asked.filter((word) => word === "check" || word in STAGES);
const files = asked.filter((word) => !named.includes(word));
if (asked.length === 0 || named.includes("check")) check();
for (const [name, stage] of Object.entries(STAGES)) {
  if (asked.length === 0 || named.includes(name)) {
    await runFiles(name, stage.files.flatMap((pattern) => globSync(pattern)).sort(), stage.concurrency);
  }
}
await runFiles("named files", files, 1);

process.stdout.write(`\nin ${seconds(started)}\n${passed} passed, ${failed} failed, ${skipped} skipped\n`);
process.exitCode = failed === 0 && passed > 0 ? 0 : 1;

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { appendFileSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { startDetached } from "../base/programs.ts";
import { MIB } from "../base/units.ts";
import { instanceDirectory } from "./instance-directory.ts";
import { boundLogs } from "./machine-files.ts";
import {
  findProgram,
  identifyByPidFile,
  identifyProcess,
  isAlive,
  lastWords,
  ProgramMissingError,
  readTail,
  signalProcess,
  waitForEnd,
} from "./qemu-process.ts";

const temporary = (t: { after(action: () => void): void }): string => {
  const directory = mkdtempSync(join(tmpdir(), "ingot-process-"));
  t.after(() => rmSync(directory, { recursive: true }));
  return directory;
};

test("a process is known by an argument and its start time; another of the same pid is never signalled", async (t) => {
  const child = spawn("sleep", ["61.5"], { stdio: "ignore" });
  t.after(() => child.kill("SIGKILL"));
  await new Promise((resolve) => child.once("spawn", resolve));
  const pid = child.pid!;
  // Between fork and exec it is still a node: not yet known by its argument.
  let identity = identifyProcess(pid, "61.5");
  while (identity === null) {
    await new Promise((resolve) => setImmediate(resolve));
    identity = identifyProcess(pid, "61.5");
  }
  assert.equal(identifyProcess(pid, "61"), null); // a whole argument, not a part of one
  const file = join(temporary(t), "pid");
  writeFileSync(file, `${pid}\n`);
  assert.deepEqual(identifyByPidFile(file, "61.5"), identity);
  assert.equal(isAlive(identity), true);
  assert.equal(await waitForEnd(identity, 0), false);

  const earlier = { pid, startTime: "1" }; // one that had this pid before
  assert.equal(isAlive(earlier), false);
  assert.equal(signalProcess(earlier, "SIGKILL"), false);
  assert.equal(isAlive(identity), true);

  assert.equal(signalProcess(identity, "SIGKILL"), true);
  assert.equal(await waitForEnd(identity, 10_000), true);
  assert.equal(signalProcess(identity, "SIGKILL"), false);
});

test("pid files that hold no pid name nobody", (t) => {
  const file = join(temporary(t), "pid");
  assert.equal(identifyByPidFile(file, "x"), null);
  for (const text of ["", "0", "1", "-1", "12.5", "abc", "99999999999999999999"]) {
    writeFileSync(file, text);
    assert.equal(identifyByPidFile(file, "x"), null, text);
  }
});

test("a program that isn't there is named", async () => {
  await assert.rejects(
    findProgram("no-such-program-here"),
    (error) => error instanceof ProgramMissingError && /no-such-program-here/.test(error.message),
  );
});

test("what a process prints is kept, and its end can be read", async (t) => {
  const directory = temporary(t);
  const log = join(directory, "log");
  const child = await startDetached(
    ["sh", "-c", "for n in 1 2 3 4 5 6 7 8 9 10; do echo line $n >&2; done"],
    directory,
    log,
  );
  assert.deepEqual(await child.ended, { code: 0, signal: null });
  assert.deepEqual(child.exit(), { code: 0, signal: null });
  assert.equal(await lastWords(log), [4, 5, 6, 7, 8, 9, 10].map((n) => `line ${n}`).join("\n"));
  assert.equal((await readTail(log, 8)).toString(), "line 10\n");
  assert.equal((await readTail(join(directory, "none"), 8)).length, 0);
});

test("long logs give their room back, and nothing that is being written is lost", async (t) => {
  const directory = instanceDirectory(temporary(t));
  const block = Buffer.alloc(MIB, "a line of a guest that talks too much\n");
  for (let n = 0; n < 6; n++) appendFileSync(directory.consoleLog, block);
  appendFileSync(directory.consoleLog, "the end");
  await boundLogs(directory); // there is no qemu.log: nothing to cut
  const { size, blocks } = statSync(directory.consoleLog);
  assert.equal(size, 6 * MIB + 7);
  assert.ok(blocks * 512 < MIB, `${blocks * 512} bytes of room`);
  assert.equal((await readTail(directory.consoleLog, 64 * 1024)).toString().endsWith("the end"), true);
  appendFileSync(directory.consoleLog, "!");
  assert.equal((await readTail(directory.consoleLog, 8)).toString(), "the end!");
});

import assert from "node:assert/strict";
import { mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { runProgram, startDetached, startPiped, startProgramsElsewhere } from "./programs.ts";

const LIMIT_MS = 60_000;

const temporary = (t: { after(action: () => void): void }): string => {
  const directory = mkdtempSync(join(tmpdir(), "ingot-programs-"));
  t.after(() => rmSync(directory, { recursive: true }));
  return directory;
};

const TESTS: Readonly<Record<string, (t: TestContext) => Promise<void>>> = {
  "a short program gets its input, and its output comes back whole": async () => {
    const input = "a line of some length\n".repeat(20_000);
    assert.equal(await runProgram(["cat"], input, LIMIT_MS), input);
    assert.equal(await runProgram(["true"], input, LIMIT_MS), "");
  },

  "one that fails, hangs or isn't there says so": async () => {
    await assert.rejects(
      runProgram(["sh", "-c", "echo half done; echo no such thing >&2; exit 3"], "", LIMIT_MS),
      /^Error: sh -c .* failed \(3\): no such thing$/,
    );
    await assert.rejects(runProgram(["sleep", "60"], "", 20), /^Error: sleep 60 failed \(SIGTERM\): $/);
    await assert.rejects(runProgram(["/no/such/program"], "", LIMIT_MS), (error: Error) => {
      assert.match(error.message, /^run \/no\/such\/program$/);
      assert.match(String(error.cause), /ENOENT/);
      return true;
    });
    await assert.rejects(runProgram([], "", LIMIT_MS), /no program to start/);
  },

  "a program is spoken with line by line, and ends with its input": async () => {
    let heard = "";
    let wake = (): void => {};
    const program = await startPiped(
      ["sh", "-c", 'while read -r line; do echo "heard $line"; done; echo bye'],
      (text) => {
        heard += text;
        wake();
      },
    );
    const until = async (text: string) => {
      while (!heard.includes(text)) {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
    };
    program.write("one\n");
    await until("heard one\n");
    assert.equal(program.exit(), null);
    program.write("two\nthree\n");
    await until("heard three\n");
    assert.deepEqual(await program.end(), { code: 0, signal: null });
    assert.equal(heard, "heard one\nheard two\nheard three\nbye\n", "its last words come before its end");
    program.write("four\n");
    assert.deepEqual(await program.end(), { code: 0, signal: null });
  },

  "a program that is killed has ended": async () => {
    const program = await startPiped(["sleep", "60"], () => {});
    program.kill();
    assert.deepEqual(await program.ended, { code: null, signal: "SIGKILL" });
    await assert.rejects(
      startPiped(["/no/such/program"], () => {}),
      /start \/no\/such\/program/,
    );
  },

  "a detached program leads a session, writes to its log, and gets its secret": async (t) => {
    const directory = temporary(t);
    const log = join(directory, "log");
    writeFileSync(join(directory, "secret"), "hush");
    const secret = openSync(join(directory, "secret"), "r");
    const child = await startDetached(
      ["sh", "-c", "cut -d' ' -f6 /proc/$$/stat; echo $$; pwd; cat <&3; echo . >&2"],
      directory,
      log,
      secret,
    );
    assert.deepEqual(await child.ended, { code: 0, signal: null });
    assert.deepEqual(child.exit(), { code: 0, signal: null });
    assert.equal(readFileSync(log, "utf8"), `${child.pid}\n${child.pid}\n${directory}\nhush.\n`);
    await assert.rejects(startDetached([join(directory, "nothing")], directory, log), /start .*nothing/);
  },
};

for (const [name, run] of Object.entries(TESTS)) test(`${name}: started here`, run);
test("from now on by a thread", () => startProgramsElsewhere());
for (const [name, run] of Object.entries(TESTS)) test(`${name}: started by a thread`, run);

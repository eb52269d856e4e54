import assert from "node:assert/strict";
import test from "node:test";
import fc from "fast-check";
import { newPart } from "./console-log.ts";

test("what was added is shown once and in order, as long as the windows overlap", () => {
  fc.assert(
    fc.property(
      fc.array(fc.string({ unit: "grapheme-ascii", maxLength: 30 }), { maxLength: 30 }),
      fc.integer({ min: 64, max: 200 }),
      (lines, windowBytes) => {
        // Numbered, as lines of a boot are stamped: a log that repeats itself can't be told from one that stands still.
        const parts = lines.map((line, index) => `[${index}] ${line}\n`);
        const whole = Buffer.from(parts.join(""));
        const window = (end: number) => whole.subarray(Math.max(0, end - windowBytes), end);
        let end = 0;
        let shown = window(end);
        let said = Buffer.from(shown);
        for (const part of parts) {
          end += Buffer.byteLength(part);
          const now = window(end);
          said = Buffer.concat([said, newPart(shown, now)]);
          shown = now;
        }
        assert.equal(said.toString(), whole.toString());
      },
    ),
  );
});

test("nothing new is nothing to show; a window beyond the last one is all new", () => {
  const log = Buffer.from("one\ntwo\n");
  assert.equal(newPart(log, log).length, 0);
  assert.equal(newPart(Buffer.from("abc"), Buffer.from("xyz")).toString(), "xyz");
});

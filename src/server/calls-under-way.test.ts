import assert from "node:assert/strict";
import { test } from "node:test";
import { CallsUnderWay } from "./calls-under-way.ts";

test("it is quiet once the last call is answered, well or not", async () => {
  const calls = new CallsUnderWay();
  await calls.quiet(60_000);
  const first = Promise.withResolvers<void>();
  const second = Promise.withResolvers<void>();
  const answers = [calls.during(() => first.promise), calls.during(() => second.promise)];
  let quiet = false;
  const waited = calls.quiet(60_000).then(() => {
    quiet = true;
  });
  first.resolve();
  await answers[0];
  await new Promise(setImmediate);
  assert.equal(quiet, false);
  second.reject(new Error("refused"));
  await assert.rejects(answers[1]!, /refused/);
  await waited;
});

test("a call that takes long keeps nobody", async () => {
  const calls = new CallsUnderWay();
  const transfer = Promise.withResolvers<void>();
  const answer = calls.during(() => transfer.promise);
  await calls.quiet(1);
  transfer.resolve();
  await answer;
});

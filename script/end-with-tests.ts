// Loaded into each test file's process: ends it when its tests have ended, also where one that failed has left a server or
// a child behind. The runner's own `forceExit` does so at once, and the last results, still on their way through the pipe,
// are lost with it: up to a quarter of a long file's.
import { isMainThread } from "node:worker_threads";

/** For the results to be read: the runner reads at once. */
const GRACE_MS = 5_000;

// Threads of the tests load it too, and have no tests of their own.
if (isMainThread) {
  const { after } = await import("node:test");
  after(() => {
    setTimeout(() => {
      process.stderr.write(`still open when the tests had ended: ${process.getActiveResourcesInfo().join(", ")}\n`);
      process.exit();
    }, GRACE_MS).unref();
  });
}

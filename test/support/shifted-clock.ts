// Loaded into a server with `--import`: its wall clock is off by as many milliseconds as a file says, from one call to the
// next. Its monotonic clock goes on as it is, as when an operator, or NTP, sets a machine's clock.
import { readFileSync } from "node:fs";
import { ServerResponse } from "node:http";

const file = process.env.INGOT_TEST_CLOCK ?? "";
const Unshifted = Date;

function now(): number {
  try {
    return Unshifted.now() + Number(readFileSync(file, "utf8"));
  } catch {
    // The test is over, or has not begun.
    return Unshifted.now();
  }
}

globalThis.Date = class extends Unshifted {
  constructor(...parts: [] | [number | string]) {
    // With several parts it would be local time, which nothing of ours is.
    super(parts[0] ?? now());
  }
  static override now(): number {
    return now();
  }
} as DateConstructor;

// Node's own Date header follows the unshifted clock. SDKs set theirs by it.
const { writeHead } = ServerResponse.prototype;
ServerResponse.prototype.writeHead = function (this: ServerResponse, ...words: unknown[]) {
  this.setHeader("date", new Date().toUTCString());
  return Reflect.apply(writeHead, this, words);
};

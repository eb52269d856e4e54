// The audit journal: a file that a call's intent and its outcome are appended to, so that neither costs the call a
// database transaction. Lines go to the database in batches (trail.ts) and are dropped from here once they are committed.
//
//   <directory>/journal-<n>   lines of `<crc32, 8 hex digits> <JSON>\n`; the largest n is appended to
//
// A line survives the death of this process as soon as `append` returns, and a power cut once `sync` has resolved. A torn
// last line was never acknowledged and is ignored. A damaged line elsewhere is reported and the rest is read.
import {
  closeSync,
  fdatasync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { crc32 } from "node:zlib";
import type { Log } from "../base/log.ts";
import { MIB } from "../base/units.ts";

/** When a segment is larger, the next one is begun as soon as everything in it is in the database. */
const SEGMENT_BYTES = 4 * MIB;

export interface Journal {
  /** Lines that earlier processes have left, oldest first. */
  readonly left: readonly unknown[];
  /** @throws Error when the file system refuses; nothing of the line is kept then */
  append(line: object): void;
  /** Resolves when everything that was appended before the call is on the disk. Callers at the same time share one sync. */
  sync(): Promise<void>;
  /** Everything but `open` is in the database: forget it, if it is worth the trouble. `open` are lines still needed. */
  settled(open: () => Iterable<object>): void;
  /** Removes what `left` held: it is in the database now. */
  dropLeft(): void;
  close(): void;
}

export function openJournal(directory: string, log: Log): Journal {
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  const numbers = readdirSync(directory)
    .map((name) => /^journal-([0-9]+)$/.exec(name)?.[1])
    .filter((digits) => digits !== undefined)
    .map(Number)
    .sort((a, b) => a - b);
  const path = (n: number): string => join(directory, `journal-${n}`);
  const left = numbers.flatMap((n) => readSegment(path(n), log));
  let old = numbers.map(path);
  let current = (numbers.at(-1) ?? 0) + 1;
  let fd = create(directory, path(current));
  let size = 0;
  // Half a line was written when the disk was full: the next one starts on a line of its own.
  let torn = false;
  let syncing: Promise<void> | null = null;
  let next: Promise<void> | null = null;

  const append = (line: object): void => {
    const bytes = encode(line, torn);
    try {
      let written = 0;
      while (written < bytes.length) written += writeSync(fd, bytes, written);
    } catch (cause) {
      torn = true;
      throw new Error("append to the audit journal", { cause });
    }
    torn = false;
    size += bytes.length;
  };

  const startSync = (): Promise<void> => {
    const done = new Promise<void>((resolve, reject) => {
      fdatasync(fd, (error) =>
        error === null ? resolve() : reject(new Error("sync the audit journal", { cause: error })),
      );
    }).finally(() => {
      syncing = null;
    });
    syncing = done;
    return done;
  };

  return {
    left,
    append,
    sync() {
      if (syncing === null) return startSync();
      // The running one may have started before our line was written: wait for the one after it, with everybody else.
      next ??= syncing
        .catch(() => {})
        .then(() => {
          next = null;
          return startSync();
        });
      return next;
    },
    settled(open) {
      if (size < SEGMENT_BYTES || syncing !== null) return;
      const [full, fullFd] = [path(current), fd];
      const fresh = create(directory, path(current + 1));
      current++;
      fd = fresh;
      size = 0;
      torn = false;
      for (const line of open()) append(line);
      fsyncSync(fd);
      closeSync(fullFd);
      rmSync(full);
    },
    dropLeft() {
      for (const segment of old) rmSync(segment, { force: true });
      old = [];
    },
    close: () => closeSync(fd),
  };
}

function create(directory: string, path: string): number {
  // Append: a truncation after a failed write must not leave a hole.
  const fd = openSync(path, "ax", 0o600);
  const parent = openSync(directory, "r");
  fsyncSync(parent);
  closeSync(parent);
  return fd;
}

function encode(line: object, afterTorn: boolean): Buffer {
  const json = JSON.stringify(line);
  return Buffer.from(`${afterTorn ? "\n" : ""}${crc32(json).toString(16).padStart(8, "0")} ${json}\n`);
}

function readSegment(path: string, log: Log): unknown[] {
  const lines = readFileSync(path, "utf8").split("\n");
  // After the last newline: empty, or a line that was never finished.
  lines.pop();
  const read: unknown[] = [];
  for (const [index, line] of lines.entries()) {
    if (line === "") continue;
    const json = line.slice(9);
    if (crc32(json).toString(16).padStart(8, "0") === line.slice(0, 8)) read.push(JSON.parse(json));
    else log.error({ path, line: index + 1 }, "a line of the audit journal is damaged: its call may lack a record");
  }
  return read;
}

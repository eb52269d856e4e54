// The audit journal: a file that a call's intent and its outcome are appended to, so that neither costs the call a
// database transaction. Lines go to the database in batches (trail.ts) and are dropped from here once they are committed.
//
//   <directory>/journal-<n>   lines of `<crc32, 8 hex digits> <JSON>\n`, then zeroes; the largest n is written to
//   <directory>/spare         zeroes: the next one
//
// Segments are written into space that is there already: a sync then needs no change of the file system's own (0.24 ms where
// a growing file takes 0.41, on the ext4 of the machine that this was measured on).
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
  renameSync,
  rmSync,
} from "node:fs";
import { open } from "node:fs/promises";
import { join } from "node:path";
import { crc32 } from "node:zlib";
import { chain } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import { MIB } from "../base/units.ts";
import { writeFully, writeFullySync } from "../base/write-fully.ts";

/** When a segment is larger, the next one is begun as soon as everything in it is in the database. */
const SEGMENT_BYTES = MIB;

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
  close(): Promise<void>;
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
  const spare = join(directory, "spare");
  writeZeroes(spare);
  let fd = take(directory, spare, path(current));
  let size = 0;
  let hasSpare = false;
  /** Of `size`. */
  let spareTriedAt = 0;
  let makingSpare: Promise<void> | null = null;
  let syncing: Promise<void> | null = null;
  let next: Promise<void> | null = null;

  const append = (line: object): void => {
    const bytes = encode(line);
    try {
      // Half a line that was written when the disk was full is written over by the next one.
      writeFullySync(fd, bytes, size);
    } catch (cause) {
      throw new Error("append to the audit journal", { cause });
    }
    size += bytes.length;
    if (!hasSpare && size - spareTriedAt > SEGMENT_BYTES / 2) makeSpare();
  };

  const makeSpare = (): void => {
    spareTriedAt = size;
    makingSpare ??= (async () => {
      try {
        const file = await open(spare, "w", 0o600);
        try {
          await writeFully(file, Buffer.alloc(SEGMENT_BYTES));
          await file.sync();
        } finally {
          await file.close();
        }
        hasSpare = true;
      } catch (error) {
        // The segment grows until there is one.
        log.warn({ error: chain(error) }, "no space is set aside for the audit journal");
      } finally {
        makingSpare = null;
      }
    })();
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
      if (size < SEGMENT_BYTES || syncing !== null || !hasSpare) return;
      const [full, fullFd] = [path(current), fd];
      fd = take(directory, spare, path(current + 1));
      hasSpare = false;
      spareTriedAt = 0;
      current++;
      size = 0;
      for (const line of open()) append(line);
      fsyncSync(fd);
      closeSync(fullFd);
      rmSync(full);
    },
    dropLeft() {
      for (const segment of old) rmSync(segment, { force: true });
      old = [];
    },
    async close() {
      await makingSpare;
      closeSync(fd);
      // The number may be another file's soon.
      fd = -1;
    },
  };
}

function writeZeroes(path: string): void {
  const fd = openSync(path, "w", 0o600);
  try {
    writeFullySync(fd, Buffer.alloc(SEGMENT_BYTES));
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

/** Makes the spare the segment at `path`, and opens it. */
function take(directory: string, spare: string, path: string): number {
  renameSync(spare, path);
  const parent = openSync(directory, "r");
  fsyncSync(parent);
  closeSync(parent);
  return openSync(path, "r+");
}

function encode(line: object): Buffer {
  const json = JSON.stringify(line);
  return Buffer.from(`${crc32(json).toString(16).padStart(8, "0")} ${json}\n`);
}

function readSegment(path: string, log: Log): unknown[] {
  const lines = readFileSync(path, "utf8").split("\n");
  // After the last newline: zeroes, or a line that was never finished.
  lines.pop();
  const read: unknown[] = [];
  for (const [index, text] of lines.entries()) {
    // A power cut may have kept a later page and not an earlier one, before either was synced.
    const line = text.slice(text.lastIndexOf("\0") + 1);
    if (line === "") continue;
    const json = line.slice(9);
    if (crc32(json).toString(16).padStart(8, "0") === line.slice(0, 8)) read.push(JSON.parse(json));
    else log.error({ path, line: index + 1 }, "a line of the audit journal is damaged: its call may lack a record");
  }
  return read;
}

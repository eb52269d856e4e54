// The few system calls that Node has no door to. Each has a way without: koffi may be missing.
import { loadKoffi } from "./zstd.ts";

interface Libc {
  /** Next byte of data at or after `offset`; -1 when there is none or the filesystem can't tell. */
  seekData(fd: number, offset: number): number;
  /** Next hole at or after `offset`. */
  seekHole(fd: number, offset: number): number;
  /** Takes an exclusive lock without waiting. The kernel drops it when the process ends, however it ends. */
  tryLock(fd: number): boolean;
  /** Begins to write a range to the disk without waiting for it; no promise of anything, errors included. */
  startWriting(fd: number, offset: number, bytes: number): void;
}

const SEEK_DATA = 3;
const SEEK_HOLE = 4;
const LOCK_EX_NB = 2 | 4;
const SYNC_FILE_RANGE_WRITE = 2;

let loaded: Libc | null | undefined;

/** null where koffi or a libc is missing. */
export function libc(): Libc | null {
  if (loaded !== undefined) return loaded;
  loaded = null;
  const koffi = loadKoffi();
  if (koffi !== null) {
    try {
      const lib = koffi.load("libc.so.6");
      const lseek = lib.func("int64_t lseek64(int fd, int64_t offset, int whence)");
      const flock = lib.func("int flock(int fd, int operation)");
      const syncFileRange = lib.func("int sync_file_range(int fd, int64_t offset, int64_t bytes, unsigned int flags)");
      loaded = {
        seekData: (fd, offset) => Number(lseek(fd, offset, SEEK_DATA)),
        seekHole: (fd, offset) => Number(lseek(fd, offset, SEEK_HOLE)),
        tryLock: (fd) => flock(fd, LOCK_EX_NB) === 0,
        startWriting: (fd, offset, bytes) => {
          syncFileRange(fd, offset, bytes, SYNC_FILE_RANGE_WRITE);
        },
      };
    } catch {
      // Another libc (musl): zero detection and the lock file serve.
    }
  }
  return loaded;
}

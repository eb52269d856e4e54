// Writes that write everything. A disk that is nearly full takes a part of a write and says nothing; only the next one fails.
import { writeSync } from "node:fs";
import type { FileHandle } from "node:fs/promises";

/** @param position  where in the file; `null`: where it stands. @throws Error, with code ENOSPC when the disk is full */
export async function writeFully(file: FileHandle, bytes: Uint8Array, position: number | null = null): Promise<void> {
  for (let done = 0; done < bytes.length; ) {
    const at = position === null ? null : position + done;
    done += (await file.write(bytes, done, bytes.length - done, at)).bytesWritten;
  }
}

/** The same, of a thread that has nothing else to do. */
export function writeFullySync(fd: number, bytes: Uint8Array, position: number | null = null): void {
  for (let done = 0; done < bytes.length; ) {
    const at = position === null ? null : position + done;
    done += writeSync(fd, bytes, done, bytes.length - done, at);
  }
}

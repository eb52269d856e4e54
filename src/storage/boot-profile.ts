// Which parts of an image its boot reads. Recorded at the image's first launch; at later ones the frames are decoded
// ahead of the guest, in the order in which it will ask. A profile is only advice: lost or wrong, it costs time.
//
// Kept by the disk's digest, as offsets in the disk, so that repacking does not touch it.
import { mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { crc32 } from "node:zlib";
import { systemCode } from "../base/errors.ts";
import { DATA_FRAME } from "./format.ts";
import type { SnapshotReader } from "./snapshot-reader.ts";

/** A boot is over after this long (a full Debian under emulation takes a minute)… */
const RECORD_MS = 120_000;
/** …or after it has touched this many frames: 256 MiB. */
const MAX_FRAMES = 4096;

interface Recording {
  readonly touched: Set<number>;
  readonly timer: NodeJS.Timeout;
}

export class BootProfiles {
  readonly #directory: string;
  readonly #prefetchBytes: number;
  readonly #onError: (error: unknown) => void;
  readonly #recording = new Map<SnapshotReader, Recording>();
  readonly #prefetching = new Set<SnapshotReader>();

  /** @param prefetchBytes  never decode more than this ahead, or the cache would push out what it holds */
  constructor(directory: string, prefetchBytes: number, onError: (error: unknown) => void) {
    this.#directory = directory;
    this.#prefetchBytes = prefetchBytes;
    this.#onError = onError;
  }

  /** A disk is opened: follow its profile, or record one. Resolves when all is read ahead: 64 KiB units, 0 if it records. */
  async attach(reader: SnapshotReader): Promise<number> {
    let profile: Uint32Array | null = null;
    try {
      profile = this.#load(reader.digest);
    } catch (error) {
      this.#onError(error);
    }
    if (profile !== null) {
      this.#prefetching.add(reader);
      try {
        return await this.#prefetch(reader, profile);
      } catch (error) {
        this.#onError(error);
        return 0;
      }
    }
    const timer = setTimeout(() => this.#save(reader), RECORD_MS);
    timer.unref();
    const recording = { touched: new Set<number>(), timer };
    this.#recording.set(reader, recording);
    reader.onRead = (offset, bytes) => {
      for (let unit = Math.floor(offset / DATA_FRAME); unit * DATA_FRAME < offset + bytes; unit++) {
        recording.touched.add(unit);
      }
      if (recording.touched.size >= MAX_FRAMES) this.#save(reader);
    };
    return 0;
  }

  detach(reader: SnapshotReader): void {
    this.#prefetching.delete(reader);
    this.#save(reader);
  }

  /** Keeps what was recorded so far. */
  flush(): void {
    for (const reader of [...this.#recording.keys()]) this.#save(reader);
  }

  #path(digest: string): string {
    return join(this.#directory, digest);
  }

  /** u32 crc32 of the rest, then u32 numbers of 64 KiB units in the order of first touch. */
  #load(digest: string): Uint32Array | null {
    let bytes: Buffer;
    try {
      bytes = readFileSync(this.#path(digest));
    } catch (error) {
      if (systemCode(error) === "ENOENT") return null;
      throw error;
    }
    const body = bytes.subarray(4);
    if (bytes.length < 4 || crc32(body) !== bytes.readUInt32LE(0)) return null;
    return Uint32Array.from({ length: body.length / 4 }, (_, i) => body.readUInt32LE(4 * i));
  }

  #save(reader: SnapshotReader): void {
    const recording = this.#recording.get(reader);
    if (recording === undefined) return;
    this.#recording.delete(reader);
    reader.onRead = null;
    clearTimeout(recording.timer);
    // A few reads are somebody looking at the disk, not a boot.
    if (recording.touched.size < 16) return;
    const bytes = Buffer.alloc(4 + 4 * recording.touched.size);
    let at = 4;
    for (const unit of recording.touched) at = bytes.writeUInt32LE(unit, at);
    bytes.writeUInt32LE(crc32(bytes.subarray(4)), 0);
    try {
      mkdirSync(this.#directory, { recursive: true, mode: 0o700 });
      const tmp = `${this.#path(reader.digest)}.${process.pid}`;
      writeFileSync(tmp, bytes, { mode: 0o600 });
      renameSync(tmp, this.#path(reader.digest));
    } catch (error) {
      this.#onError(error);
    }
  }

  async #prefetch(reader: SnapshotReader, profile: Uint32Array): Promise<number> {
    const unit = Buffer.allocUnsafeSlow(DATA_FRAME);
    let units = 0;
    for (const number of profile) {
      // Guests' requests come first: they are handled between any two units.
      await new Promise((resume) => setImmediate(resume));
      const offset = number * DATA_FRAME;
      if (!this.#prefetching.has(reader) || (units + 1) * DATA_FRAME > this.#prefetchBytes) break;
      if (offset >= reader.bytes) continue;
      units++;
      await reader.readInto(unit.subarray(0, Math.min(DATA_FRAME, reader.bytes - offset)), offset);
    }
    this.#prefetching.delete(reader);
    return units;
  }
}

// Packs in a bucket, read by ranges through a cache of files that all of the store's processes share: cache/PACK/UNIT, each
// of 512 KiB of a pack. A unit is whole or not there; what is in it is checked by whoever reads the frame, as ever.
//
// One request brings all units that one read misses, and eight at a time where the one before was asked for as well.
import { closeSync, fstatSync, mkdirSync, openSync, readSync, renameSync, utimesSync, writeFileSync } from "node:fs";
import { mkdir, mkdtemp, open, readdir, rm, stat, unlink } from "node:fs/promises";
import { join } from "node:path";
import { systemCode } from "../base/errors.ts";
import { GIB, KIB, MIB } from "../base/units.ts";
import { writeFully } from "../base/write-fully.ts";
import { DamageError, PACK_HEADER_BYTES, TRAILER_BYTES } from "./format.ts";
import { domainInHeader, OpenFiles, type PackFiles, packPath } from "./pack-files.ts";
import type { S3Backend } from "./s3-backend.ts";

const UNIT = 512 * KIB;
const AHEAD_UNITS = 8;
/** The cache may grow by this much beyond its limit before it is looked through. */
const SLACK_BYTES = 256 * MIB;
export const DEFAULT_CACHE_BYTES = 20 * GIB;

type Bucket = () => Promise<S3Backend>;

export function bucketPackFiles(
  directory: string,
  bucket: Bucket,
  { cacheBytes = DEFAULT_CACHE_BYTES }: { readonly cacheBytes?: number } = {},
): PackFiles {
  const cache = join(directory, "cache");
  const domains = new Map<string, string | null>();
  const files = new OpenFiles<{ readonly fd: number; readonly bytes: number }>(({ fd }) => closeSync(fd));
  const fetching = new Map<string, Promise<void>>();
  let written = 0;
  let scratch = Buffer.allocUnsafeSlow(256 * KIB);

  const unitFile = (name: string, unit: number): { readonly fd: number; readonly bytes: number } | undefined => {
    const key = `${name}/${unit}`;
    const known = files.get(key);
    if (known !== undefined) return known;
    try {
      const path = join(cache, name, String(unit));
      const fd = openSync(path, "r");
      const now = new Date();
      // What was used lately is dropped last.
      utimesSync(path, now, now);
      return files.add(key, { fd, bytes: fstatSync(fd).size });
    } catch (error) {
      if (systemCode(error) === "ENOENT") return undefined;
      throw error;
    }
  };

  const fetchUnits = async (name: string, first: number, last: number): Promise<void> => {
    const object = await bucket();
    const bytes = await object.range(packPath(name), first * UNIT, (last + 1) * UNIT);
    mkdirSync(join(cache, name), { recursive: true, mode: 0o700 });
    for (let unit = first; unit <= last; unit++) {
      const part = bytes.subarray((unit - first) * UNIT, (unit - first + 1) * UNIT);
      if (part.length === 0) break;
      const path = join(cache, name, String(unit));
      const tmp = `${path}.${process.pid}-${Math.random().toString(36).slice(2)}`;
      writeFileSync(tmp, part, { mode: 0o600 });
      renameSync(tmp, path);
      written += part.length;
    }
    if (written > SLACK_BYTES) {
      written = 0;
      await shrink(cache, cacheBytes).catch(() => {});
    }
  };

  /** Every missing unit of `first…last`, in one request where they adjoin. */
  const need = (name: string, first: number, last: number): Promise<unknown> => {
    const waits: Promise<void>[] = [];
    for (let unit = first; unit <= last; unit++) {
      const under = fetching.get(`${name}/${unit}`);
      if (under !== undefined) waits.push(under);
      else if (unitFile(name, unit) === undefined) {
        let end = unit;
        const sequential = unit > 0 && (fetching.has(`${name}/${unit - 1}`) || unitFile(name, unit - 1) !== undefined);
        const most = sequential ? Math.max(last, unit + AHEAD_UNITS - 1) : last;
        while (end < most && !fetching.has(`${name}/${end + 1}`) && unitFile(name, end + 1) === undefined) end++;
        const from = unit;
        const fetched = fetchUnits(name, from, end).finally(() => {
          for (let each = from; each <= end; each++) fetching.delete(`${name}/${each}`);
        });
        for (let each = from; each <= end; each++) fetching.set(`${name}/${each}`, fetched);
        waits.push(fetched);
        unit = end;
      }
    }
    return Promise.all(waits);
  };

  /** undefined: a unit is missing. */
  const fromCache = (name: string, offset: number, bytes: number): Buffer | undefined => {
    if (scratch.length < bytes) scratch = Buffer.allocUnsafeSlow(bytes);
    for (let got = 0; got < bytes; ) {
      const unit = Math.floor((offset + got) / UNIT);
      const file = unitFile(name, unit);
      if (file === undefined) return undefined;
      const within = (offset + got) % UNIT;
      const length = Math.min(bytes - got, UNIT - within);
      if (within + length > file.bytes)
        throw new DamageError(`pack ${name} is cut short: it ends before byte ${offset + bytes}`);
      for (let done = 0; done < length; ) {
        const n = readSync(file.fd, scratch, got + done, length - done, within + done);
        if (n === 0) throw new DamageError(`the cache of pack ${name} is cut short`);
        done += n;
      }
      got += length;
    }
    return scratch.subarray(0, bytes);
  };

  const read = (name: string, offset: number, bytes: number): Buffer | Promise<Buffer> => {
    const here = fromCache(name, offset, bytes);
    if (here !== undefined) return here;
    const first = Math.floor(offset / UNIT);
    const last = Math.floor((offset + bytes - 1) / UNIT);
    return (async () => {
      for (let attempt = 0; attempt < 3; attempt++) {
        await need(name, first, last);
        const found = fromCache(name, offset, bytes);
        // A copy: other reads come before whoever waits for this one.
        if (found !== undefined) return Buffer.from(found);
      }
      throw new DamageError(`pack ${name} is cut short: it ends before byte ${offset + bytes}`);
    })();
  };

  return {
    read,
    domainOf(name) {
      const known = domains.get(name);
      if (known !== undefined) return known;
      const learn = (header: Buffer): string | null => {
        const domain = domainInHeader(name, header);
        domains.set(name, domain);
        return domain;
      };
      const header = read(name, 0, PACK_HEADER_BYTES);
      return header instanceof Promise ? header.then(learn) : learn(header);
    },
    keepOnly(names) {
      for (const name of domains.keys()) if (!names.has(name)) domains.delete(name);
      files.keepOnlyWhere((key) => names.has(key.slice(0, key.indexOf("/"))));
    },
    close: () => files.closeAll(),
  };
}

/** Removes what was used longest ago until the cache has `limit` bytes. */
async function shrink(cache: string, limit: number): Promise<void> {
  const units: { path: string; bytes: number; usedAt: number }[] = [];
  for (const pack of await readdir(cache)) {
    for (const unit of await readdir(join(cache, pack)).catch(() => [])) {
      const path = join(cache, pack, unit);
      const found = await stat(path).catch(() => null);
      if (found !== null) units.push({ path, bytes: found.size, usedAt: found.mtimeMs });
    }
  }
  let total = units.reduce((sum, { bytes }) => sum + bytes, 0);
  units.sort((a, b) => a.usedAt - b.usedAt);
  for (const { path, bytes } of units) {
    if (total <= limit) return;
    await unlink(path).catch(() => {});
    total -= bytes;
  }
}

/**
 * A whole pack as a file for as long as `use` runs, which gets a folder that has it under `packPath`.
 * @param footerOnly  only header and footer are there, the rest is a hole
 */
export async function withWholePack<T>(
  directory: string,
  bucket: Bucket,
  name: string,
  footerOnly: boolean,
  use: (root: string) => Promise<T> | T,
): Promise<T> {
  const object = await bucket();
  const tmp = join(directory, "tmp");
  await mkdir(tmp, { recursive: true });
  const root = await mkdtemp(join(tmp, "pack-"));
  try {
    const path = join(root, packPath(name));
    await mkdir(join(path, ".."), { recursive: true });
    const bytes = await object.size(packPath(name));
    const file = await open(path, "wx+", 0o600);
    try {
      await file.truncate(bytes);
      const copy = async (from: number, to: number): Promise<void> => {
        const part = await object.range(packPath(name), from, to);
        await writeFully(file, part, from);
      };
      if (footerOnly) {
        await copy(0, PACK_HEADER_BYTES);
        await copy(Math.max(0, bytes - MIB), bytes);
        const trailer = Buffer.alloc(TRAILER_BYTES);
        await file.read(trailer, 0, TRAILER_BYTES, bytes - TRAILER_BYTES);
        const footer = trailer.readUInt32LE(8);
        if (footer < bytes - MIB) await copy(footer, bytes - MIB);
      } else for (let at = 0; at < bytes; at += 16 * MIB) await copy(at, Math.min(bytes, at + 16 * MIB));
    } finally {
      await file.close();
    }
    return await use(root);
  } finally {
    await rm(root, { recursive: true, force: true });
  }
}

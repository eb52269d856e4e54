// The block server: a process of its own that serves snapshots to guests, so that the API server may restart, or die,
// without a guest noticing. It only reads the store, decides nothing, and may itself be killed at any instruction:
// QEMU reconnects to the next one.
import { chmodSync, unlinkSync } from "node:fs";
import { createServer } from "node:net";
import { dirname, join } from "node:path";
import { text } from "node:stream/consumers";
import { chain, systemCode } from "../base/errors.ts";
import { MIB } from "../base/units.ts";
import { BlobIndex } from "./blob-index.ts";
import { BlobReader } from "./blob-reader.ts";
import { BLOCK_SERVER_VERSION, type BlockServerGreeting, type BlockServerSetup } from "./block-server-protocol.ts";
import { BootProfiles } from "./boot-profile.ts";
import { Domains } from "./encryption.ts";
import { FrameCache } from "./frame-cache.ts";
import { openHome } from "./home.ts";
import { NbdServer } from "./nbd-server.ts";
import { takeOwnerLock } from "./owner-lock.ts";
import { isHolderId, readRecord, topOf } from "./records.ts";
import { PageCache, SnapshotReader } from "./snapshot-reader.ts";
import { openCodec } from "./zstd.ts";

/** About 70 bytes each. */
const PAGE_ROWS = 256 * 1024;
/** Of index entries: those of 5 GB of content. */
const INDEX_BYTES = 16 * MIB;
/** A damaged disk that a guest reads again and again must not fill the log. */
const ERRORS_PER_MINUTE = 60;

interface OpenExport {
  readonly reader: SnapshotReader;
  connections: number;
}

async function main(): Promise<void> {
  const setup = JSON.parse(await text(process.stdin)) as BlockServerSetup;
  const startedAt = new Date().toISOString();
  // Standard error is the log file that the server opened for us.
  const log = (level: string, message: string): void => {
    process.stderr.write(`${JSON.stringify({ time: new Date().toISOString(), level, message })}\n`);
  };
  // Two starters at once: the second leaves the field.
  takeOwnerLock(join(dirname(setup.control), "block-server.lock"));

  const home = openHome(setup.directory, setup.bucket);
  const index = new BlobIndex(join(setup.directory, "index"), INDEX_BYTES, (error) => log("error", chain(error)));
  const cache = new FrameCache(setup.cacheBytes);
  const blobs = new BlobReader({
    index,
    packs: home.packs("sync"),
    codec: openCodec(),
    domains: new Domains(setup.directory, setup.key === null ? null : Buffer.from(setup.key, "hex")),
    cache,
  });
  const pages = new PageCache(PAGE_ROWS);
  const profiles = new BootProfiles(join(setup.directory, "profiles"), setup.cacheBytes / 2, (error) =>
    log("warn", chain(error)),
  );
  const open = new Map<string, Promise<OpenExport | undefined>>();

  const openExport = async (name: string): Promise<OpenExport | undefined> => {
    if (!isHolderId(name)) return undefined;
    const record = await readRecord(await home.backend(), name);
    if (record === undefined) return undefined;
    const root = { bytes: record.bytes, digest: record.digest, top: topOf(record) };
    blobs.refresh();
    const reader = new SnapshotReader(root, blobs, pages);
    void profiles.attach(reader);
    return { reader, connections: 0 };
  };

  // A collection's removed packs free their space when the last reader lets go of them.
  setInterval(() => blobs.refresh(), 30_000).unref();

  let errors = 0;
  setInterval(() => {
    errors = 0;
  }, 60_000).unref();

  const nbd = new NbdServer({
    async open(name) {
      let opening = open.get(name);
      if (opening === undefined) {
        opening = openExport(name);
        open.set(name, opening);
      }
      try {
        const disk = await opening;
        if (disk === undefined) {
          open.delete(name);
          return undefined;
        }
        disk.connections++;
        return disk.reader;
      } catch (error) {
        open.delete(name);
        throw error;
      }
    },
    closed(name) {
      void open.get(name)?.then((disk) => {
        if (disk === undefined || --disk.connections > 0) return;
        open.delete(name);
        profiles.detach(disk.reader);
      });
    },
    onError(name, error) {
      if (++errors <= ERRORS_PER_MINUTE) log("error", `read ${name}: ${chain(error)}`);
    },
  });

  const control = createServer((socket) => {
    socket.on("error", () => socket.destroy());
    const greeting: BlockServerGreeting = {
      pid: process.pid,
      version: BLOCK_SERVER_VERSION,
      dataDirectory: setup.directory,
      startedAt,
      connections: nbd.connections,
      exports: open.size,
      cacheBytes: cache.bytes,
      residentBytes: process.memoryUsage.rss(),
    };
    socket.write(`${JSON.stringify(greeting)}\n`);
    // The other side only listens; what it sends is thrown away.
    socket.resume();
  });

  for (const path of [setup.socket, setup.control]) {
    try {
      unlinkSync(path);
    } catch (error) {
      if (systemCode(error) !== "ENOENT") throw error;
    }
  }
  process.umask(0o077);
  await nbd.listen(setup.socket);
  chmodSync(setup.socket, 0o600);
  await new Promise<void>((resolve, reject) => {
    control.once("error", reject);
    control.listen(setup.control, resolve);
  });
  log("info", `serving ${setup.directory} with a cache of ${Math.round(setup.cacheBytes / MIB)} MiB`);

  const stop = (): void => {
    profiles.flush();
    nbd.close();
    control.close();
    log("info", "stopped");
    process.exit(0);
  };
  process.on("SIGTERM", stop);
  process.on("SIGINT", stop);
}

main().catch((error: unknown) => {
  process.stderr.write(`${JSON.stringify({ level: "fatal", message: chain(error) })}\n`);
  process.exit(1);
});

// What the server and its block server know of each other.
import { createHash } from "node:crypto";
import { tmpdir } from "node:os";
import { join } from "node:path";

import type { BucketLocation } from "../base/external-bucket.ts";

/** A running block server of a lower version is replaced when the server starts. */
export const BLOCK_SERVER_VERSION = 2;

/** The one line that the control socket says to whoever connects; the connection then stays open until either ends. */
export interface BlockServerGreeting {
  readonly pid: number;
  readonly version: number;
  readonly dataDirectory: string;
  readonly startedAt: string;
  readonly connections: number;
  readonly exports: number;
  readonly cacheBytes: number;
  readonly residentBytes: number;
}

/** What it is told on its standard input, one line of JSON: a key does not belong into an argument list. */
export interface BlockServerSetup {
  readonly directory: string;
  /** Where packs and records are; `null`: in the directory. */
  readonly bucket: BucketLocation | null;
  readonly socket: string;
  readonly control: string;
  readonly cacheBytes: number;
  /** The store's, in hex. */
  readonly key: string | null;
}

/** The kernel takes 107 bytes of a unix socket's path. */
const MAX_SOCKET_PATH = 100;

/** Folder of the sockets: in the store, or, where its path is too long for a socket, one named after it in /tmp. */
export function socketDirectory(storeDirectory: string): string {
  const inside = join(storeDirectory, "run");
  if (Buffer.byteLength(join(inside, "control.sock")) <= MAX_SOCKET_PATH) return inside;
  return join(tmpdir(), `ingot-${createHash("sha256").update(storeDirectory).digest("hex").slice(0, 20)}`);
}

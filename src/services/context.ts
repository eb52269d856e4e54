import type { Region } from "../base/ids.ts";
import type { Log } from "../base/log.ts";
import type { Database } from "../database/database.ts";
import type { Caller } from "../model/identity/caller.ts";

/** What one request may use. Built by `server/pipeline.ts` once the caller is known. */
export interface RequestContext {
  readonly caller: Caller;
  readonly region: Region;
  readonly requestId: string;
  readonly sourceIp: string;
  readonly userAgent: string;
  readonly database: Database;
  readonly log: Log;
  now(): Date;
  readonly parts: Parts;
}

/** The parts of Ingot that actions reach, as `main.ts` has built them. */
// biome-ignore lint/suspicious/noEmptyInterface: grows with the parts that land
export interface Parts {}

// When a key and a role were last used. Written beside the requests, never before their answer, and at most once a minute
// for each: the answer is for people who ask whether a key is still needed.
import { chain } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import type { Database } from "../database/database.ts";
import type { Caller } from "../model/identity/caller.ts";
import { BoundedCache } from "./bounded-cache.ts";

const WRITE_EVERY_MS = 60_000;
const MOST_KEPT = 4000;

export interface LastUsed {
  /** Returns at once, never throws. Call it once the signature is verified. */
  note(caller: Caller, service: string, region: string, now: Date): void;
  /** When all that was noted is written. For an orderly end, and for tests. */
  settled(): Promise<void>;
}

export function createLastUsed(database: Database, log: Log): LastUsed {
  const written = new BoundedCache<number>(MOST_KEPT);
  let pending: Promise<void> = Promise.resolve();

  const write = async (caller: Caller, service: string, region: string, now: Date): Promise<void> => {
    const at = now.toISOString();
    try {
      await database.transaction(async (tx) => {
        if (caller.kind === "assumed-role") {
          await tx
            .updateTable("roles")
            .set({ last_used_at: at, last_used_region: region })
            .where("id", "=", caller.roleId)
            .execute();
        } else {
          await tx
            .updateTable("access_keys")
            .set({ last_used_at: at, last_used_service: service, last_used_region: region })
            .where("id", "=", caller.accessKeyId)
            .execute();
        }
      });
    } catch (error) {
      log.warn({ error: chain(error) }, "could not note the use of a key");
    }
  };

  return {
    note(caller, service, region, now) {
      const id = caller.kind === "assumed-role" ? caller.roleId : caller.accessKeyId;
      // A user's temporary keys have no row: AWS does not tell their use either.
      if (caller.kind !== "assumed-role" && caller.session !== undefined) return;
      const before = written.get(id);
      if (before !== undefined && now.getTime() - before < WRITE_EVERY_MS && now.getTime() >= before) return;
      written.set(id, now.getTime());
      pending = pending.then(() => write(caller, service, region, now));
    },
    settled: () => pending,
  };
}

// Files of content that a kill has left: written, but no row came to refer to them, or the last row went and they did not.

import { chain } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import type { Db } from "../database/database.ts";
import type { Content } from "./content.ts";
import { unreferred } from "./object-rows.ts";

const FILES_AT_ONCE = 500;

/**
 * Gives up those of `files` that no row refers to. They must have been there before this process wrote its first: then none
 * of them can come to be referred to, and this may run beside everything else.
 */
export async function collect(db: Db, content: Content, files: readonly string[], log: Log): Promise<void> {
  let removed = 0;
  try {
    for (let at = 0; at < files.length; at += FILES_AT_ONCE) {
      const orphans = await unreferred(db, files.slice(at, at + FILES_AT_ONCE));
      content.giveUp(orphans);
      removed += orphans.length;
    }
  } catch (error) {
    log.warn({ error: chain(error) }, "could not look for content that belongs to no object; the next start will");
  }
  if (removed > 0) log.info({ files: removed }, "removed content that belongs to no object");
}

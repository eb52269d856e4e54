import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { contentSuite } from "../../test/support/content-suite.ts";
import { folderHome } from "./folder-home.ts";

contentSuite("folder", async (t) => {
  const scratch = mkdtempSync(join(tmpdir(), "ingot-content-"));
  t.after(() => rmSync(scratch, { recursive: true, force: true }));
  const reopen = () => folderHome(join(scratch, "buckets"));
  return { home: await reopen(), reopen };
});

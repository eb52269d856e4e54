import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { backendSuite } from "../../test/support/storage-backend-suite.ts";
import { temporaryDirectory } from "../../test/support/storage-disk.ts";
import { folderBackend } from "./folder-backend.ts";

backendSuite("folder", async (t) => {
  const directory = await temporaryDirectory(t);
  await mkdir(join(directory, "tmp"));
  return folderBackend(directory);
});

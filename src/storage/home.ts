// Where a store's objects are, as each of its processes sees it: all in the folder, or packs and records in a bucket.

import type { BucketLocation } from "../base/external-bucket.ts";
import type { Backend } from "./backend.ts";
import { bucketPackFiles, withWholePack } from "./bucket-packs.ts";
import { folderBackend } from "./folder-backend.ts";
import { asyncPackFiles, type PackFiles, syncPackFiles } from "./pack-files.ts";
import type { S3Backend } from "./s3-backend.ts";

export interface Home {
  backend(): Promise<Backend>;
  /** @param kind  `sync` for processes with nothing else to do than to wait for a disk */
  packs(kind: "sync" | "async"): PackFiles;
  /** Runs `use` with a folder that has the whole pack (header and footer, with `footerOnly`) under `packPath`. */
  wholePack<T>(name: string, footerOnly: boolean, use: (root: string) => Promise<T> | T): Promise<T>;
  /** Brings what is kept of the bucket in the folder up to date; ends in an error when another folder owns the bucket. */
  prepare(): Promise<void>;
  close(): Promise<void>;
}

export function openHome(directory: string, bucket: BucketLocation | null): Home {
  if (bucket === null) {
    const backend = folderBackend(directory);
    return {
      backend: async () => backend,
      packs: (kind) => (kind === "sync" ? syncPackFiles(directory) : asyncPackFiles(directory)),
      wholePack: async (_name, _footerOnly, use) => use(directory),
      prepare: async () => {},
      close: async () => {},
    };
  }
  let opened: Promise<S3Backend> | null = null;
  const object = (): Promise<S3Backend> => {
    opened ??= import("./s3-backend.ts").then(({ s3Backend }) => s3Backend(bucket, directory));
    return opened;
  };
  return {
    backend: object,
    packs: () => bucketPackFiles(directory, object),
    wholePack: (name, footerOnly, use) => withWholePack(directory, object, name, footerOnly, use),
    prepare: async () => (await object()).prepare(),
    close: async () => (await opened?.catch(() => null))?.close(),
  };
}

// Where the programs that run beside the server are. A build that bundles them replaces this file and nothing else.

/** Runs in worker threads: hashing, compression, restoring, scrubbing. */
export const STORAGE_WORKER = new URL("./storage-worker.ts", import.meta.url);
/** A process of its own: serves snapshots over NBD. */
export const BLOCK_SERVER = new URL("./block-server.ts", import.meta.url);

// The data directory: every name at its top. Parts own what lies below their own.
//
//   ingot.sqlite      all rows (with -wal and -shm beside it), unless PostgreSQL has them
//   master.key        seals every secret; may be kept elsewhere (INGOT_MASTER_KEY)
//   credentials.json  the administrator's keys, for `ingot env`; mode 0600
//   server.json       where the server that runs answers; gone when it has stopped
//   server.lock       held by the one server of the directory
//   server.log        what the server has to say, a JSON object a line
//   store/            snapshots' content (storage/FORMAT.md)
//   buckets/          content of S3 objects (objects/content.ts), unless a bucket has it
//   volumes/          what guests have written, a qcow2 overlay per volume
//   machines/         a directory per instance (compute/instance-directory.ts)
//   captures/         sockets of captures of stopped volumes
//   network/          the fabric's state and sockets
//   audit/            the audit journal
//   metadata/         socket and signing key of the metadata service, and the socket of guests' API calls
//   transfers/        disk files of imports and exports under way; nothing in it outlives a start
//   kernels/          kernels of Ingot's own images, for boots without firmware
import { mkdir } from "node:fs/promises";
import { join } from "node:path";

export interface DataDirectory {
  readonly path: string;
  readonly masterKey: string;
  readonly credentials: string;
  readonly serverInfo: string;
  readonly lock: string;
  readonly log: string;
  readonly store: string;
  readonly buckets: string;
  readonly network: string;
  readonly audit: string;
  readonly metadata: string;
  readonly metadataSocket: string;
  /** Where API calls of guests come in. */
  readonly apiSocket: string;
  readonly kernels: string;
  readonly transfers: string;
}

/** Makes the directory, for its owner alone. @throws Error when it can't be made or entered */
export async function openDataDirectory(path: string): Promise<DataDirectory> {
  const directory: DataDirectory = {
    path,
    masterKey: join(path, "master.key"),
    credentials: join(path, "credentials.json"),
    serverInfo: join(path, "server.json"),
    lock: join(path, "server.lock"),
    log: join(path, "server.log"),
    store: join(path, "store"),
    buckets: join(path, "buckets"),
    network: join(path, "network"),
    audit: join(path, "audit"),
    metadata: join(path, "metadata"),
    metadataSocket: join(path, "metadata", "socket"),
    apiSocket: join(path, "metadata", "api"),
    kernels: join(path, "kernels"),
    transfers: join(path, "transfers"),
  };
  try {
    for (const made of [path, join(path, "volumes"), join(path, "machines"), directory.metadata, directory.kernels]) {
      await mkdir(made, { recursive: true, mode: 0o700 });
    }
  } catch (cause) {
    throw new Error(`make the data directory ${path}`, { cause });
  }
  return directory;
}

/** `server.json`. */
export interface ServerInfo {
  readonly url: string;
  readonly pid: number;
  readonly version: string;
  readonly startedAt: string;
  /** What guests run on. */
  readonly accelerator: "kvm" | "tcg";
  readonly network: "kernel" | "user";
}

/** `credentials.json`. */
export interface StoredCredentials {
  readonly accountId: string;
  readonly region: string;
  readonly administrator: { readonly userName: string; readonly accessKeyId: string; readonly secretAccessKey: string };
  readonly root: { readonly accessKeyId: string; readonly secretAccessKey: string };
}

// ingot status: what runs on this machine for a data directory, and what the account has.

import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import type { ServerInfo } from "../../server/data-directory.ts";
import { ec2Client } from "../clients/ec2.ts";
import { type Connection, connect, dataDirectoryOf, readServerInfo } from "../connection.ts";
import { allInstances } from "../instances.ts";
import { type LocalProcess, localProcesses } from "../local-processes.ts";
import { formatAge, formatBytes, Output, table } from "../output.ts";
import type { CommonOptions } from "../session.ts";

interface Status {
  readonly dataDirectory: string;
  /** null: none runs. */
  readonly server: ServerInfo | null;
  readonly processes: readonly LocalProcess[];
  /** How many instances are in each state; null when no server answers. */
  readonly instances: Readonly<Record<string, number>> | null;
  /** Bytes on the disk. */
  readonly storage: { readonly snapshots: number; readonly volumes: number };
}

/** Reports; that no server runs is an answer, not a failure. */
export async function status(options: CommonOptions): Promise<void> {
  const dataDirectory = dataDirectoryOf(options.data);
  const processes = await localProcesses(dataDirectory);
  const info = readServerInfo(dataDirectory);
  // A server that was killed has left its file.
  const server =
    info !== null && processes.some(({ kind, pid }) => kind === "server" && pid === info.pid) ? info : null;
  const report: Status = {
    dataDirectory,
    server,
    processes,
    instances: server === null ? null : await instancesByState(connect(dataDirectory)),
    storage: {
      snapshots: await bytesBelow(join(dataDirectory, "store")),
      volumes: await bytesBelow(join(dataDirectory, "volumes")),
    },
  };
  new Output(options.json === true).result(report, options.json ? "" : await text(report));
}

async function instancesByState(connection: Connection): Promise<Record<string, number>> {
  const ec2 = ec2Client(connection);
  const counts: Record<string, number> = {};
  for (const { State } of await allInstances(ec2)) {
    const name = State?.Name ?? "unknown";
    counts[name] = (counts[name] ?? 0) + 1;
  }
  return counts;
}

async function text({ dataDirectory, server, processes, instances, storage }: Status): Promise<string> {
  const now = new Date();
  const lines = [
    server === null
      ? "Ingot is not running: ingot serve starts it."
      : `Ingot ${server.version} answers at ${server.url} since ${formatAge(new Date(server.startedAt), now)}`,
    "",
    `data directory  ${dataDirectory}`,
    `snapshots       ${formatBytes(storage.snapshots)} on the disk`,
    `volumes         ${formatBytes(storage.volumes)} on the disk`,
  ];
  if (server?.accelerator !== undefined) lines.push(`accelerator     ${server.accelerator}`);
  if (server?.network !== undefined) lines.push(`network         ${server.network}`);
  if (instances !== null) {
    const counts = Object.entries(instances).map(([state, count]) => `${count} ${state}`);
    lines.push(`instances       ${counts.length === 0 ? "none" : counts.join(", ")}`);
  }
  if (processes.length > 0) {
    const rows = processes.map(({ kind, name, pid }) => [String(pid), kind, name === kind ? "" : name]);
    lines.push("", await table(["PID", "PROCESS", "NAME"], rows));
  }
  return lines.join("\n");
}

/** What the files below a folder occupy; nothing when it is not there. Files may come and go meanwhile. */
async function bytesBelow(directory: string): Promise<number> {
  let bytes = 0;
  for (const entry of await readdir(directory, { withFileTypes: true, recursive: true }).catch(() => [])) {
    if (!entry.isFile()) continue;
    const { blocks } = await stat(join(entry.parentPath, entry.name)).catch(() => ({ blocks: 0 }));
    bytes += blocks * 512;
  }
  return bytes;
}

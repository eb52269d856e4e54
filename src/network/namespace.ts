// A network namespace of the fabric's own, held by a process that sleeps in it.
//
// As root it is plain; as an ordinary user it lies in a user namespace in which that user is root, and everything
// afterwards is done by the same commands. It lives as long as any process is in it (a guest is enough), so when the
// holder was killed a new one is started inside, found through whoever is still there.
import { readdirSync, readFileSync, readlinkSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { run } from "./command.ts";
import { endProcess, findProcess, logTail, type ProcessRecord, startKept } from "./process-record.ts";

export type KernelMode = "root" | "rootless";

/** unshare takes some 14 ms; a busy machine may need a hundred times that. */
const READY_TIMEOUT_MS = 10_000;

const MAKE: Record<KernelMode, readonly string[]> = {
  root: ["unshare", "--net", "--"],
  rootless: ["unshare", "--user", "--map-root-user", "--net", "--"],
};

/** Before an argv, to run it in the namespace of process `pid`. nsenter execs: the pid is the program's. */
export function enter(mode: KernelMode, pid: number): readonly string[] {
  return mode === "root"
    ? ["nsenter", "--target", String(pid), "--net", "--"]
    : ["nsenter", "--target", String(pid), "--user", "--net", "--preserve-credentials", "--"];
}

// Everything the fabric will ask of the kernel, on nothing but a namespace that ends with this command. The strings are
// constants. `ip tuntap` fails where /dev/net/tun may not be opened; `unshare` alone proves nothing (Ubuntu 23.10 and
// later may grant a user namespace without capabilities).
const PROBE = `ip link set lo up && ip tuntap add p0 mode tap && ip link set p0 mtu 9001 up && ip route add 172.31.0.9/32 dev p0
ip neigh replace 172.31.0.9 lladdr 02:00:00:00:00:01 dev p0 nud permanent &&
echo 1 >/proc/sys/net/ipv4/ip_forward && echo 0 >/proc/sys/net/ipv4/ip_unprivileged_port_start &&
nft 'table inet p { map m { type ifname : verdict; }; chain f { type filter hook forward priority 0; ct state established accept; iifname vmap @m; }; chain n { type nat hook postrouting priority srcnat; oifname "up0" masquerade; }; }' &&
command -v slirp4netns nsenter >/dev/null`;

/** @returns null when a namespace can do all that the fabric needs, else why not. Costs some 30 ms. */
export async function probeKernel(mode: KernelMode): Promise<string | null> {
  if (mode === "root" && process.geteuid?.() !== 0) return "not root";
  try {
    await run([...MAKE[mode], "sh", "-ec", PROBE]);
    return null;
  } catch (error) {
    const text = error instanceof Error ? error.message : String(error);
    return text.slice(text.lastIndexOf("failed (")).replaceAll(/\s+/g, " ");
  }
}

/** How the namespace that is already there was made; null when there is none: then a probe has to tell. */
export function knownMode(directory: string): KernelMode | null {
  const holder = findProcess(directory, "holder");
  const known = readIdentity(directory);
  return known !== null && holder !== null && inodeOf(holder.pid) === known.inode ? known.mode : null;
}

interface Identity {
  readonly bootId: string;
  /** `net:[4026532461]` */
  readonly inode: string;
  readonly mode: KernelMode;
}

export interface Namespace {
  readonly mode: KernelMode;
  readonly holder: ProcessRecord;
  /** Made just now: nothing is in it. */
  readonly fresh: boolean;
}

const identityPath = (directory: string): string => join(directory, "namespace.json");

/** The namespace of an earlier server if it still exists, else a new one. */
export async function openNamespace(directory: string, mode: KernelMode): Promise<Namespace> {
  const known = readIdentity(directory);
  if (known !== null) {
    const holder = findProcess(directory, "holder");
    if (holder !== null && inodeOf(holder.pid) === known.inode) return { mode: known.mode, holder, fresh: false };
    const other = processIn(known.inode);
    if (other !== null && (await isOurs(directory, known.mode, other))) {
      const argv = [...enter(known.mode, other), "sleep", "infinity"];
      return { mode: known.mode, holder: await startHolder(directory, argv, known.inode), fresh: false };
    }
  }
  rmSync(identityPath(directory), { force: true });
  const holder = await startHolder(directory, [...MAKE[mode], "sleep", "infinity"], null);
  const identity: Identity = { bootId: bootId(), inode: inodeOf(holder.pid)!, mode };
  await run([...enter(mode, holder.pid), "nft", "-f", "-"], `add table ${markTable(directory, identity.inode)}\n`);
  writeFileSync(`${identityPath(directory)}.new`, JSON.stringify(identity), { mode: 0o600 });
  renameSync(`${identityPath(directory)}.new`, identityPath(directory));
  return { mode, holder, fresh: true };
}

/** @param holder as it was opened: also ended when the record on disk is gone */
export async function endNamespace(directory: string, holder: ProcessRecord | null): Promise<void> {
  await endProcess(directory, "holder", holder ?? findProcess(directory, "holder"));
  rmSync(identityPath(directory), { force: true });
}

async function startHolder(directory: string, argv: readonly string[], inode: string | null): Promise<ProcessRecord> {
  const own = readlinkSync("/proc/self/ns/net");
  const { record, program } = await startKept({ directory, name: "holder", argv });
  const giveUpAt = performance.now() + READY_TIMEOUT_MS;
  for (;;) {
    const now = inodeOf(record.pid);
    const entered = inode === null ? now !== null && now !== own : now === inode;
    // The name changes with the exec, which comes after everything that unshare or nsenter do.
    if (entered && commandOf(record.pid) === "sleep") return record;
    if (program.exit() !== null || performance.now() > giveUpAt) {
      await endProcess(directory, "holder", record);
      throw new Error(`the namespace's holder did not start: ${logTail(directory, "holder")}`);
    }
    await delay(1);
  }
}

function readIdentity(directory: string): Identity | null {
  try {
    const identity = JSON.parse(readFileSync(identityPath(directory), "utf8")) as Identity;
    return identity.bootId === bootId() ? identity : null;
  } catch {
    return null; // absent, or torn by a full disk: a namespace that cannot be found is as good as gone
  }
}

/** Any process in that namespace. Walks /proc: some 5 ms per thousand processes, and only after the holder's death. */
function processIn(inode: string): number | null {
  for (const name of readdirSync("/proc")) {
    if (/^\d+$/.test(name) && inodeOf(Number(name)) === inode) return Number(name);
  }
  return null;
}

// The kernel uses inode numbers of dead namespaces again, so a found one must carry our mark: a table named after the
// directory. Two fabrics cannot share a directory, hence not a mark.
const markTable = (directory: string, inode: string): string =>
  `inet mark_${Buffer.from(`${directory} ${inode}`).toString("hex").slice(-96)}`;

async function isOurs(directory: string, mode: KernelMode, pid: number): Promise<boolean> {
  const inode = inodeOf(pid);
  if (inode === null) return false;
  try {
    await run([...enter(mode, pid), "nft", "list", "table", ...markTable(directory, inode).split(" ")]);
    return true;
  } catch {
    return false;
  }
}

function inodeOf(pid: number): string | null {
  try {
    return readlinkSync(`/proc/${pid}/ns/net`);
  } catch {
    return null; // gone, or another user's
  }
}

function commandOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/comm`, "utf8").trim();
  } catch {
    return "";
  }
}

const bootId = (): string => readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();

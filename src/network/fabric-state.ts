// What the server tells the fabric's processes (agent or switch, forwarder): one JSON file, replaced whole by rename.
//
// The reader looks at the file's identity (inode, time, size) whenever it is asked something, and reads it again when
// that changed. So a machine that was added before its first packet is known by its first packet, without any message
// that could be lost, and a restarted process knows everything.
import { readFileSync, renameSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { systemCode } from "../base/errors.ts";
import type { Nic, SecurityGroupRules } from "../model/nic.ts";

export interface FabricState {
  /** Domain of computed names: `ec2.internal`. */
  readonly dnsName: string;
  /** Resolver that takes what we cannot answer; null: the host's own, from /etc/resolv.conf. */
  readonly upstreamDns: string | null;
  /** Unix socket of the server's metadata listener. */
  readonly metadataSocket: string;
  /** Unix socket on which the server answers API calls of guests. */
  readonly apiSocket: string;
  /** The process that dials guests, at `CARRIER.sock`. */
  readonly carrier: "agent" | "switch";
  readonly nics: readonly Nic[];
  /** The user-space switch and the forwarder look at these; the kernel has its own. */
  readonly groups: readonly SecurityGroupRules[];
  /** Addresses and blocks (CIDR) that guests may not reach through the host. */
  readonly forbidden: readonly string[];
}

export const statePath = (directory: string): string => join(directory, "state.json");

export function writeState(directory: string, state: FabricState): void {
  const path = statePath(directory);
  // Not synced: after a power cut no guest runs, and the server writes it anew from its rows.
  writeFileSync(`${path}.new`, JSON.stringify(state), { mode: 0o600 });
  renameSync(`${path}.new`, path);
}

/** @returns null when there is none */
export function readState(directory: string): FabricState | null {
  try {
    return JSON.parse(readFileSync(statePath(directory), "utf8")) as FabricState;
  } catch (error) {
    if (systemCode(error) === "ENOENT") return null;
    throw new Error("read the network's state", { cause: error });
  }
}

/** The state with the look-ups that packets need. */
export interface IndexedState extends FabricState {
  readonly byMac: ReadonlyMap<string, Nic>;
  readonly byIp: ReadonlyMap<string, Nic>;
  readonly byPublicIp: ReadonlyMap<string, Nic>;
}

const NOTHING: FabricState = {
  dnsName: "ec2.internal",
  upstreamDns: null,
  metadataSocket: "",
  apiSocket: "",
  carrier: "agent",
  nics: [],
  groups: [],
  forbidden: [],
};

/** The current state, read again only when the file changed: otherwise the cost is one stat (some 3 µs). */
export function stateReader(directory: string): () => IndexedState {
  let identity = "";
  let current = index(NOTHING);
  return () => {
    const stat = statSync(statePath(directory), { bigint: true, throwIfNoEntry: false });
    if (stat === undefined) return current;
    const now = `${stat.ino} ${stat.mtimeNs} ${stat.size}`;
    if (now !== identity) {
      current = index(readState(directory) ?? NOTHING);
      identity = now;
    }
    return current;
  };
}

function index(state: FabricState): IndexedState {
  const publicNics = state.nics.flatMap((nic) => (nic.publicIp === null ? [] : [[nic.publicIp, nic] as const]));
  return {
    ...state,
    byMac: new Map(state.nics.map((nic) => [nic.mac, nic])),
    byIp: new Map(state.nics.map((nic) => [nic.privateIp, nic])),
    byPublicIp: new Map(publicNics),
  };
}

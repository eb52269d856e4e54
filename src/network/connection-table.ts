// Security groups in user space: stateful in both directions, as the kernel fabric's nftables.
//
// A new flow passes when the sender's groups let it out and the receiver's let it in; from then on packets of that flow
// pass both ways, also after the rule that let it start has gone, as in EC2. A flow that nobody has used for its time is
// forgotten. After a restart of the switch the next packet of either side is judged as if the flow began with it.
import { contains, type Network } from "../model/ipv4.ts";
import type { Nic, SecurityGroupRules, SecurityRule } from "../model/nic.ts";
import { parseCidr, parseIp } from "./address.ts";
import { ICMP, type Ipv4, isIcmpError, portsOf, quoted, TCP, UDP } from "./packet.ts";

const SECOND = 1_000;
/** The kernel's own: an idle SSH session stays for days. */
const TCP_IDLE_MS = 5 * 24 * 3600 * SECOND;
const TCP_OPENING_MS = 120 * SECOND;
const TCP_CLOSING_MS = 60 * SECOND;
const UDP_IDLE_MS = 180 * SECOND;
const OTHER_IDLE_MS = 30 * SECOND;
const FRAGMENT_MS = 30 * SECOND;
/** One guest's share. At the limit it opens no more, and disturbs nobody else. */
const MAX_FLOWS_PER_GUEST = 16_384;
const MAX_FRAGMENTS = 4_096;

const FIN_OR_RST = 5;

interface Flow {
  expiresMs: number;
  readonly owner: number;
  /** Both directions' names. */
  readonly keys: readonly [string, string];
}

interface CompiledRule {
  readonly protocol: number | null;
  readonly from: number | null;
  readonly to: number | null;
  readonly peer: { readonly network: Network } | { readonly members: ReadonlySet<number> };
}

interface CompiledGroup {
  readonly ingress: readonly CompiledRule[];
  readonly egress: readonly CompiledRule[];
}

/** The groups and memberships that judge new flows. Compiled once per change. */
export class GroupFilter {
  readonly #groups = new Map<string, CompiledGroup>();

  constructor(groups: readonly SecurityGroupRules[], nics: readonly Nic[]) {
    const members = new Map<string, Set<number>>();
    const membersOf = (id: string): Set<number> => {
      const set = members.get(id) ?? new Set();
      members.set(id, set);
      return set;
    };
    for (const nic of nics) for (const id of nic.securityGroups) membersOf(id).add(parseIp(nic.privateIp));
    const compile = (rule: SecurityRule): CompiledRule[] => {
      if (rule.peer.kind === "cidr" && rule.peer.cidr.includes(":")) return []; // guests have no IPv6
      const peer =
        rule.peer.kind === "group" ? { members: membersOf(rule.peer.groupId) } : { network: parseCidr(rule.peer.cidr) };
      const protocol = rule.protocol === "all" ? null : rule.protocol;
      return [{ protocol, from: rule.fromPort, to: rule.toPort, peer }];
    };
    for (const group of groups) {
      this.#groups.set(group.groupId, {
        ingress: group.ingress.flatMap(compile),
        egress: group.egress.flatMap(compile),
      });
    }
  }

  allows(direction: "ingress" | "egress", groups: readonly string[], ip: Ipv4, destinationPort: number): boolean {
    const peer = direction === "ingress" ? ip.source : ip.destination;
    return groups.some((id) =>
      this.#groups.get(id)?.[direction].some((rule) => matches(rule, ip, destinationPort, peer)),
    );
  }
}

function matches(rule: CompiledRule, ip: Ipv4, destinationPort: number, peer: number): boolean {
  if (rule.protocol !== null && rule.protocol !== ip.protocol) return false;
  if ("members" in rule.peer ? !rule.peer.members.has(peer) : !contains(rule.peer.network, peer)) return false;
  if (rule.protocol === null || rule.from === null || rule.from < 0) return true;
  switch (ip.protocol) {
    case TCP:
    case UDP:
      return destinationPort >= rule.from && destinationPort <= (rule.to ?? rule.from);
    case ICMP: {
      const type = ip.bytes[ip.headerBytes];
      const code = ip.bytes[ip.headerBytes + 1];
      return type === rule.from && (rule.to === null || rule.to < 0 || code === rule.to);
    }
    default:
      return true;
  }
}

export class ConnectionTable {
  readonly #flows = new Map<string, Flow>();
  readonly #perGuest = new Map<number, number>();
  /** What was said about a packet's first fragment holds for its others, which have no ports. */
  readonly #fragments = new Map<string, { readonly allowed: boolean; readonly expiresMs: number }>();
  readonly #nowMs: () => number;

  constructor(nowMs: () => number = () => performance.now()) {
    this.#nowMs = nowMs;
  }

  /**
   * May this packet pass? `judge` is asked about the first packet of a flow.
   * @param owner the guest whose share a new flow counts against: its sender
   */
  passes(ip: Ipv4, owner: number, judge: (destinationPort: number) => boolean): boolean {
    const fragmented = ip.moreFragments || ip.fragmentOffset > 0;
    const piece = fragmented ? `${ip.source} ${ip.destination} ${ip.protocol} ${ip.id}` : "";
    if (ip.fragmentOffset > 0) return this.#fragments.get(piece)?.allowed ?? false;
    const allowed = this.#passesWhole(ip, owner, judge);
    if (fragmented && this.#fragments.size < MAX_FRAGMENTS) {
      this.#fragments.set(piece, { allowed, expiresMs: this.#nowMs() + FRAGMENT_MS });
    }
    return allowed;
  }

  #passesWhole(ip: Ipv4, owner: number, judge: (destinationPort: number) => boolean): boolean {
    const ports = portsOf(ip);
    if (ports === null) return false;
    if (isIcmpError(ip)) {
      // Only about a packet of a flow that passes, and only to the side that had sent it.
      const about = quoted(ip);
      const aboutPorts = about === null ? null : portsOf(about);
      if (about === null || aboutPorts === null || about.source !== ip.destination) return false;
      const flow = this.#flows.get(
        keyOf(about.protocol, about.source, aboutPorts.source, about.destination, aboutPorts.destination),
      );
      return flow !== undefined && flow.expiresMs > this.#nowMs();
    }
    const now = this.#nowMs();
    const key = keyOf(ip.protocol, ip.source, ports.source, ip.destination, ports.destination);
    const known = this.#flows.get(key);
    if (known !== undefined && known.expiresMs > now) {
      known.expiresMs = now + idleMs(ip, false);
      return true;
    }
    if (known !== undefined) this.#forget(known);
    if (!judge(ports.destination)) return false;
    const count = this.#perGuest.get(owner) ?? 0;
    if (count >= MAX_FLOWS_PER_GUEST) return false;
    const back = keyOf(ip.protocol, ip.destination, ports.destination, ip.source, ports.source);
    const flow: Flow = { owner, keys: [key, back], expiresMs: now + idleMs(ip, true) };
    this.#flows.set(key, flow);
    this.#flows.set(back, flow);
    this.#perGuest.set(owner, count + 1);
    return true;
  }

  #forget(flow: Flow): void {
    for (const key of flow.keys) if (this.#flows.get(key) === flow) this.#flows.delete(key);
    const count = (this.#perGuest.get(flow.owner) ?? 1) - 1;
    if (count > 0) this.#perGuest.set(flow.owner, count);
    else this.#perGuest.delete(flow.owner);
  }

  /** Drops what has expired; call it every few seconds. Cost is one walk over all flows. */
  sweep(): void {
    const now = this.#nowMs();
    for (const flow of new Set(this.#flows.values())) if (flow.expiresMs <= now) this.#forget(flow);
    for (const [key, piece] of this.#fragments) if (piece.expiresMs <= now) this.#fragments.delete(key);
  }

  /** All flows of a guest that is gone, so that the next holder of its address inherits nothing. */
  forgetGuest(address: number): void {
    const mark = `${address}:`;
    for (const flow of new Set(this.#flows.values())) {
      if (flow.keys.some((key) => key.split(" ")[1]!.startsWith(mark))) this.#forget(flow);
    }
  }

  get size(): number {
    return new Set(this.#flows.values()).size;
  }
}

const keyOf = (protocol: number, source: number, sourcePort: number, destination: number, port: number): string =>
  `${protocol} ${source}:${sourcePort} ${destination}:${port}`;

function idleMs(ip: Ipv4, fresh: boolean): number {
  switch (ip.protocol) {
    case TCP:
      if ((ip.bytes[ip.headerBytes + 13]! & FIN_OR_RST) !== 0) return TCP_CLOSING_MS;
      return fresh ? TCP_OPENING_MS : TCP_IDLE_MS;
    case UDP:
      return UDP_IDLE_MS;
    default:
      return OTHER_IDLE_MS;
  }
}

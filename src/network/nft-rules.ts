// Security groups, spoofing and the metadata hop limit as nftables text. Pure: rows in, text out; golden tests hold it.
//
//   prerouting  c_spoof    a guest's packet carries the guest's address, or is DHCP's first
//               c_mark     a PUT to the metadata service marks its connection, a GET unmarks it
//   input       c_input    guests reach DHCP, DNS, metadata and the API in the namespace, nothing else
//   forward     c_vpc      from a VPC to itself or to the world, never to another VPC
//               c_world    nobody reaches the host's own addresses through slirp4netns
//               c_egress   the sender's groups let it out …
//               c_ingress  … and the receiver's let it in: both are base chains, so both have to accept
//   output      c_ttl      the answer to a metadata PUT travels as many hops as the instance's options allow
//   postrouting c_nat      the world sees slirp4netns' address
//
// A change is a text per object (a group, a group's members, an instance), each idempotent and one transaction: flushed
// and filled anew in one step. Rootless nft 1.0.6 cannot send more than some 400 rules at once, so objects go one by one.

import { formatNetwork } from "../model/ipv4.ts";
import type { Nic, SecurityGroupRules, SecurityRule } from "../model/nic.ts";
import { API_PORT, ipHex, METADATA_IP, parseCidr, resolverOf } from "./address.ts";
import { tapName } from "./tap.ts";

export const TABLE = "inet ingot";

/** Empty; its name says which `baseRules` the table has. Change it with them: an older table is then replaced. */
export const VERSION_CHAIN = "version_2";

/** The uplink's name inside the namespace. */
export const UPLINK = "up0";

/** Everything that does not depend on instances or groups. `markByPayload`: the kernel and nft know `@ih` (5.16, 1.0.1). */
export function baseRules(markByPayload: boolean): string {
  // Without @ih the hop limit holds for every answer, not only for the token's: stricter, and as good against relays.
  const mark = markByPayload
    ? "@ih,0,32 0x50555420 ct mark set 1; @ih,0,32 0x47455420 ct mark set 0;"
    : "ct mark set 1;";
  return `
table ${TABLE} {
 chain ${VERSION_CHAIN} { }
 set src { type ifname . ipv4_addr; }
 set resolvers { type ipv4_addr; elements = { 169.254.169.253 } }
 set forbidden { type ipv4_addr; flags interval; auto-merge; }
 map m_in { type ifname : verdict; }
 map m_out { type ifname : verdict; }
 map hop { type ipv4_addr : verdict; }
 map vpcs { type ipv4_addr : verdict; flags interval; }
 chain c_spoof { type filter hook prerouting priority raw; policy accept; iifname != "tap*" accept; meta nfproto ipv6 drop; ip saddr 0.0.0.0 ip daddr 255.255.255.255 udp sport 68 udp dport 67 accept; iifname . ip saddr != @src counter drop; }
 chain c_mark { type filter hook prerouting priority mangle; policy accept; ip daddr != ${METADATA_IP} accept; tcp dport != 80 accept; ${mark} }
 chain c_input { type filter hook input priority 0; policy drop; iifname lo accept; ct state established,related accept; iifname "tap*" udp dport 67 accept; iifname "tap*" ip daddr @resolvers meta l4proto { tcp, udp } th dport 53 accept; iifname "tap*" ip daddr ${METADATA_IP} tcp dport { 80, ${API_PORT} } accept; }
 chain c_vpc { type filter hook forward priority -30; policy accept; oifname "tap*" ip saddr vmap @vpcs; }
 chain c_world { type filter hook forward priority -20; policy accept; oifname "${UPLINK}" ip daddr @forbidden counter drop; }
 chain c_egress { type filter hook forward priority -10; policy drop; ct state established,related accept; iifname != "tap*" accept; iifname vmap @m_out; }
 chain c_ingress { type filter hook forward priority 0; policy drop; ct state established,related accept; oifname != "tap*" accept; oifname vmap @m_in; }
 chain c_ttl { type filter hook output priority mangle; policy accept; ip saddr ${METADATA_IP} tcp sport 80 ct mark 1 ip daddr vmap @hop; }
 chain c_nat { type nat hook postrouting priority srcnat; policy accept; oifname "${UPLINK}" masquerade; }
}
`;
}

/** One thing in the rule set: how it is put (or put right), and how it is taken away. */
export interface RuleObject {
  readonly put: string;
  readonly remove: string;
}

/** Everything in force, by name; in the order in which it has to be put. Removal goes in the reverse order. */
export function ruleObjects(nics: readonly Nic[], groups: readonly SecurityGroupRules[]): Map<string, RuleObject> {
  const objects = new Map<string, RuleObject>();
  for (const cidr of new Set(nics.map((nic) => nic.vpcCidr))) objects.set(`vpc ${cidr}`, vpcObject(cidr));
  const members = new Map<string, string[]>();
  for (const nic of nics) {
    for (const id of nic.securityGroups) members.set(id, [...(members.get(id) ?? []), nic.privateIp]);
  }
  // A group may be named by an instance or by another group's rule before it has rules of its own: it is then empty.
  const byId = new Map<string, SecurityGroupRules>(groups.map((group) => [group.groupId, group]));
  const named = new Set([...byId.keys(), ...members.keys(), ...groups.flatMap(peersOf)]);
  for (const id of named) objects.set(`members ${id}`, membersObject(id, members.get(id) ?? []));
  for (const id of named) objects.set(`group ${id}`, groupObject(id, byId.get(id)));
  for (const nic of nics) objects.set(`nic ${tapName(nic.privateIp)}`, nicObject(nic));
  return objects;
}

const peersOf = (group: SecurityGroupRules): string[] =>
  [...group.ingress, ...group.egress].flatMap((rule) => (rule.peer.kind === "group" ? [rule.peer.groupId] : []));

/** nft has no dashes in names. Ids are hex digits after a fixed prefix, checked at the edge; checked again here, since
 * this is the only place where text of ours becomes a program. */
function groupName(id: string): string {
  if (!/^sg-[0-9a-f]+$/.test(id)) throw new Error(`not a security group id: "${id}"`);
  return id.replace("-", "_");
}

function vpcObject(cidr: string): RuleObject {
  const network = formatNetwork(parseCidr(cidr));
  const chain = `vpc_${network.replaceAll(/[./]/g, "_")}`;
  const resolver = resolverOf(network);
  return {
    put: `add chain ${TABLE} ${chain}
flush chain ${TABLE} ${chain}
add rule ${TABLE} ${chain} ip daddr != ${network} drop
add element ${TABLE} vpcs { ${network} : jump ${chain} }
add element ${TABLE} resolvers { ${resolver} }
`,
    remove: `delete element ${TABLE} vpcs { ${network} : jump ${chain} }
delete chain ${TABLE} ${chain}
delete element ${TABLE} resolvers { ${resolver} }
`,
  };
}

function membersObject(id: string, addresses: readonly string[]): RuleObject {
  const set = `m_${groupName(id)}`;
  const fill = addresses.length === 0 ? "" : `add element ${TABLE} ${set} { ${[...addresses].sort().join(", ")} }\n`;
  return {
    put: `add set ${TABLE} ${set} { type ipv4_addr; }\nflush set ${TABLE} ${set}\n${fill}`,
    remove: `delete set ${TABLE} ${set}\n`,
  };
}

function groupObject(id: string, group: SecurityGroupRules | undefined): RuleObject {
  const name = groupName(id);
  const direction = (chain: string, rules: readonly SecurityRule[], side: "saddr" | "daddr"): string =>
    [
      `add chain ${TABLE} ${chain}`,
      `flush chain ${TABLE} ${chain}`,
      ...rules.flatMap((rule) => {
        const match = matchOf(rule, side);
        return match === null ? [] : [`add rule ${TABLE} ${chain} ${match}accept`];
      }),
      "",
    ].join("\n");
  return {
    put:
      direction(`${name}_in`, group?.ingress ?? [], "saddr") + direction(`${name}_out`, group?.egress ?? [], "daddr"),
    remove: `delete chain ${TABLE} ${name}_in\ndelete chain ${TABLE} ${name}_out\n`,
  };
}

/** The condition, with a blank behind it where there is one; null for rules that no IPv4 packet meets. */
function matchOf(rule: SecurityRule, side: "saddr" | "daddr"): string | null {
  const peer = peerMatch(rule.peer, side);
  const protocol = protocolMatch(rule);
  return peer === null || protocol === null ? null : protocol + peer;
}

function peerMatch(peer: SecurityRule["peer"], side: "saddr" | "daddr"): string | null {
  if (peer.kind === "group") return `ip ${side} @m_${groupName(peer.groupId)} `;
  if (peer.cidr.includes(":")) return null; // guests have no IPv6
  const network = parseCidr(peer.cidr);
  return network.prefix === 0 ? "" : `ip ${side} ${formatNetwork(network)} `;
}

function protocolMatch(rule: SecurityRule): string | null {
  switch (rule.protocol) {
    case "all":
      return "";
    case 58:
      return null; // ICMPv6
    case 1: {
      const type = rule.fromPort ?? -1;
      const code = rule.toPort ?? -1;
      if (type < 0) return "meta l4proto icmp ";
      return code < 0 ? `icmp type ${int(type)} ` : `icmp type ${int(type)} icmp code ${int(code)} `;
    }
    case 6:
    case 17: {
      const name = rule.protocol === 6 ? "tcp" : "udp";
      if (rule.fromPort === null || rule.toPort === null || rule.fromPort < 0) return `meta l4proto ${name} `;
      const [from, to] = [int(rule.fromPort), int(rule.toPort)];
      return `${name} dport ${from === to ? from : `${from}-${to}`} `;
    }
    default:
      return `meta l4proto ${int(rule.protocol)} `;
  }
}

function int(value: number): string {
  if (!Number.isInteger(value) || value < 0 || value > 65535) throw new Error(`not a port or protocol: ${value}`);
  return String(value);
}

function nicObject(nic: Nic): RuleObject {
  const tap = tapName(nic.privateIp);
  const id = ipHex(nic.privateIp);
  const jumps = (direction: "in" | "out") =>
    nic.securityGroups.map((group) => `add rule ${TABLE} ${direction}_${id} jump ${groupName(group)}_${direction}\n`);
  const hops = nic.metadata.hopLimit;
  return {
    put: `add chain ${TABLE} in_${id}
add chain ${TABLE} out_${id}
add chain ${TABLE} hop_${id}
flush chain ${TABLE} in_${id}
flush chain ${TABLE} out_${id}
flush chain ${TABLE} hop_${id}
${jumps("in").join("")}${jumps("out").join("")}add rule ${TABLE} hop_${id} ip ttl set ${int(Math.min(64, Math.max(1, hops)))}
add element ${TABLE} src { "${tap}" . ${nic.privateIp} }
add element ${TABLE} m_in { "${tap}" : jump in_${id} }
add element ${TABLE} m_out { "${tap}" : jump out_${id} }
add element ${TABLE} hop { ${nic.privateIp} : jump hop_${id} }
`,
    remove: removeNic(id, nic.privateIp),
  };
}

function removeNic(id: string, ip: string): string {
  const tap = `tap${id}`;
  return `delete element ${TABLE} src { "${tap}" . ${ip} }
delete element ${TABLE} m_in { "${tap}" : jump in_${id} }
delete element ${TABLE} m_out { "${tap}" : jump out_${id} }
delete element ${TABLE} hop { ${ip} : jump hop_${id} }
delete chain ${TABLE} in_${id}
delete chain ${TABLE} out_${id}
delete chain ${TABLE} hop_${id}
`;
}

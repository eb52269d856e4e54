// The user-space fabric's one process: a router and firewall over QEMU's stream netdevs, with DHCP, DNS, the way to the
// metadata service and the host's connections to guests. Started as `node switch.ts DIRECTORY`; knows what the state
// file says, keeps flows in memory only, and may be killed and started again at any time: QEMU listens on each guest's
// socket, so a new switch finds them all.
//
//   guest ──INSTANCE.net── switch ──router.net── QEMU's user network (no guest in it) ── the world
//
// Its router QEMU sees each guest under an address of slirp's own link-local network, so no VPC's range can collide
// with it, and answers go back by that address.
import { watch } from "node:fs";
import { join } from "node:path";
import type { Duplex } from "node:stream";
import { contains, formatIpv4, type Network } from "../model/ipv4.ts";
import type { Nic } from "../model/nic.ts";
import {
  API_PORT,
  gatewayOf,
  LINK_LOCAL_RESOLVER,
  METADATA_IP,
  parseCidr,
  parseIp,
  parseMac,
  resolverOf,
} from "./address.ts";
import { ConnectionTable, GroupFilter } from "./connection-table.ts";
import { controlServer, DIAL_TIMEOUT_MS } from "./control.ts";
import { answerDhcp, parseDhcp } from "./dhcp.ts";
import { endWithDirectory } from "./directory-gone.ts";
import { type IndexedState, stateReader } from "./fabric-state.ts";
import { FrameLink } from "./frame-link.ts";
import { apiRelay, metadataRelay } from "./guest-relay.ts";
import {
  arpReply,
  decrementTtl,
  ETHERNET_BYTES,
  ethernet,
  type Ipv4,
  isArp,
  isIcmpError,
  isIpv4,
  parseArpRequest,
  parseIpv4,
  portsOf,
  quoted,
  ROUTER_MAC,
  rewriteAddress,
  rewriteQuoted,
  TCP,
  UDP,
  udp,
} from "./packet.ts";
import { Resolver } from "./resolver.ts";
import { TcpConnection, TcpStack } from "./tcp.ts";
import { ALIAS_COUNT, ALIAS_FIRST, ROUTER_SOCKET, SLIRP_HOST, SLIRP_NETWORK } from "./user-network.ts";

const directory = process.argv[2];
if (directory === undefined) throw new Error("usage: switch DIRECTORY");

const METADATA = parseIp(METADATA_IP);
const LOCAL_RESOLVER = parseIp(LINK_LOCAL_RESOLVER);
const SLIRP = parseCidr(SLIRP_NETWORK);
/** slirp's own MAC: fixed bytes, then its address. */
const SLIRP_MAC = Buffer.concat([Buffer.from([0x52, 0x55]), addressBytes(parseIp(SLIRP_HOST))]);
const SWEEP_MS = 10_000;

interface Port {
  nic: Nic;
  readonly ip: number;
  readonly mac: Buffer;
  readonly gateway: number;
  readonly resolver: number;
  readonly vpc: Network;
  readonly subnet: Network;
  readonly link: FrameLink;
}

const readIfChanged = stateReader(directory);
let state: IndexedState = readIfChanged();
let filter = new GroupFilter([], []);
let forbidden: Network[] = [];
let vpcs: Network[] = [];
const ports = new Map<number, Port>();
const aliases = new Map<number, number>(); // a guest's address → its address towards slirp
const byAlias = new Map<number, Port>();
const flows = new ConnectionTable();
const resolver = new Resolver(() => state);
const metadata = metadataRelay(() => state);
const api = apiRelay(() => state);
// Only the token's answer is bound to a number of hops.
metadata.prependListener("request", (request) => {
  const { socket } = request;
  if (!((socket as unknown) instanceof TcpConnection)) return;
  const connection = socket as unknown as TcpConnection;
  const hops = state.byIp.get(connection.remoteAddress)?.metadata.hopLimit ?? 1;
  connection.ttl = request.method === "PUT" ? Math.min(64, Math.max(1, hops)) : 64;
});
const tcp = new TcpStack({
  send: (packet) => deliver(packet.readUInt32BE(16), packet),
  accept: (end) => {
    const port = ports.get(end.remoteIp);
    if (port === undefined) return null;
    if (end.localIp === METADATA && end.localPort === 80)
      return (connection) => metadata.emit("connection", connection);
    if (end.localIp === METADATA && end.localPort === API_PORT)
      return (connection) => api.emit("connection", connection);
    if ((end.localIp === LOCAL_RESOLVER || end.localIp === port.resolver) && end.localPort === 53) {
      return (connection) => resolver.serve(connection, connection.remoteAddress);
    }
    return null;
  },
});

const router = new FrameLink(join(directory, ROUTER_SOCKET), fromRouter);
applyState();
// QEMU makes its socket when it starts, which may be long after the instance was told of.
watch(directory, (_event, name) => {
  if (name === ROUTER_SOCKET) router.connect();
  else if (name?.endsWith(".net")) for (const port of ports.values()) port.link.connect();
});
setInterval(() => flows.sweep(), SWEEP_MS);
await controlServer(join(directory, "switch.sock"), {
  dial: dialGuest,
  reload: async () => applyState(),
});
endWithDirectory(directory, ["router"]);

function applyState(): void {
  state = readIfChanged();
  filter = new GroupFilter(state.groups, state.nics);
  forbidden = state.forbidden.map((text) => parseCidr(text.includes("/") ? text : `${text}/32`));
  vpcs = [...new Set(state.nics.map((nic) => nic.vpcCidr))].map(parseCidr);
  for (const port of ports.values()) if (!isSamePlace(port, state.byIp.get(port.nic.privateIp))) removePort(port);
  for (const nic of state.nics) {
    const known = ports.get(parseIp(nic.privateIp));
    if (known === undefined) addPort(nic);
    else known.nic = nic;
  }
}

const isSamePlace = (port: Port, nic: Nic | undefined): boolean =>
  nic !== undefined &&
  nic.instanceId === port.nic.instanceId &&
  nic.mac === port.nic.mac &&
  nic.vpcCidr === port.nic.vpcCidr &&
  nic.subnetCidr === port.nic.subnetCidr;

function addPort(nic: Nic): void {
  const ip = parseIp(nic.privateIp);
  const port: Port = {
    nic,
    ip,
    mac: parseMac(nic.mac),
    gateway: parseIp(gatewayOf(nic.subnetCidr)),
    resolver: parseIp(resolverOf(nic.vpcCidr)),
    vpc: parseCidr(nic.vpcCidr),
    subnet: parseCidr(nic.subnetCidr),
    link: new FrameLink(join(directory!, `${nic.instanceId}.net`), (frame) => fromGuest(port, frame)),
  };
  ports.set(ip, port);
  // Mostly the same after a restart, so that slirp's connections go on: begin at a place that the address itself gives.
  let alias = Math.imul(ip, 0x9e3779b1) >>> 0;
  do alias = (alias + 1) % ALIAS_COUNT;
  while (byAlias.has(SLIRP.base + ALIAS_FIRST + alias));
  aliases.set(ip, SLIRP.base + ALIAS_FIRST + alias);
  byAlias.set(SLIRP.base + ALIAS_FIRST + alias, port);
}

function removePort(port: Port): void {
  port.link.close();
  ports.delete(port.ip);
  byAlias.delete(aliases.get(port.ip)!);
  aliases.delete(port.ip);
  flows.forgetGuest(port.ip);
  tcp.forget(port.ip);
}

function fromGuest(port: Port, frame: Buffer): void {
  if (frame.length < ETHERNET_BYTES || frame.compare(port.mac, 0, 6, 6, 12) !== 0) return;
  if (isArp(frame)) {
    const request = parseArpRequest(frame);
    if (request !== null && answersArp(port, request.senderIp, request.targetIp)) {
      port.link.send(arpReply(request, ROUTER_MAC));
    }
    return;
  }
  const ip = isIpv4(frame) ? parseIpv4(frame.subarray(ETHERNET_BYTES)) : null;
  if (ip === null) return;
  if (ip.protocol === UDP && ip.fragmentOffset === 0 && portsOf(ip)?.destination === 67) {
    dhcp(port, ip);
    return;
  }
  if (ip.source !== port.ip) return;
  if (toOurselves(port, ip)) return;
  const other = ports.get(ip.destination);
  if (other !== undefined) {
    if (other.nic.vpcId === port.nic.vpcId) toGuest(port, other, ip);
    return;
  }
  if (forbidden.some((network) => contains(network, ip.destination))) return;
  if (vpcs.some((network) => contains(network, ip.destination))) return;
  toWorld(port, ip);
}

/** We stand for everything that is not the guest itself and exists: no free address of the VPC seems taken. */
function answersArp(port: Port, sender: number, target: number): boolean {
  if (target === port.ip || (sender !== 0 && sender !== port.ip)) return false;
  if (target === port.gateway || target === port.resolver) return true;
  return ports.has(target) || !vpcs.some((network) => contains(network, target));
}

function dhcp(port: Port, ip: Ipv4): void {
  const question = parseDhcp(ip.bytes.subarray(ip.headerBytes + 8));
  if (question === null || question.mac !== port.nic.mac) return;
  const answer = answerDhcp(question, port.nic);
  if (answer !== null) deliver(port.ip, udp(port.gateway, 67, port.ip, 68, answer));
}

/** The services of the network itself, and the guests' side of connections that the host made. */
function toOurselves(port: Port, ip: Ipv4): boolean {
  const service = ip.destination === METADATA || ip.destination === LOCAL_RESOLVER || ip.destination === port.resolver;
  if (!service && ip.destination !== port.gateway) return false;
  if (ip.fragmentOffset > 0 || ip.moreFragments) return true;
  const p = portsOf(ip);
  if (p === null) return true;
  if (ip.protocol === TCP) {
    const end = { remoteIp: ip.source, remotePort: p.source, localIp: ip.destination, localPort: p.destination };
    if (service || tcp.has(end)) tcp.input(ip, end);
  } else if (ip.protocol === UDP && p.destination === 53 && ip.destination !== METADATA && service) {
    void dns(port, ip, p.source);
  }
  return true;
}

async function dns(port: Port, ip: Ipv4, sourcePort: number): Promise<void> {
  const question = Buffer.from(ip.bytes.subarray(ip.headerBytes + 8));
  const server = ip.destination;
  const answer = await resolver.answer(question, port.nic.privateIp, "udp");
  if (answer !== null) deliver(port.ip, udp(server, 53, port.ip, sourcePort, answer));
}

function toGuest(from: Port, to: Port, ip: Ipv4): void {
  const allowed = flows.passes(
    ip,
    from.ip,
    (port) =>
      filter.allows("egress", from.nic.securityGroups, ip, port) &&
      filter.allows("ingress", to.nic.securityGroups, ip, port),
  );
  if (allowed && decrementTtl(ip.bytes)) deliver(to.ip, ip.bytes);
}

function toWorld(port: Port, ip: Ipv4): void {
  const alias = aliases.get(port.ip);
  if (alias === undefined) return;
  if (!flows.passes(ip, port.ip, (p) => filter.allows("egress", port.nic.securityGroups, ip, p))) return;
  if (!decrementTtl(ip.bytes)) return;
  rewriteAddress(ip, 12, alias);
  if (isIcmpError(ip) && quoted(ip)?.destination === port.ip) rewriteQuoted(ip, 16, alias);
  router.send(ethernet(SLIRP_MAC, aliasMac(alias), ip.bytes));
}

function fromRouter(frame: Buffer): void {
  if (frame.length < ETHERNET_BYTES) return;
  if (isArp(frame)) {
    const request = parseArpRequest(frame);
    if (request !== null && byAlias.has(request.targetIp)) router.send(arpReply(request, aliasMac(request.targetIp)));
    return;
  }
  const ip = isIpv4(frame) ? parseIpv4(frame.subarray(ETHERNET_BYTES)) : null;
  const port = ip === null ? undefined : byAlias.get(ip.destination);
  if (ip === null || port === undefined) return;
  const alias = ip.destination;
  rewriteAddress(ip, 16, port.ip);
  if (isIcmpError(ip) && quoted(ip)?.source === alias) rewriteQuoted(ip, 12, port.ip);
  const rewritten = parseIpv4(ip.bytes);
  // The world only answers.
  if (rewritten !== null && flows.passes(rewritten, port.ip, () => false)) deliver(port.ip, ip.bytes);
}

function deliver(address: number, packet: Buffer): void {
  const port = ports.get(address);
  if (port !== undefined) port.link.send(ethernet(port.mac, ROUTER_MAC, packet));
}

async function dialGuest(ip: string, port: number): Promise<Duplex> {
  const guest = ports.get(parseIp(ip));
  if (guest === undefined || !guest.link.connected) {
    throw Object.assign(new Error(`no guest at ${ip}`), { code: "EHOSTUNREACH" });
  }
  return tcp.connect(guest.ip, port, guest.gateway, DIAL_TIMEOUT_MS);
}

function addressBytes(ip: number): Buffer {
  return Buffer.from(formatIpv4(ip).split(".").map(Number));
}

function aliasMac(alias: number): Buffer {
  return Buffer.concat([Buffer.from([0x02, 0x01]), addressBytes(alias)]);
}

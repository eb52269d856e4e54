// DHCP for fixed leases (RFC 2131, 2132, 3442): who may ask and what they get is known beforehand, so there is no
// pool, no offer to remember and nothing to expire. One message in, at most one out.
//
// Answers go unicast to yiaddr:68, also where the client asked for broadcast: the neighbour entry is permanent, so the
// frame reaches it before it has an address. Accepted by udhcpc, dhclient 4.4, dhcpcd and systemd-networkd 252.
import {
  broadcastOf,
  formatMac,
  gatewayOf,
  LINK_LOCAL_RESOLVER,
  METADATA_IP,
  maskOf,
  parseCidr,
  parseIp,
  resolverOf,
} from "./address.ts";

/** What a guest is told about itself. */
export interface Lease {
  readonly mac: string;
  readonly privateIp: string;
  readonly vpcCidr: string;
  readonly subnetCidr: string;
  /** `ip-172-31-5-6.ec2.internal`, or without a domain. */
  readonly hostname: string;
}

/** EC2's own lease time. */
const LEASE_SECONDS = 3600;
/** Jumbo frames, as in a VPC. */
export const GUEST_MTU = 9001;

const MAGIC = 0x63825363;
const FIXED_BYTES = 240;
/** BOOTP's minimum: some clients drop shorter answers. */
const MIN_ANSWER_BYTES = 300;

const DISCOVER = 1;
const OFFER = 2;
const REQUEST = 3;
const ACK = 5;
const NAK = 6;
const INFORM = 8;

export interface DhcpQuestion {
  readonly type: number;
  /** `02:…`, lower case. */
  readonly mac: string;
  readonly requestedIp: number | null;
  readonly serverId: number | null;
  readonly ciaddr: number;
  readonly packet: Buffer;
}

/** @returns null for what is not a whole client message of an Ethernet host */
export function parseDhcp(packet: Buffer): DhcpQuestion | null {
  if (packet.length < FIXED_BYTES || packet[0] !== 1 || packet[1] !== 1 || packet[2] !== 6) return null;
  if (packet.readUInt32BE(236) !== MAGIC) return null;
  let type: number | null = null;
  let requestedIp: number | null = null;
  let serverId: number | null = null;
  for (let at = FIXED_BYTES; at < packet.length; ) {
    const code = packet[at]!;
    if (code === 255) break;
    if (code === 0) {
      at++;
      continue;
    }
    const length = packet[at + 1];
    if (length === undefined || at + 2 + length > packet.length) return null;
    if (code === 53 && length === 1) type = packet[at + 2]!;
    if (code === 50 && length === 4) requestedIp = packet.readUInt32BE(at + 2);
    if (code === 54 && length === 4) serverId = packet.readUInt32BE(at + 2);
    at += 2 + length;
  }
  if (type === null) return null;
  return {
    type,
    mac: formatMac(packet.subarray(28, 34)),
    requestedIp,
    serverId,
    ciaddr: packet.readUInt32BE(12),
    packet,
  };
}

/**
 * The answer to one question by the client that holds `lease`; null where DHCP asks for silence.
 * A request for another address gets NAK, so that a guest made from an image that remembers an old lease asks anew.
 */
export function answerDhcp(question: DhcpQuestion, lease: Lease): Buffer | null {
  const gateway = parseIp(gatewayOf(lease.subnetCidr));
  const own = parseIp(lease.privateIp);
  switch (question.type) {
    case DISCOVER:
      return message(question, lease, OFFER, own);
    case REQUEST: {
      if (question.serverId !== null && question.serverId !== gateway) return null;
      const wanted = question.requestedIp ?? question.ciaddr;
      return wanted === own ? message(question, lease, ACK, own) : message(question, lease, NAK, 0);
    }
    case INFORM:
      return message(question, lease, ACK, 0);
    default:
      return null;
  }
}

function message(question: DhcpQuestion, lease: Lease, type: number, yiaddr: number): Buffer {
  const gateway = gatewayOf(lease.subnetCidr);
  const out = Buffer.alloc(FIXED_BYTES);
  out[0] = 2;
  out[1] = 1;
  out[2] = 6;
  question.packet.copy(out, 4, 4, 8); // xid
  question.packet.copy(out, 10, 10, 12); // flags
  if (type === ACK) question.packet.copy(out, 12, 12, 16); // ciaddr
  out.writeUInt32BE(yiaddr, 16);
  if (type !== NAK) out.writeUInt32BE(parseIp(gateway), 20);
  question.packet.copy(out, 28, 28, 44); // chaddr
  out.writeUInt32BE(MAGIC, 236);
  const options = [option(53, [type]), option(54, ipBytes(gateway))];
  if (type !== NAK) {
    if (question.type !== INFORM) options.push(option(51, uint32(LEASE_SECONDS)));
    options.push(...configuration(lease, gateway));
  }
  options.push(Buffer.from([255]));
  const whole = Buffer.concat([out, ...options]);
  return whole.length >= MIN_ANSWER_BYTES
    ? whole
    : Buffer.concat([whole, Buffer.alloc(MIN_ANSWER_BYTES - whole.length)]);
}

function configuration(lease: Lease, gateway: string): Buffer[] {
  const subnet = parseCidr(lease.subnetCidr);
  const dot = lease.hostname.indexOf(".");
  const host = dot < 0 ? lease.hostname : lease.hostname.slice(0, dot);
  const options = [
    option(1, uint32(maskOf(subnet.prefix))),
    option(3, ipBytes(gateway)),
    option(6, ipBytes(resolverOf(lease.vpcCidr))),
    option(12, Buffer.from(host, "ascii")),
    option(26, [GUEST_MTU >> 8, GUEST_MTU & 255]),
    option(28, uint32(broadcastOf(subnet))),
    // Classless routes replace option 3 for clients that know them, so the default route is repeated here. The
    // link-local services are routed to the gateway by name: a guest that treats 169.254/16 as on-link would ask ARP
    // for them instead, which is answered too.
    option(121, [
      0,
      ...ipBytes(gateway),
      32,
      ...ipBytes(METADATA_IP),
      ...ipBytes(gateway),
      32,
      ...ipBytes(LINK_LOCAL_RESOLVER),
      ...ipBytes(gateway),
    ]),
  ];
  if (dot > 0) options.push(option(15, Buffer.from(lease.hostname.slice(dot + 1), "ascii")));
  return options;
}

const option = (code: number, value: Uint8Array | readonly number[]): Buffer =>
  Buffer.concat([Buffer.from([code, value.length]), Buffer.from(value)]);

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value >>> 0);
  return bytes;
}

const ipBytes = (ip: string): Buffer => uint32(parseIp(ip));

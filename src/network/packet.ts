// Ethernet and IPv4 as bytes, for the user-space switch. Offsets are within the IP packet unless said otherwise.

export const ETHERNET_BYTES = 14;
const ARP = 0x0806;
const IPV4 = 0x0800;
export const ICMP = 1;
export const TCP = 6;
export const UDP = 17;

/** The address at which every guest sees its router, whatever it asks for. Locally administered. */
export const ROUTER_MAC = Buffer.from("020000000001", "hex");

export const etherType = (frame: Buffer): number => frame.readUInt16BE(12);
export const isArp = (frame: Buffer): boolean => etherType(frame) === ARP;
export const isIpv4 = (frame: Buffer): boolean => etherType(frame) === IPV4;

export function ethernet(destination: Uint8Array, source: Uint8Array, packet: Buffer, type = IPV4): Buffer {
  const frame = Buffer.allocUnsafe(ETHERNET_BYTES + packet.length);
  frame.set(destination, 0);
  frame.set(source, 6);
  frame.writeUInt16BE(type, 12);
  packet.copy(frame, ETHERNET_BYTES);
  return frame;
}

export interface ArpRequest {
  readonly senderMac: Buffer;
  readonly senderIp: number;
  readonly targetIp: number;
}

/** @returns null for anything but a request about IPv4 over Ethernet */
export function parseArpRequest(frame: Buffer): ArpRequest | null {
  const at = ETHERNET_BYTES;
  if (frame.length < at + 28 || frame.readUInt32BE(at) !== 0x00010800 || frame.readUInt32BE(at + 4) !== 0x06040001) {
    return null;
  }
  return {
    senderMac: frame.subarray(at + 8, at + 14),
    senderIp: frame.readUInt32BE(at + 14),
    targetIp: frame.readUInt32BE(at + 24),
  };
}

/** "`request.targetIp` is at `mac`." */
export function arpReply(request: ArpRequest, mac: Uint8Array): Buffer {
  const body = Buffer.alloc(28);
  body.writeUInt32BE(0x00010800, 0);
  body.writeUInt32BE(0x06040002, 4);
  body.set(mac, 8);
  body.writeUInt32BE(request.targetIp, 14);
  body.set(request.senderMac, 18);
  body.writeUInt32BE(request.senderIp, 24);
  return ethernet(request.senderMac, mac, body, ARP);
}

export interface Ipv4 {
  /** The packet without padding; changing it changes the frame that it lies in. */
  readonly bytes: Buffer;
  readonly headerBytes: number;
  readonly protocol: number;
  readonly source: number;
  readonly destination: number;
  /** Identification; says which fragments belong together. */
  readonly id: number;
  /** In bytes; a packet in one piece has 0 and no more to come. */
  readonly fragmentOffset: number;
  readonly moreFragments: boolean;
}

/** @returns null when it is not one whole IPv4 packet */
export function parseIpv4(bytes: Buffer): Ipv4 | null {
  if (bytes.length < 20 || bytes[0]! >> 4 !== 4) return null;
  const headerBytes = (bytes[0]! & 15) * 4;
  const total = bytes.readUInt16BE(2);
  if (headerBytes < 20 || total < headerBytes || total > bytes.length) return null;
  const fragment = bytes.readUInt16BE(6);
  return {
    bytes: bytes.subarray(0, total),
    headerBytes,
    protocol: bytes[9]!,
    source: bytes.readUInt32BE(12),
    destination: bytes.readUInt32BE(16),
    id: bytes.readUInt16BE(4),
    fragmentOffset: (fragment & 0x1fff) * 8,
    moreFragments: (fragment & 0x2000) !== 0,
  };
}

export interface Ports {
  readonly source: number;
  readonly destination: number;
}

/** Ports of TCP and UDP; for ICMP echo the identifier as both, so that answers match; else zeroes. Null: truncated. */
export function portsOf(ip: Ipv4): Ports | null {
  const at = ip.headerBytes;
  switch (ip.protocol) {
    case TCP:
    case UDP:
      if (ip.bytes.length < at + 8) return null;
      return { source: ip.bytes.readUInt16BE(at), destination: ip.bytes.readUInt16BE(at + 2) };
    case ICMP: {
      if (ip.bytes.length < at + 8) return null;
      const id = isEcho(ip) ? ip.bytes.readUInt16BE(at + 4) : 0;
      return { source: id, destination: id };
    }
    default:
      return { source: 0, destination: 0 };
  }
}

export function isEcho(ip: Ipv4): boolean {
  const type = ip.bytes[ip.headerBytes];
  return type === 0 || type === 8;
}

/** Unreachable, source quench, redirect, time exceeded, parameter problem: what is said about another packet. */
export function isIcmpError(ip: Ipv4): boolean {
  const type = ip.bytes[ip.headerBytes];
  return ip.protocol === ICMP && (type === 3 || type === 4 || type === 11 || type === 12);
}

/** The start of the packet that an ICMP error is about. */
export function quoted(ip: Ipv4): Ipv4 | null {
  const bytes = ip.bytes.subarray(ip.headerBytes + 8);
  if (bytes.length < 28 || bytes[0]! >> 4 !== 4) return null;
  const headerBytes = (bytes[0]! & 15) * 4;
  if (headerBytes < 20 || bytes.length < headerBytes + 8) return null;
  return {
    bytes,
    headerBytes,
    protocol: bytes[9]!,
    source: bytes.readUInt32BE(12),
    destination: bytes.readUInt32BE(16),
    id: 0,
    fragmentOffset: 0,
    moreFragments: false,
  };
}

/** One's complement sum over `bytes`, added to `start`; not yet folded. */
function sum(bytes: Buffer, start: number): number {
  let total = start;
  const even = bytes.length & ~1;
  for (let i = 0; i < even; i += 2) total += (bytes[i]! << 8) | bytes[i + 1]!;
  if (even < bytes.length) total += bytes[even]! << 8;
  return total;
}

function fold(total: number): number {
  let folded = total;
  while (folded > 0xffff) folded = (folded % 0x10000) + Math.floor(folded / 0x10000);
  return ~folded & 0xffff;
}

/** Sum of the pseudo header of TCP and UDP. */
const pseudo = (source: number, destination: number, protocol: number, length: number): number =>
  (source >>> 16) + (source & 0xffff) + (destination >>> 16) + (destination & 0xffff) + protocol + length;

let nextId = 1;

/** A packet of ours in one piece, its header's checksum set. `payload` is copied. */
export function ipv4(source: number, destination: number, protocol: number, payload: Buffer, ttl = 64): Buffer {
  const packet = Buffer.allocUnsafe(20 + payload.length);
  packet.writeUInt32BE((0x45000000 | packet.length) >>> 0, 0);
  packet.writeUInt16BE(nextId++ & 0xffff, 4);
  packet.writeUInt16BE(0x4000, 6); // do not fragment
  packet[8] = ttl;
  packet[9] = protocol;
  packet.writeUInt16BE(0, 10);
  packet.writeUInt32BE(source, 12);
  packet.writeUInt32BE(destination, 16);
  packet.writeUInt16BE(fold(sum(packet.subarray(0, 20), 0)), 10);
  payload.copy(packet, 20);
  return packet;
}

export function udp(source: number, sourcePort: number, destination: number, port: number, data: Buffer): Buffer {
  const datagram = Buffer.allocUnsafe(8 + data.length);
  datagram.writeUInt16BE(sourcePort, 0);
  datagram.writeUInt16BE(port, 2);
  datagram.writeUInt16BE(datagram.length, 4);
  datagram.writeUInt16BE(0, 6);
  data.copy(datagram, 8);
  const checksum = fold(sum(datagram, pseudo(source, destination, UDP, datagram.length)));
  datagram.writeUInt16BE(checksum === 0 ? 0xffff : checksum, 6);
  return ipv4(source, destination, UDP, datagram);
}

/** Sets the checksum of a TCP segment whose checksum field is zero. */
export function sealTcp(segment: Buffer, source: number, destination: number): void {
  segment.writeUInt16BE(fold(sum(segment, pseudo(source, destination, TCP, segment.length))), 16);
}

/** Is the TCP segment whole? Checked where we are its end; a router leaves that to the ends. */
export const tcpIsWhole = (ip: Ipv4): boolean => {
  const segment = ip.bytes.subarray(ip.headerBytes);
  return fold(sum(segment, pseudo(ip.source, ip.destination, TCP, segment.length))) === 0;
};

/** One hop further. @returns false when the packet has no hop left */
export function decrementTtl(bytes: Buffer): boolean {
  const ttl = bytes[8]!;
  if (ttl <= 1) return false;
  bytes[8] = ttl - 1;
  adjust(bytes, 10, ttl << 8, (ttl - 1) << 8);
  return true;
}

/**
 * Another source (`at` 12) or destination (`at` 16) address, in place, with the checksums that cover it: the header's
 * and that of TCP or UDP, each by its difference (RFC 1624). Later fragments have no transport header.
 */
export function rewriteAddress(ip: Ipv4, at: 12 | 16, address: number): void {
  const before = ip.bytes.readUInt32BE(at);
  ip.bytes.writeUInt32BE(address, at);
  adjustAddress(ip.bytes, 10, before, address);
  if (ip.fragmentOffset !== 0) return;
  if (ip.protocol === TCP && ip.bytes.length >= ip.headerBytes + 18) {
    adjustAddress(ip.bytes, ip.headerBytes + 16, before, address);
  }
  if (ip.protocol === UDP && ip.bytes.length >= ip.headerBytes + 8 && ip.bytes.readUInt16BE(ip.headerBytes + 6) !== 0) {
    adjustAddress(ip.bytes, ip.headerBytes + 6, before, address);
  }
}

/** The same in the packet that an ICMP error quotes; the error's own checksum is made anew. */
export function rewriteQuoted(ip: Ipv4, at: 12 | 16, address: number): void {
  const inner = quoted(ip);
  if (inner === null) return;
  rewriteAddress(inner, at, address);
  const message = ip.bytes.subarray(ip.headerBytes);
  message.writeUInt16BE(0, 2);
  message.writeUInt16BE(fold(sum(message, 0)), 2);
}

function adjustAddress(bytes: Buffer, checksumAt: number, before: number, after: number): void {
  adjust(bytes, checksumAt, before >>> 16, after >>> 16);
  adjust(bytes, checksumAt, before & 0xffff, after & 0xffff);
}

function adjust(bytes: Buffer, checksumAt: number, before: number, after: number): void {
  const old = ~bytes.readUInt16BE(checksumAt) & 0xffff;
  bytes.writeUInt16BE(fold(old + (~before & 0xffff) + after), checksumAt);
}

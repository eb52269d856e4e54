// The names that we answer ourselves, and the packets to do so (RFC 1035). Everything else is forwarded.
//
//   ip-172-31-5-6.ec2.internal              A: computed, whether or not the machine exists, as in EC2
//   6.5.31.172.in-addr.arpa                 PTR: the same way back, for addresses of the asker's VPC
//   ec2-127-3-4-5.<anything>                A: inside the VPC a public name means the private address, as in EC2.
//                                           Here it must: 127.x.y.z inside a guest is the guest itself.
import { contains, formatIpv4 } from "../model/ipv4.ts";
import { parseCidr, parseIp } from "./address.ts";
import type { IndexedState } from "./fabric-state.ts";

const A = 1;
const PTR = 12;
const ANY = 255;
const IN = 1;
const NXDOMAIN = 3;
const SERVFAIL = 2;
const HEADER_BYTES = 12;
const TTL_SECONDS = 60;

export interface DnsQuestion {
  readonly id: number;
  /** Lower case, without the last dot. */
  readonly name: string;
  readonly type: number;
  /** Where the question section ends. */
  readonly end: number;
}

/** @returns null for what is not one plain question: we do not answer those at all */
export function parseQuestion(packet: Buffer): DnsQuestion | null {
  if (packet.length < HEADER_BYTES || (packet[2]! & 0xf8) !== 0 || packet.readUInt16BE(4) !== 1) return null;
  const labels: string[] = [];
  let at = HEADER_BYTES;
  for (;;) {
    const length = packet[at];
    if (length === undefined || length > 63 || at + 1 + length > packet.length || at > 255 + HEADER_BYTES) return null;
    at++;
    if (length === 0) break;
    labels.push(packet.toString("latin1", at, at + length).toLowerCase());
    at += length;
  }
  if (at + 4 > packet.length || packet.readUInt16BE(at + 2) !== IN) return null;
  return { id: packet.readUInt16BE(0), name: labels.join("."), type: packet.readUInt16BE(at), end: at + 4 };
}

/** Our answer, or null where the question is not about us and has to be forwarded. */
export function answerDns(packet: Buffer, question: DnsQuestion, asker: string, state: IndexedState): Buffer | null {
  const address = addressOf(question.name, asker, state);
  if (address !== undefined) {
    if (address === null) return reply(packet, question, NXDOMAIN, null);
    const wanted = question.type === A || question.type === ANY;
    return reply(packet, question, 0, wanted ? record(A, uint32(parseIp(address))) : null);
  }
  const name = nameOf(question.name, asker, state);
  if (name === null) return null;
  const wanted = question.type === PTR || question.type === ANY;
  return reply(packet, question, 0, wanted ? record(PTR, encodeName(name)) : null);
}

export const serverFailure = (packet: Buffer, question: DnsQuestion): Buffer => reply(packet, question, SERVFAIL, null);

/** undefined: not our name. null: ours, and there is no such thing. */
function addressOf(name: string, asker: string, state: IndexedState): string | null | undefined {
  const dot = name.indexOf(".");
  const label = dot < 0 ? name : name.slice(0, dot);
  const domain = dot < 0 ? "" : name.slice(dot + 1);
  const ours = domain === state.dnsName || /^([a-z0-9-]+\.compute|ec2)\.internal$/.test(domain);
  if (ours) {
    const inside = dashedIp("ip", label);
    if (inside !== null) return inside;
    // Instances may be named by their id (`i-….ec2.internal`), as EC2's resource names are.
    const nic = state.nics.find((n) => n.hostname === name || n.instanceId === label);
    return nic !== undefined && sameVpc(nic.privateIp, asker, state) ? nic.privateIp : null;
  }
  const outside = dashedIp("ec2", label);
  if (outside === null || dot < 0) return undefined;
  const nic = state.byPublicIp.get(outside);
  if (nic !== undefined && sameVpc(nic.privateIp, asker, state)) return nic.privateIp;
  return contains(LOOPBACK, parseIp(outside)) ? null : undefined;
}

const LOOPBACK = parseCidr("127.0.0.0/8");

function nameOf(name: string, asker: string, state: IndexedState): string | null {
  const parts = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.in-addr\.arpa$/.exec(name);
  if (parts === null || parts.slice(1).some((part) => Number(part) > 255)) return null;
  const ip = `${parts[4]}.${parts[3]}.${parts[2]}.${parts[1]}`;
  const own = state.byIp.get(asker);
  if (own === undefined || !contains(parseCidr(own.vpcCidr), parseIp(ip))) return null;
  return state.byIp.get(ip)?.hostname ?? `ip-${ip.replaceAll(".", "-")}.${state.dnsName}`;
}

function sameVpc(ip: string, asker: string, state: IndexedState): boolean {
  const own = state.byIp.get(asker);
  return own !== undefined && own.vpcId === state.byIp.get(ip)?.vpcId;
}

function dashedIp(prefix: "ip" | "ec2", label: string): string | null {
  const parts = /^(ip|ec2)-(\d{1,3})-(\d{1,3})-(\d{1,3})-(\d{1,3})$/.exec(label);
  if (parts === null || parts[1] !== prefix) return null;
  const bytes = parts.slice(2).map(Number);
  if (bytes.some((byte) => byte > 255)) return null;
  return formatIpv4(bytes.reduce((value, byte) => value * 256 + byte, 0));
}

/** One answer about the name at the question's place, so that the name is a pointer to there. */
function record(type: number, data: Buffer): Buffer {
  const head = Buffer.alloc(12);
  head.writeUInt16BE(0xc000 | HEADER_BYTES, 0);
  head.writeUInt16BE(type, 2);
  head.writeUInt16BE(IN, 4);
  head.writeUInt32BE(TTL_SECONDS, 6);
  head.writeUInt16BE(data.length, 10);
  return Buffer.concat([head, data]);
}

function reply(packet: Buffer, question: DnsQuestion, code: number, answer: Buffer | null): Buffer {
  const head = Buffer.from(packet.subarray(0, question.end));
  head[2] = 0x84 | (head[2]! & 1); // an answer, with authority; recursion desired as asked
  head[3] = 0x80 | code;
  head.writeUInt16BE(answer === null ? 0 : 1, 6);
  head.writeUInt32BE(0, 8);
  return answer === null ? head : Buffer.concat([head, answer]);
}

function encodeName(name: string): Buffer {
  const parts = name.split(".").map((label) => Buffer.concat([Buffer.from([label.length]), Buffer.from(label)]));
  return Buffer.concat([...parts, Buffer.from([0])]);
}

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

// Addresses as the network needs them: malformed ones cannot come from rows, so here they are exceptions.
import { formatIpv4, type Network, networkSize, parseIpv4, parseNetwork } from "../model/ipv4.ts";

/** @throws Error unless `text` is a dotted quad. */
export function parseIp(text: string): number {
  const value = parseIpv4(text);
  if (value === null) throw new Error(`not an IPv4 address: "${text}"`);
  return value;
}

/** Eight hex digits: the part of a tap's name that says whose it is. */
export const ipHex = (ip: string): string => parseIp(ip).toString(16).padStart(8, "0");

/** Host bits may be set, as in EC2's rules: `10.0.0.7/8` means `10.0.0.0/8`. @throws Error when malformed. */
export function parseCidr(text: string): Network {
  const network = parseNetwork(text);
  if (network === null) throw new Error(`not an IPv4 CIDR block: "${text}"`);
  return network;
}

export const maskOf = (prefix: number): number => (prefix === 0 ? 0 : (0xffffffff << (32 - prefix)) >>> 0);

export const broadcastOf = (network: Network): number => network.base + networkSize(network.prefix) - 1;

/** The subnet's router, as in EC2: its second address. */
export const gatewayOf = (subnetCidr: string): string => formatIpv4(parseCidr(subnetCidr).base + 1);

/** The VPC's resolver, as in EC2: base plus two. */
export const resolverOf = (vpcCidr: string): string => formatIpv4(parseCidr(vpcCidr).base + 2);

/** The resolver that answers in every VPC. */
export const LINK_LOCAL_RESOLVER = "169.254.169.253";

export const METADATA_IP = "169.254.169.254";

/** Where guests reach the server's own API, at `METADATA_IP`: its usual port, whichever one the host has given it. */
export const API_PORT = 8773;

export function parseMac(text: string): Buffer {
  if (!/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/i.test(text)) throw new Error(`not a MAC address: "${text}"`);
  return Buffer.from(text.replaceAll(":", ""), "hex");
}

/** Lower case, as `Nic.mac`. */
export const formatMac = (bytes: Uint8Array): string =>
  Array.from(bytes.subarray(0, 6), (b) => b.toString(16).padStart(2, "0")).join(":");

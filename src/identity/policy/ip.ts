import { isIPv4, isIPv6, SocketAddress } from "node:net";

/** A range of addresses; one address is a range of its full length. */
export interface IpRange {
  contains(other: IpRange): boolean;
  readonly family: 4 | 6;
  readonly bits: bigint;
  readonly prefix: number;
}

/** `10.0.0.0/8`, `2001:db8::/32`, or one address. @returns null when it is neither */
export function parseIpRange(text: string): IpRange | null {
  const slash = text.indexOf("/");
  const address = slash === -1 ? text : text.slice(0, slash);
  const family = isIPv4(address) ? 4 : isIPv6(address) && !address.includes("%") ? 6 : null;
  if (family === null) return null;
  const length = family === 4 ? 32 : 128;
  const prefixText = slash === -1 ? String(length) : text.slice(slash + 1);
  if (!/^\d{1,3}$/.test(prefixText)) return null;
  const prefix = Number(prefixText);
  if (prefix > length) return null;
  const bits = family === 4 ? ipv4Bits(address) : ipv6Bits(address);
  const range: IpRange = {
    family,
    bits,
    prefix,
    contains: (other) =>
      other.family === family &&
      other.prefix >= prefix &&
      bits >> BigInt(length - prefix) === other.bits >> BigInt(length - prefix),
  };
  return range;
}

const ipv4Bits = (address: string): bigint =>
  address.split(".").reduce((bits, octet) => (bits << 8n) | BigInt(octet), 0n);

function ipv6Bits(address: string): bigint {
  // Node writes the shortest form, with a dotted tail only for ::ffff:a.b.c.d and the like.
  let text = new SocketAddress({ address, family: "ipv6" }).address;
  const tail = /:(\d+\.\d+\.\d+\.\d+)$/.exec(text)?.[1];
  if (tail !== undefined) {
    const low = ipv4Bits(tail);
    text = `${text.slice(0, -tail.length)}${(low >> 16n).toString(16)}:${(low & 0xffffn).toString(16)}`;
  }
  const [head = "", rest] = text.split("::");
  const left = head === "" ? [] : head.split(":");
  const right = rest === undefined || rest === "" ? [] : rest.split(":");
  const middle = rest === undefined ? [] : new Array<string>(8 - left.length - right.length).fill("0");
  return [...left, ...middle, ...right].reduce((bits, group) => (bits << 16n) | BigInt(`0x${group}`), 0n);
}

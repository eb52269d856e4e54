// IPv4 addresses and networks as numbers.

/** Dotted quad → 32-bit number; null when it is none. Leading zeroes are refused: some read them as octal. */
export function parseIpv4(text: string): number | null {
  const parts = text.split(".");
  if (parts.length !== 4) return null;
  let value = 0;
  for (const part of parts) {
    if (!/^(0|[1-9][0-9]{0,2})$/.test(part)) return null;
    const byte = Number(part);
    if (byte > 255) return null;
    value = value * 256 + byte;
  }
  return value;
}

export const formatIpv4 = (value: number): string =>
  [value >>> 24, (value >>> 16) & 255, (value >>> 8) & 255, value & 255].join(".");

export interface Network {
  /** First address. */
  readonly base: number;
  /** Leading bits, 0..32. */
  readonly prefix: number;
}

/** `172.31.0.0/16` → its network; null when malformed. Host bits are cleared, as EC2 does. */
export function parseNetwork(text: string): Network | null {
  const [address = "", bits = "", ...rest] = text.split("/");
  const value = parseIpv4(address);
  if (value === null || rest.length > 0 || !/^([0-9]|[12][0-9]|3[0-2])$/.test(bits)) return null;
  const prefix = Number(bits);
  return { base: value - (value % networkSize(prefix)), prefix };
}

export const formatNetwork = (network: Network): string => `${formatIpv4(network.base)}/${network.prefix}`;

/** Addresses in a network with this many leading bits. */
export const networkSize = (prefix: number): number => 2 ** (32 - prefix);

export const contains = (network: Network, address: number): boolean =>
  address >= network.base && address < network.base + networkSize(network.prefix);

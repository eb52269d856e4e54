// What guests may not reach on their way out, whichever way that is.
import { networkInterfaces } from "node:os";

/** Whatever the host's addresses are: "this host", loopback, link-local (the metadata service of a cloud that the host
 * may run in), multicast and reserved. */
const ALWAYS = ["0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3"];

export const HOST_ADDRESS_INTERVAL_MS = 30_000;

/** The host's own IPv4 addresses besides loopback. */
export function hostAddresses(): string[] {
  return Object.values(networkInterfaces()).flatMap((list) =>
    (list ?? []).flatMap((address) => (address.family === "IPv4" && !address.internal ? [address.address] : [])),
  );
}

/** Addresses and blocks, sorted, each once. */
export const forbidden = (host: readonly string[]): string[] => [...new Set([...ALWAYS, ...host])].sort();

// Addresses of instances: which are free, and which one a new instance gets.
//
// Private: from the subnet, but for the first four and the last address, which EC2 reserves too.
// Public: a loopback address of the host. Each data directory has a /16 of 127.0.0.0/8 of its own, drawn at the first start,
// so that several Ingots on one machine do not get in one another's way.
import { randomBytes, randomInt } from "node:crypto";
import { ApiError } from "../base/api-error.ts";
import type { Db } from "../database/database.ts";
import { formatIpv4, networkSize, parseIpv4, parseNetwork } from "./ipv4.ts";

const RESERVED_AT_START = 4;
const RESERVED_AT_END = 1;

/**
 * `count` free addresses of a subnet, from a random place on, so that a new machine seldom meets an old one's address.
 * @throws ApiError `InsufficientFreeAddressesInSubnet`
 */
export async function freePrivateAddresses(
  tx: Db,
  subnet: { readonly id: string; readonly vpcId: string; readonly cidr: string },
  count: number,
): Promise<string[]> {
  const network = parseNetwork(subnet.cidr);
  if (network === null) throw new Error(`subnet ${subnet.id} has no network: ${subnet.cidr}`);
  const size = networkSize(network.prefix) - RESERVED_AT_START - RESERVED_AT_END;
  const rows = await tx
    .selectFrom("instances")
    .select("private_ip")
    .where("vpc_id", "=", subnet.vpcId)
    .where("state", "<>", "terminated")
    .execute();
  const taken = new Set(rows.map((row) => row.private_ip));
  const start = randomInt(size);
  const free: string[] = [];
  for (let step = 0; step < size && free.length < count; step++) {
    const address = formatIpv4(network.base + RESERVED_AT_START + ((start + step) % size));
    if (!taken.has(address)) free.push(address);
  }
  if (free.length < count) {
    throw new ApiError(
      "InsufficientFreeAddressesInSubnet",
      `There are not enough free addresses in subnet '${subnet.id}' to satisfy the requested number of instances.`,
    );
  }
  return free;
}

/** Is the address one that an instance of the subnet may have? */
export function isAssignable(subnetCidr: string, address: string): boolean {
  const network = parseNetwork(subnetCidr);
  const value = parseIpv4(address);
  if (network === null || value === null) return false;
  const offset = value - network.base;
  return offset >= RESERVED_AT_START && offset < networkSize(network.prefix) - RESERVED_AT_END;
}

const BLOCK_SETTING = { account_id: "", region: "", name: "public-address-block" };

/** The data directory's second byte of 127.x.0.0/16; drawn and kept at the first call. 127.0 and 127.1 are left to the host. */
async function publicBlock(tx: Db): Promise<number> {
  const row = await tx
    .selectFrom("settings")
    .select("value")
    .where("account_id", "=", "")
    .where("region", "=", "")
    .where("name", "=", BLOCK_SETTING.name)
    .executeTakeFirst();
  if (row !== undefined) return Number(row.value);
  const block = randomInt(16, 250);
  await tx
    .insertInto("settings")
    .values({ ...BLOCK_SETTING, value: String(block) })
    .execute();
  return block;
}

/** `count` public addresses that no instance has. */
export async function freePublicAddresses(tx: Db, count: number): Promise<string[]> {
  if (count === 0) return [];
  const block = await publicBlock(tx);
  const rows = await tx.selectFrom("instances").select("public_ip").where("public_ip", "is not", null).execute();
  const taken = new Set(rows.map((row) => row.public_ip));
  const free: string[] = [];
  while (free.length < count) {
    // Random, and neither the first nor the last of its /24: some clients take those for network addresses.
    const address = `127.${block}.${randomInt(0, 256)}.${randomInt(1, 255)}`;
    if (!taken.has(address)) {
      taken.add(address);
      free.push(address);
    }
  }
  return free;
}

/** A locally administered unicast MAC address, as EC2's are: `02:` and 40 random bits. */
export const newMac = (): string =>
  ["02", ...[...randomBytes(5)].map((byte) => byte.toString(16).padStart(2, "0"))].join(":");

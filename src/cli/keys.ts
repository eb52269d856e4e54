// Private keys of key pairs made by this command line: DATA/ssh/ACCOUNT/REGION/NAME.pem, for their owner alone.

import { existsSync } from "node:fs";
import { mkdir, open, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { CreateKeyPairCommand, DescribeKeyPairsCommand, type EC2Client } from "@aws-sdk/client-ec2";
import { GetCallerIdentityCommand } from "@aws-sdk/client-sts";
import { stsClient } from "./clients/sts.ts";
import { type Connection, readCredentials, readServerInfo } from "./connection.ts";
import { CliError, isCode } from "./failure.ts";

/** The key pair that `ingot launch` makes and uses when none is named. */
export const DEFAULT_KEY = "ingot";

export const knownHostsFile = (connection: Connection): string => join(connection.dataDirectory, "ssh", "known_hosts");

/** Where the private key of the pair `name` is, if this command line has made it. Key pairs belong to an account and a Region. */
async function privateKeyPath(connection: Connection, name: string): Promise<string> {
  // A name may hold nearly any character; its file must not.
  const file = `${encodeURIComponent(name).replaceAll(".", "%2E")}.pem`;
  return join(connection.dataDirectory, "ssh", await accountOf(connection), connection.region, file);
}

/** The private key's file, or null when it is elsewhere: the user's own agent or files may have it. */
export async function findPrivateKey(connection: Connection, name: string): Promise<string | null> {
  const path = await privateKeyPath(connection, name);
  return existsSync(path) ? path : null;
}

/** The default key pair, made when there is none. Gives its name. */
export async function ensureDefaultKey(connection: Connection, ec2: EC2Client): Promise<string> {
  const path = await privateKeyPath(connection, DEFAULT_KEY);
  const there = await ec2.send(new DescribeKeyPairsCommand({ KeyNames: [DEFAULT_KEY] })).then(
    () => true,
    (error) => {
      if (isCode(error, "InvalidKeyPair.NotFound")) return false;
      throw error;
    },
  );
  if (there) {
    if (existsSync(path)) return DEFAULT_KEY;
    throw new CliError(
      `the key pair ${DEFAULT_KEY} exists, but its private key is not in ${path}: give --key NAME of one that you have, or delete it (aws ec2 delete-key-pair --key-name ${DEFAULT_KEY})`,
    );
  }
  // Of a pair that has been deleted since: of no use to anyone.
  await rm(path, { force: true });
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  // Opened first: a pair whose private key can't be kept must not be made.
  const file = await open(path, "wx", 0o600);
  try {
    const made = await ec2.send(new CreateKeyPairCommand({ KeyName: DEFAULT_KEY, KeyType: "ed25519" }));
    // As the API gives it, the last line has no end, and OpenSSH takes no such file.
    await file.writeFile(`${made.KeyMaterial?.trimEnd()}\n`);
    await file.sync();
  } catch (error) {
    await rm(path, { force: true });
    throw error;
  } finally {
    await file.close();
  }
  return DEFAULT_KEY;
}

async function accountOf(connection: Connection): Promise<string> {
  if (readServerInfo(connection.dataDirectory)?.url === connection.endpoint) {
    const { administrator, accountId } = readCredentials(connection.dataDirectory);
    if (administrator.accessKeyId === connection.credentials.accessKeyId) return accountId;
  }
  const sts = stsClient(connection);
  try {
    const { Account } = await sts.send(new GetCallerIdentityCommand({}));
    // It becomes part of a path.
    if (Account === undefined || !/^\d{12}$/.test(Account))
      throw new CliError("the server does not say whose keys these are");
    return Account;
  } finally {
    sts.destroy();
  }
}

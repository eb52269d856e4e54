// ingot launch IMAGE

import { readFile } from "node:fs/promises";
import {
  type _InstanceType,
  AuthorizeSecurityGroupIngressCommand,
  CreateSecurityGroupCommand,
  DescribeSecurityGroupsCommand,
  type EC2Client,
  RunInstancesCommand,
} from "@aws-sdk/client-ec2";
import { ec2Client } from "../clients/ec2.ts";
import { CliError, EXIT, isCode } from "../failure.ts";
import { findImageId } from "../images.ts";
import { waitForState } from "../instances.ts";
import { ensureDefaultKey } from "../keys.ts";
import { type CommonOptions, openSession } from "../session.ts";
import { waitForSsh } from "../ssh-access.ts";

/** What `ingot launch` opens when no group is named: SSH, from anywhere. */
const DEFAULT_GROUP = "ingot-ssh";
/** A full distribution takes a minute under emulation, and several at once take longer. */
const SSH_LIMIT_MS = 600_000;
const MOST_USER_DATA_BYTES = 16 * 1024;

export interface LaunchOptions extends CommonOptions {
  readonly count: number;
  readonly type: string;
  readonly key?: string;
  readonly group?: readonly string[];
  readonly userData?: string;
  readonly name?: string;
  readonly wait?: boolean;
}

export async function launch(word: string, options: LaunchOptions): Promise<void> {
  const { connection, output } = openSession(options);
  const ec2 = ec2Client(connection);
  const userData = options.userData === undefined ? undefined : await readUserData(options.userData);
  const imageId = await findImageId(ec2, word);
  const key = options.key ?? (await ensureDefaultKey(connection, ec2));
  const groups = options.group === undefined ? [await ensureDefaultGroup(ec2)] : await findGroups(ec2, options.group);
  const made = await ec2.send(
    new RunInstancesCommand({
      ImageId: imageId,
      MinCount: options.count,
      MaxCount: options.count,
      InstanceType: options.type as _InstanceType,
      KeyName: key,
      SecurityGroupIds: groups,
      ...(userData === undefined ? {} : { UserData: userData.toString("base64") }),
      ...(options.name === undefined
        ? {}
        : { TagSpecifications: [{ ResourceType: "instance", Tags: [{ Key: "Name", Value: options.name }] }] }),
    }),
  );
  const ids = (made.Instances ?? []).map(({ InstanceId = "" }) => InstanceId);
  const starting = output.progress(`Starting ${ids.length === 1 ? ids[0] : `${ids.length} instances`}`, "steps");
  const running = await waitForState(ec2, ids, "running", (reached) => starting.update(reached, ids.length)).catch(
    (error) => {
      starting.failed();
      throw error;
    },
  );
  starting.done();
  if (options.wait) {
    const booting = output.progress("Waiting for SSH", "steps");
    let answering = 0;
    const shown = setInterval(() => booting.update(answering, ids.length), 500);
    try {
      await Promise.all(running.map((each) => waitForSsh(each, SSH_LIMIT_MS).then(() => answering++)));
      booting.done();
    } catch (error) {
      booting.failed();
      throw error;
    } finally {
      clearInterval(shown);
    }
  }
  const lines = running.map((each) => `${each.InstanceId}  ${each.PublicIpAddress ?? each.PrivateIpAddress ?? ""}`);
  output.result({ Instances: running }, lines.join("\n"));
}

async function readUserData(path: string): Promise<Buffer> {
  const data = await readFile(path).catch((cause) => {
    throw new CliError(`--user-data ${path}`, { exitCode: EXIT.usage, cause });
  });
  if (data.length > MOST_USER_DATA_BYTES) {
    throw new CliError(`user data has at most 16 KiB, ${path} has ${data.length} bytes: let it fetch the rest`, {
      exitCode: EXIT.usage,
    });
  }
  return data;
}

async function ensureDefaultGroup(ec2: EC2Client): Promise<string> {
  const existing = await groupNamed(ec2, DEFAULT_GROUP);
  if (existing !== undefined) return existing;
  const { GroupId: id = "" } = await ec2.send(
    new CreateSecurityGroupCommand({
      GroupName: DEFAULT_GROUP,
      Description: "SSH from anywhere, made by ingot launch",
    }),
  );
  const ssh = { IpProtocol: "tcp", FromPort: 22, ToPort: 22, IpRanges: [{ CidrIp: "0.0.0.0/0" }] };
  await ec2.send(new AuthorizeSecurityGroupIngressCommand({ GroupId: id, IpPermissions: [ssh] })).catch((error) => {
    if (!isCode(error, "InvalidPermission.Duplicate")) throw error;
  });
  return id;
}

async function findGroups(ec2: EC2Client, words: readonly string[]): Promise<string[]> {
  const ids: string[] = [];
  for (const word of words) {
    const id = word.startsWith("sg-") ? word : await groupNamed(ec2, word);
    if (id === undefined)
      throw new CliError(`no security group is called ${word}: see aws ec2 describe-security-groups`);
    ids.push(id);
  }
  return ids;
}

async function groupNamed(ec2: EC2Client, name: string): Promise<string | undefined> {
  const Filters = [{ Name: "group-name", Values: [name] }];
  const { SecurityGroups = [] } = await ec2.send(new DescribeSecurityGroupsCommand({ Filters }));
  return SecurityGroups[0]?.GroupId;
}

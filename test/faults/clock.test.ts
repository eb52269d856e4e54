// The server's clock is set while it runs, forwards and backwards, and while it is off.
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { pathToFileURL } from "node:url";
import { CloudTrailClient, type Event, paginateLookupEvents } from "@aws-sdk/client-cloudtrail";
import {
  CreateKeyPairCommand,
  CreateVolumeCommand,
  DescribeKeyPairsCommand,
  DescribeVolumesCommand,
  EC2Client,
} from "@aws-sdk/client-ec2";
import { CreateRoleCommand, PutRolePolicyCommand } from "@aws-sdk/client-iam";
import { AssumeRoleCommand, STSClient } from "@aws-sdk/client-sts";
import { ingot } from "../support/ingot-command.ts";
import { type Keys, startPlatform } from "../support/platform.ts";

const HOUR_MS = 3_600_000;

test("a clock that jumps: wrong times are refused, right ones go on; nothing is lost, doubled or out of the audit's order", async (t) => {
  const directory = mkdtempSync(join(tmpdir(), "ingot-clock-"));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  const clock = join(directory, "offset");
  const set = (ms: number): void => writeFileSync(clock, String(ms));
  set(0);
  const shim = pathToFileURL(join(import.meta.dirname, "..", "support", "shifted-clock.ts")).href;
  const platform = await startPlatform(t, {
    environment: { INGOT_TEST_CLOCK: clock, NODE_OPTIONS: `--import=${shim}` },
  });
  const { credentials, region } = platform;
  /** A client whose clock is off by as much. */
  const clientAt = <C extends { destroy(): void }>(
    Client: new (config: {
      endpoint: string;
      region: string;
      credentials: Keys;
      maxAttempts: number;
      systemClockOffset: number;
    }) => C,
    systemClockOffset: number,
    keys: Keys = credentials,
  ): C => {
    const made = new Client({ endpoint: platform.url, region, credentials: keys, maxAttempts: 1, systemClockOffset });
    t.after(() => made.destroy());
    return made;
  };
  const acknowledged: string[] = [];
  const volumes: string[] = [];
  const work = async (ec2: EC2Client, name: string) => {
    await ec2.send(new CreateKeyPairCommand({ KeyName: name, KeyType: "ed25519" }));
    acknowledged.push(name);
    const ClientToken = `token-${name}`;
    const volume = { AvailabilityZone: "us-east-1a", Size: 1, ClientToken };
    const first = await ec2.send(new CreateVolumeCommand(volume));
    const again = await ec2.send(new CreateVolumeCommand(volume));
    assert.equal(again.VolumeId, first.VolumeId, "a token means one thing at any time");
    volumes.push(first.VolumeId ?? "");
  };

  await work(clientAt(EC2Client, 0), "now");
  const me = { AWS: `arn:aws:iam::${platform.accountId}:root` };
  const trust = { Version: "2012-10-17", Statement: { Effect: "Allow", Principal: me, Action: "sts:AssumeRole" } };
  await platform.iam.send(
    new CreateRoleCommand({ RoleName: "visitor", AssumeRolePolicyDocument: JSON.stringify(trust) }),
  );
  const all = { Version: "2012-10-17", Statement: { Effect: "Allow", Action: "ec2:*", Resource: "*" } };
  await platform.iam.send(
    new PutRolePolicyCommand({ RoleName: "visitor", PolicyName: "p", PolicyDocument: JSON.stringify(all) }),
  );
  const assumed = await clientAt(STSClient, 0).send(
    new AssumeRoleCommand({
      RoleArn: `arn:aws:iam::${platform.accountId}:role/visitor`,
      RoleSessionName: "session",
      DurationSeconds: 900,
    }),
  );
  const session: Keys = {
    accessKeyId: assumed.Credentials?.AccessKeyId ?? "",
    secretAccessKey: assumed.Credentials?.SecretAccessKey ?? "",
    sessionToken: assumed.Credentials?.SessionToken ?? "",
  };
  await clientAt(EC2Client, 0, session).send(new DescribeKeyPairsCommand({}));

  for (const hours of [48, -3, 0.5, -200]) {
    const offset = hours * HOUR_MS;
    set(offset);
    const wrong = clientAt(EC2Client, 0);
    await assert.rejects(wrong.send(new DescribeKeyPairsCommand({})), { name: "RequestExpired" });
    // An SDK reads the server's clock from that answer, and goes by it.
    await wrong.send(new DescribeKeyPairsCommand({}));
    await work(clientAt(EC2Client, offset), `at-${hours}`);
    if (hours > 1) {
      const expired = clientAt(EC2Client, offset, session).send(new DescribeKeyPairsCommand({}));
      await assert.rejects(expired, /expired/i);
    }
  }
  // Killed while the clock is behind its own past.
  await platform.kill9();
  await platform.startServer();
  await work(clientAt(EC2Client, -200 * HOUR_MS), "after a kill in the past");
  set(0);
  await work(clientAt(EC2Client, 0), "now again");

  const { KeyPairs = [] } = await platform.ec2.send(new DescribeKeyPairsCommand({}));
  assert.deepEqual(KeyPairs.map(({ KeyName }) => KeyName).sort(), acknowledged.sort());
  assert.equal(new Set(KeyPairs.map(({ KeyPairId }) => KeyPairId)).size, acknowledged.length);
  const { Volumes = [] } = await platform.ec2.send(new DescribeVolumesCommand({}));
  assert.deepEqual(Volumes.map(({ VolumeId }) => VolumeId).sort(), volumes.sort());

  // Small pages, so that their ends fall among the jumps; to the end of what the clock ever was.
  const cloudtrail = clientAt(CloudTrailClient, 0);
  const events: Event[] = [];
  const pages = paginateLookupEvents(
    { client: cloudtrail, pageSize: 3 },
    {
      LookupAttributes: [{ AttributeKey: "EventName", AttributeValue: "CreateKeyPair" }],
      EndTime: new Date(Date.now() + 100 * HOUR_MS),
    },
  );
  for await (const { Events = [] } of pages) events.push(...Events);
  assert.equal(new Set(events.map(({ EventId }) => EventId)).size, events.length, "no event comes twice");
  assert.deepEqual(
    events
      .flatMap(({ Resources = [] }) => Resources.map((each) => each.ResourceName))
      .filter((name) => acknowledged.includes(name ?? ""))
      .sort(),
    [...acknowledged].sort(),
  );
  const times = events.map(({ EventTime }) => EventTime?.getTime() ?? 0);
  assert.deepEqual(
    times,
    [...times].sort((a, b) => b - a),
    "newest first, by the times that they bear",
  );
  const verified = await ingot(["audit", "verify", "--data", platform.dataDirectory]);
  assert.equal(verified.code, 0, verified.stderr + verified.stdout);
});

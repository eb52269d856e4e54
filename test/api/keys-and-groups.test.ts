// Key pairs, security groups and the default network, through the official SDK.
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  AuthorizeSecurityGroupEgressCommand,
  AuthorizeSecurityGroupIngressCommand,
  CreateKeyPairCommand,
  CreateSecurityGroupCommand,
  DeleteKeyPairCommand,
  DeleteSecurityGroupCommand,
  DescribeAccountAttributesCommand,
  DescribeAvailabilityZonesCommand,
  DescribeInstanceTypesCommand,
  DescribeKeyPairsCommand,
  DescribeRegionsCommand,
  DescribeSecurityGroupRulesCommand,
  DescribeSecurityGroupsCommand,
  DescribeSubnetsCommand,
  DescribeVpcsCommand,
  EC2Client,
  ImportKeyPairCommand,
  RevokeSecurityGroupIngressCommand,
} from "@aws-sdk/client-ec2";
import { startPlatform } from "../support/platform.ts";

test("the default network is there from the first look, one per account and Region, and never the same", async (t) => {
  const platform = await startPlatform(t);
  const { ec2 } = platform;
  const { Vpcs: [vpc] = [] } = await ec2.send(new DescribeVpcsCommand({}));
  assert.equal(vpc?.CidrBlock, "172.31.0.0/16");
  assert.equal(vpc?.IsDefault, true);
  const { Subnets = [] } = await ec2.send(
    new DescribeSubnetsCommand({ Filters: [{ Name: "vpc-id", Values: [vpc?.VpcId ?? ""] }] }),
  );
  assert.deepEqual(
    Subnets.map((subnet) => [subnet.AvailabilityZone, subnet.CidrBlock, subnet.MapPublicIpOnLaunch]),
    [
      ["us-east-1a", "172.31.0.0/20", true],
      ["us-east-1b", "172.31.16.0/20", true],
      ["us-east-1c", "172.31.32.0/20", true],
    ],
  );
  const elsewhere = platform.client(EC2Client, platform.credentials, "eu-west-1");
  const other = await platform.createAccount();
  const stranger = platform.client(EC2Client, other.credentials);
  const cidrs: (string | undefined)[] = [vpc?.CidrBlock];
  for (const client of [elsewhere, stranger]) {
    const { Vpcs = [] } = await client.send(new DescribeVpcsCommand({}));
    assert.equal(Vpcs.length, 1);
    cidrs.push(Vpcs[0]?.CidrBlock);
  }
  assert.equal(new Set(cidrs).size, 3);
  await assert.rejects(stranger.send(new DescribeVpcsCommand({ VpcIds: [vpc?.VpcId ?? ""] })), {
    name: "InvalidVpcID.NotFound",
  });
  const { AccountAttributes = [] } = await ec2.send(
    new DescribeAccountAttributesCommand({ AttributeNames: ["default-vpc"] }),
  );
  assert.equal(AccountAttributes[0]?.AttributeValues?.[0]?.AttributeValue, vpc?.VpcId);
});

test("Regions, zones and instance types are listed, filtered, and refused by EC2's codes", async (t) => {
  const { ec2 } = await startPlatform(t);
  const { Regions = [] } = await ec2.send(new DescribeRegionsCommand({ RegionNames: ["eu-west-1"] }));
  assert.deepEqual(
    Regions.map((region) => region.RegionName),
    ["eu-west-1"],
  );
  await assert.rejects(ec2.send(new DescribeRegionsCommand({ RegionNames: ["mars-north-1"] })), {
    name: "InvalidParameterValue",
  });
  const { AvailabilityZones = [] } = await ec2.send(
    new DescribeAvailabilityZonesCommand({ Filters: [{ Name: "zone-name", Values: ["*b"] }] }),
  );
  assert.deepEqual(
    AvailabilityZones.map((zone) => [zone.ZoneName, zone.ZoneId]),
    [["us-east-1b", "use1-az2"]],
  );
  const { InstanceTypes: [type] = [] } = await ec2.send(
    new DescribeInstanceTypesCommand({ InstanceTypes: ["t3.small"] }),
  );
  assert.equal(type?.MemoryInfo?.SizeInMiB, 2048);
  assert.equal(type?.VCpuInfo?.DefaultVCpus, 2);
  await assert.rejects(ec2.send(new DescribeInstanceTypesCommand({ InstanceTypes: ["x9.huge" as "t3.small"] })), {
    name: "InvalidInstanceType",
  });
  const first = await ec2.send(new DescribeInstanceTypesCommand({ MaxResults: 5 }));
  assert.equal(first.InstanceTypes?.length, 5);
  const second = await ec2.send(new DescribeInstanceTypesCommand({ MaxResults: 5, NextToken: first.NextToken }));
  assert.notDeepEqual(second.InstanceTypes, first.InstanceTypes);
  await assert.rejects(ec2.send(new DescribeInstanceTypesCommand({ MaxResults: 5, NextToken: "x" })), {
    name: "InvalidParameterValue",
  });
  await assert.rejects(ec2.send(new DescribeRegionsCommand({ Filters: [{ Name: "no-such", Values: ["x"] }] })), {
    name: "InvalidParameterValue",
    message: "The filter 'no-such' is invalid",
  });
});

test("a key pair's private half is shown once; a name is taken once; a stranger does not see it", async (t) => {
  const platform = await startPlatform(t);
  const { ec2 } = platform;
  const made = await ec2.send(
    new CreateKeyPairCommand({
      KeyName: "mine",
      KeyType: "ed25519",
      TagSpecifications: [{ ResourceType: "key-pair", Tags: [{ Key: "team", Value: "images" }] }],
    }),
  );
  assert.match(made.KeyMaterial ?? "", /^-----BEGIN OPENSSH PRIVATE KEY-----/);
  await assert.rejects(ec2.send(new CreateKeyPairCommand({ KeyName: "mine" })), { name: "InvalidKeyPair.Duplicate" });
  const { KeyPairs: [shown] = [] } = await ec2.send(
    new DescribeKeyPairsCommand({ Filters: [{ Name: "tag:team", Values: ["images"] }], IncludePublicKey: true }),
  );
  assert.equal(shown?.KeyPairId, made.KeyPairId);
  assert.match(shown?.PublicKey ?? "", /^ssh-ed25519 /);
  assert.equal(JSON.stringify(shown).includes("PRIVATE"), false);

  const again = await ec2.send(
    new ImportKeyPairCommand({ KeyName: "imported", PublicKeyMaterial: Buffer.from(shown?.PublicKey ?? "") }),
  );
  assert.equal(again.KeyFingerprint, made.KeyFingerprint);
  await assert.rejects(
    ec2.send(new ImportKeyPairCommand({ KeyName: "bad", PublicKeyMaterial: Buffer.from("not a key") })),
    { name: "InvalidKey.Format" },
  );
  await assert.rejects(ec2.send(new DescribeKeyPairsCommand({ KeyNames: ["nobody's"] })), {
    name: "InvalidKeyPair.NotFound",
    message: "The key pair 'nobody's' does not exist",
  });
  const other = await platform.createAccount();
  const { KeyPairs } = await platform.client(EC2Client, other.credentials).send(new DescribeKeyPairsCommand({}));
  assert.deepEqual(KeyPairs, []);
  await ec2.send(new DeleteKeyPairCommand({ KeyName: "mine" }));
  await ec2.send(new DeleteKeyPairCommand({ KeyName: "mine" }));
  const left = await ec2.send(new DescribeKeyPairsCommand({}));
  assert.deepEqual(
    left.KeyPairs?.map((pair) => pair.KeyName),
    ["imported"],
  );
});

test("security groups: rules are added once, shown grouped, revoked by value or by id", async (t) => {
  const { ec2 } = await startPlatform(t);
  const { GroupId = "" } = await ec2.send(
    new CreateSecurityGroupCommand({ GroupName: "web", Description: "web servers" }),
  );
  await assert.rejects(ec2.send(new CreateSecurityGroupCommand({ GroupName: "web", Description: "again" })), {
    name: "InvalidGroup.Duplicate",
  });
  const permissions = [
    {
      IpProtocol: "tcp",
      FromPort: 80,
      ToPort: 80,
      IpRanges: [{ CidrIp: "10.0.0.0/8", Description: "inside" }, { CidrIp: "0.0.0.0/0" }],
      UserIdGroupPairs: [{ GroupId }],
    },
  ];
  const added = await ec2.send(new AuthorizeSecurityGroupIngressCommand({ GroupId, IpPermissions: permissions }));
  assert.equal(added.SecurityGroupRules?.length, 3);
  await assert.rejects(
    ec2.send(
      new AuthorizeSecurityGroupIngressCommand({
        GroupId,
        IpProtocol: "tcp",
        FromPort: 80,
        ToPort: 80,
        CidrIp: "0.0.0.0/0",
      }),
    ),
    { name: "InvalidPermission.Duplicate" },
  );
  const { SecurityGroups: [group] = [] } = await ec2.send(new DescribeSecurityGroupsCommand({ GroupIds: [GroupId] }));
  assert.equal(group?.IpPermissions?.length, 1);
  assert.deepEqual(group?.IpPermissions?.[0]?.IpRanges?.map((range) => range.CidrIp).sort(), [
    "0.0.0.0/0",
    "10.0.0.0/8",
  ]);
  assert.equal(group?.IpPermissionsEgress?.[0]?.IpProtocol, "-1");
  const byFilter = await ec2.send(
    new DescribeSecurityGroupsCommand({ Filters: [{ Name: "ip-permission.to-port", Values: ["80"] }] }),
  );
  assert.deepEqual(
    byFilter.SecurityGroups?.map((found) => found.GroupName),
    ["web"],
  );

  await ec2.send(
    new RevokeSecurityGroupIngressCommand({
      GroupId,
      SecurityGroupRuleIds: [added.SecurityGroupRules?.[0]?.SecurityGroupRuleId ?? ""],
    }),
  );
  await assert.rejects(
    ec2.send(
      new RevokeSecurityGroupIngressCommand({
        GroupId,
        IpPermissions: [{ IpProtocol: "udp", FromPort: 1, ToPort: 1, IpRanges: [{ CidrIp: "0.0.0.0/0" }] }],
      }),
    ),
    { name: "InvalidPermission.NotFound" },
  );
  const rules = await ec2.send(
    new DescribeSecurityGroupRulesCommand({ Filters: [{ Name: "group-id", Values: [GroupId] }] }),
  );
  assert.equal(rules.SecurityGroupRules?.filter((rule) => !rule.IsEgress).length, 2);
});

test("security groups: malformed rules, groups in use and reserved names are refused by EC2's codes", async (t) => {
  const { ec2 } = await startPlatform(t);
  const { GroupId = "" } = await ec2.send(new CreateSecurityGroupCommand({ GroupName: "a", Description: "d" }));
  const other = await ec2.send(new CreateSecurityGroupCommand({ GroupName: "b", Description: "d" }));
  const add = (permission: object) =>
    ec2.send(new AuthorizeSecurityGroupIngressCommand({ GroupId, IpPermissions: [permission] }));
  for (const [permission, name] of [
    [
      { IpProtocol: "tcp", FromPort: 70000, ToPort: 70001, IpRanges: [{ CidrIp: "0.0.0.0/0" }] },
      "InvalidParameterValue",
    ],
    [{ IpProtocol: "tcp", FromPort: 1, ToPort: 2, IpRanges: [{ CidrIp: "300.0.0.0/8" }] }, "InvalidParameterValue"],
    [{ IpProtocol: "quic", IpRanges: [{ CidrIp: "0.0.0.0/0" }] }, "InvalidPermission.Malformed"],
    [
      { IpProtocol: "tcp", FromPort: 1, ToPort: 2, UserIdGroupPairs: [{ GroupId: "sg-0123456789abcdef0" }] },
      "InvalidGroup.NotFound",
    ],
  ] as const) {
    await assert.rejects(add(permission), { name }, JSON.stringify(permission));
  }
  await ec2.send(
    new AuthorizeSecurityGroupEgressCommand({
      GroupId: other.GroupId,
      IpPermissions: [{ IpProtocol: "tcp", FromPort: 5432, ToPort: 5432, UserIdGroupPairs: [{ GroupId }] }],
    }),
  );
  await assert.rejects(ec2.send(new DeleteSecurityGroupCommand({ GroupId })), { name: "DependencyViolation" });
  await ec2.send(new DeleteSecurityGroupCommand({ GroupId: other.GroupId }));
  await ec2.send(new DeleteSecurityGroupCommand({ GroupId }));
  await assert.rejects(ec2.send(new DeleteSecurityGroupCommand({ GroupId })), { name: "InvalidGroup.NotFound" });
  await assert.rejects(ec2.send(new DeleteSecurityGroupCommand({ GroupName: "default" })), { name: "CannotDelete" });
  await assert.rejects(ec2.send(new CreateSecurityGroupCommand({ GroupName: "default", Description: "d" })), {
    name: "InvalidGroup.Reserved",
  });
});

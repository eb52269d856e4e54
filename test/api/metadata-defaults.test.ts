// Whether instances must speak version 2 of the metadata service: the launch's own word, the account's defaults, the
// image's, and the account's last word over all of them.
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  DescribeInstancesCommand,
  EC2Client,
  GetInstanceMetadataDefaultsCommand,
  ModifyInstanceMetadataDefaultsCommand,
  ModifyInstanceMetadataOptionsCommand,
  RegisterImageCommand,
  RunInstancesCommand,
  type RunInstancesCommandInput,
} from "@aws-sdk/client-ec2";
import { CreateAccessKeyCommand, CreateUserCommand, PutUserPolicyCommand } from "@aws-sdk/client-iam";
import { startPlatform } from "../support/platform.ts";
import { smallSnapshot } from "../support/small-snapshot.ts";

test("defaults of the account count for launches that say nothing; enforced tokens for all", async (t) => {
  const platform = await startPlatform(t);
  const { ec2, iam } = platform;
  const Ebs = { SnapshotId: await smallSnapshot(platform) };
  const register = async (Name: string, more: object = {}) => {
    const BlockDeviceMappings = [{ DeviceName: "/dev/xvda", Ebs }];
    const base = { Name, RootDeviceName: "/dev/xvda", VirtualizationType: "hvm", Architecture: "x86_64" as const };
    return (await ec2.send(new RegisterImageCommand({ ...base, BlockDeviceMappings, ...more }))).ImageId ?? "";
  };
  const plain = await register("plain");
  const v2 = await register("version-2", { ImdsSupport: "v2.0" });
  const one = { InstanceType: "t3.nano" as const, MinCount: 1, MaxCount: 1 };
  const launch = (more: Partial<RunInstancesCommandInput>) =>
    new RunInstancesCommand({ ImageId: plain, ...one, ...more });
  const defaults = (input: object) => ec2.send(new ModifyInstanceMetadataDefaultsCommand(input));

  // What the launch would be is what policies judge: seen here without a launch.
  await iam.send(new CreateUserCommand({ UserName: "bob" }));
  const { AccessKey: key } = await iam.send(new CreateAccessKeyCommand({ UserName: "bob" }));
  const bob = platform.client(EC2Client, {
    accessKeyId: key?.AccessKeyId ?? "",
    secretAccessKey: key?.SecretAccessKey ?? "",
  });
  const statements = [
    { Effect: "Allow", Action: "ec2:*", Resource: "*" },
    {
      Effect: "Deny",
      Action: "ec2:RunInstances",
      Resource: "arn:aws:ec2:*:*:instance/*",
      Condition: { StringNotEquals: { "ec2:MetadataHttpTokens": "required" } },
    },
  ];
  const PolicyDocument = JSON.stringify({ Version: "2012-10-17", Statement: statements });
  await iam.send(new PutUserPolicyCommand({ UserName: "bob", PolicyName: "v2", PolicyDocument }));
  const said = (more: Partial<RunInstancesCommandInput>, client = bob): Promise<string> =>
    client.send(launch({ ...more, DryRun: true })).then(
      () => "no error",
      (error: Error) => error.name,
    );
  assert.equal(await said({}), "UnauthorizedOperation");
  assert.equal(await said({ ImageId: v2 }), "DryRunOperation");
  assert.equal(await said({ MetadataOptions: { HttpTokens: "required" } }), "DryRunOperation");

  await defaults({ HttpTokens: "required", HttpPutResponseHopLimit: 3 });
  assert.equal(await said({}), "DryRunOperation");
  assert.equal(await said({ MetadataOptions: { HttpTokens: "optional" } }), "UnauthorizedOperation");
  const { Instances: [made] = [] } = await ec2.send(launch({}));
  const id = made?.InstanceId ?? "";
  const { HttpTokens, HttpPutResponseHopLimit, HttpEndpoint } = made?.MetadataOptions ?? {};
  assert.deepEqual([HttpTokens, HttpPutResponseHopLimit, HttpEndpoint], ["required", 3, "enabled"]);

  // The account's last word.
  const optional = { MetadataOptions: { HttpTokens: "optional" as const } };
  assert.equal(await said(optional, ec2), "DryRunOperation");
  await defaults({ HttpTokensEnforced: "enabled" });
  const { AccountLevel } = await ec2.send(new GetInstanceMetadataDefaultsCommand({}));
  assert.deepEqual(
    [AccountLevel?.HttpTokensEnforced, AccountLevel?.HttpTokens, AccountLevel?.HttpPutResponseHopLimit],
    ["enabled", "required", 3],
  );
  assert.equal(await said(optional, ec2), "UnsupportedOperation");
  assert.equal(await said({}, ec2), "DryRunOperation");
  await assert.rejects(ec2.send(new ModifyInstanceMetadataOptionsCommand({ InstanceId: id, HttpTokens: "optional" })), {
    name: "UnsupportedOperation",
    message: /You can't set httpTokens to 'optional'/,
  });
  await defaults({ HttpTokens: "no-preference" });
  assert.equal(await said({}, ec2), "UnsupportedOperation");
  const elsewhere = platform.client(EC2Client, platform.credentials, "eu-west-1");
  assert.equal(
    (await elsewhere.send(new GetInstanceMetadataDefaultsCommand({}))).AccountLevel?.HttpTokensEnforced,
    undefined,
  );

  await defaults({ HttpTokensEnforced: "no-preference", HttpPutResponseHopLimit: -1 });
  assert.equal(await said(optional, ec2), "DryRunOperation");
  await ec2.send(new ModifyInstanceMetadataOptionsCommand({ InstanceId: id, HttpTokens: "optional" }));
  const { Reservations: [found] = [] } = await ec2.send(new DescribeInstancesCommand({ InstanceIds: [id] }));
  assert.equal(found?.Instances?.[0]?.MetadataOptions?.HttpTokens, "optional");
  await assert.rejects(defaults({ HttpTokensEnforced: "perhaps" }), { name: "InvalidParameterValue" });
});

// What a launch and a capture refuse, in EC2's words, and that a refusal leaves nothing behind.
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  CreateImageCommand,
  CreateKeyPairCommand,
  DescribeInstancesCommand,
  DescribeVolumesCommand,
  EC2Client,
  RunInstancesCommand,
  type RunInstancesCommandInput,
} from "@aws-sdk/client-ec2";
import { registerImage, userWith } from "../support/catalogue.ts";
import { startPlatform } from "../support/platform.ts";
import { send, signedHeaders } from "../support/sign.ts";

test("RunInstances and CreateImage: unknown, malformed, of a wrong type, not permitted, taken", async (t) => {
  const platform = await startPlatform(t);
  const { ec2 } = platform;
  const image = await registerImage(platform, "taken");
  const launch = (more: Partial<RunInstancesCommandInput>, client: EC2Client = ec2) =>
    client.send(
      new RunInstancesCommand({ ImageId: image, InstanceType: "t3.nano", MinCount: 1, MaxCount: 1, ...more }),
    );
  const nobody = "ami-0123456789abcdef0";
  await assert.rejects(launch({ ImageId: nobody }), {
    name: "InvalidAMIID.NotFound",
    message: `The image id '[${nobody}]' does not exist`,
  });
  await assert.rejects(launch({ ImageId: "ubuntu" }), { name: "InvalidAMIID.Malformed" });
  await assert.rejects(launch({ InstanceType: "t3.enormous" as "t3.nano" }), { name: "InvalidParameterValue" });
  await assert.rejects(launch({ KeyName: "nobody's" }), { name: "InvalidKeyPair.NotFound" });
  await assert.rejects(launch({ SecurityGroupIds: ["sg-0123456789abcdef0"] }), { name: "InvalidGroup.NotFound" });
  await assert.rejects(launch({ MinCount: 3, MaxCount: 1 }), { name: "InvalidParameterValue" });
  await assert.rejects(launch({ DryRun: true }), { name: "DryRunOperation" });

  // A wrong type is what no SDK sends.
  const raw = async (words: string) => {
    const call = {
      method: "POST",
      path: "/",
      headers: { "content-type": "application/x-www-form-urlencoded" },
      body: `Action=RunInstances&Version=2016-11-15&ImageId=${image}&${words}`,
    };
    return send(platform, call, await signedHeaders(platform, "ec2", call, platform.credentials));
  };
  for (const words of ["MinCount=one&MaxCount=1", "MinCount=1&MaxCount=1&DisableApiTermination=perhaps"]) {
    const answer = await raw(words);
    assert.equal(answer.status, 400, answer.text);
    assert.match(answer.code ?? "", /^(InvalidParameterValue|MalformedQueryString|ValidationError)$/, words);
  }
  assert.equal((await raw("MaxCount=1")).code, "MissingParameter");

  const looker = await userWith(platform, "looker", [{ Effect: "Allow", Action: "ec2:Describe*", Resource: "*" }]);
  const theirs = platform.client(EC2Client, looker);
  await assert.rejects(launch({}, theirs), { name: "UnauthorizedOperation" });
  // Who may not launch does not learn what there is to launch.
  await assert.rejects(launch({ ImageId: nobody }, theirs), { name: "UnauthorizedOperation" });
  await assert.rejects(launch({ DryRun: true }, theirs), { name: "UnauthorizedOperation" });

  await assert.rejects(registerImage(platform, "taken"), { name: "InvalidAMIName.Duplicate" });
  await ec2.send(new CreateKeyPairCommand({ KeyName: "taken" }));
  await assert.rejects(ec2.send(new CreateKeyPairCommand({ KeyName: "taken" })), { name: "InvalidKeyPair.Duplicate" });
  await assert.rejects(ec2.send(new CreateImageCommand({ InstanceId: "i-0123456789abcdef0", Name: "elsewhere" })), {
    name: "InvalidInstanceID.NotFound",
  });

  const { Reservations = [] } = await ec2.send(new DescribeInstancesCommand({}));
  const { Volumes = [] } = await ec2.send(new DescribeVolumesCommand({}));
  assert.deepEqual([Reservations, Volumes], [[], []]);
});

// The AWS CLI and boto3 in a guest, as Debian packages them: nothing is configured there but where the API is, and they do
// exactly what the instance's role may.
// Bakes its image (minutes, and a mirror), so it runs where its programs are and when it is asked for.
import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { LookupEventsCommand } from "@aws-sdk/client-cloudtrail";
import { DescribeImagesCommand } from "@aws-sdk/client-ec2";
import {
  AddRoleToInstanceProfileCommand,
  CreateInstanceProfileCommand,
  CreateRoleCommand,
  PutRolePolicyCommand,
} from "@aws-sdk/client-iam";
import { PutParameterCommand } from "@aws-sdk/client-ssm";
import { clientEnvironment, findProgram, scratchDirectory, succeed } from "../support/client-programs.ts";
import { launched } from "../support/launched.ts";
import { startPlatform } from "../support/platform.ts";

const REPOSITORY = join(import.meta.dirname, "..", "..");
/** Where every guest finds the API. */
const API = "http://169.254.169.254:8773";

const SCRIPT = `import boto3, botocore.exceptions
def client(service):
    return boto3.client(service, endpoint_url="${API}", region_name="us-east-1")
def code(call, **arguments):
    try:
        call(**arguments)
        return "done"
    except botocore.exceptions.ClientError as error:
        return error.response["Error"]["Code"]
print(client("sts").get_caller_identity()["Arn"])
print([image["Name"] for image in client("ec2").describe_images(Owners=["self"])["Images"]])
print(code(client("ec2").describe_instances))
print(client("ssm").get_parameter(Name="/app/greeting")["Parameter"]["Value"])
print(code(client("ssm").get_parameter, Name="/other"))
print(code(client("iam").list_users))
`;

test("in a guest with a role the AWS CLI and boto3 do what the role may, and nothing else", async (t) => {
  if (findProgram("mmdebstrap") === undefined) return t.skip("mmdebstrap is not installed");
  const platform = await startPlatform(t);
  const { ec2, iam, ssm } = platform;
  const directory = scratchDirectory(t, "in-guest");
  const ingot = ["--disable-warning=ExperimentalWarning", join(REPOSITORY, "src/cli/main.ts"), "bake", "debian-12"];
  const argv = [...ingot, "--data", platform.dataDirectory, "--name", "tools", "--packages", "awscli", "python3-boto3"];
  await succeed(t, process.execPath, argv, { cwd: directory, env: clientEnvironment(platform, directory) });
  const { Images: [debian] = [] } = await ec2.send(new DescribeImagesCommand({ Owners: ["self"] }));
  assert.equal(debian?.State, "available");

  for (const [Name, Value] of [
    ["/app/greeting", "hello"],
    ["/other", "secret"],
  ]) {
    await ssm.send(new PutParameterCommand({ Name, Value, Type: "String" }));
  }
  const trust = { Effect: "Allow", Action: "sts:AssumeRole", Principal: { Service: "ec2.amazonaws.com" } };
  const document = (...Statement: object[]) => JSON.stringify({ Version: "2012-10-17", Statement });
  await iam.send(new CreateRoleCommand({ RoleName: "guest", AssumeRolePolicyDocument: document(trust) }));
  const mayDo = (...statements: object[]) =>
    iam.send(
      new PutRolePolicyCommand({ RoleName: "guest", PolicyName: "may", PolicyDocument: document(...statements) }),
    );
  const images = { Effect: "Allow", Action: "ec2:DescribeImages", Resource: "*" };
  const parameters = {
    Effect: "Allow",
    Action: "ssm:GetParameter",
    Resource: `arn:aws:ssm:us-east-1:${platform.accountId}:parameter/app/*`,
  };
  await mayDo(images, parameters);
  await iam.send(new CreateInstanceProfileCommand({ InstanceProfileName: "guest" }));
  await iam.send(new AddRoleToInstanceProfileCommand({ InstanceProfileName: "guest", RoleName: "guest" }));

  const machine = await launched(
    t,
    platform,
    {
      ImageId: debian.ImageId ?? "",
      InstanceType: "t3.small",
      IamInstanceProfile: { Name: "guest" },
      MetadataOptions: { HttpTokens: "required" },
    },
    "admin",
  );
  const { InstanceId = "", PrivateIpAddress = "" } = machine.instance;
  const arn = `arn:aws:sts::${platform.accountId}:assumed-role/guest/${InstanceId}`;
  /** Debian 12's CLI does not read AWS_ENDPOINT_URL yet. What it says last, be it an answer or a refusal. */
  const aws = (words: string) => machine.run(`aws --endpoint-url ${API} --output text ${words} 2>&1 || true`);

  await t.test("nothing is configured", async () => {
    assert.equal(await machine.run("env | grep -c ^AWS_ || true"), "0");
    assert.equal(await machine.run("ls -d ~/.aws 2>/dev/null || true"), "");
    t.diagnostic(await machine.run("aws --version; python3 -c 'import boto3; print(\"boto3\", boto3.__version__)'"));
  });

  await t.test("the AWS CLI", async () => {
    assert.equal(await aws("sts get-caller-identity --query Arn"), arn);
    assert.equal(await aws("ec2 describe-images --owners self --query 'Images[].Name'"), "tools");
    assert.match(await aws("ec2 describe-instances"), /\(UnauthorizedOperation\).*ec2:DescribeInstances/);
    assert.equal(await aws("ssm get-parameter --name /app/greeting --query Parameter.Value"), "hello");
    assert.match(await aws("ssm get-parameter --name /other"), /\(AccessDeniedException\)/);
    assert.match(await aws("iam list-users"), /\(AccessDenied\)/);
  });

  await t.test("boto3", async () => {
    const file = Buffer.from(SCRIPT).toString("base64");
    const said = await machine.run(`echo ${file} | base64 -d > role.py && python3 -W ignore role.py`);
    assert.deepEqual(said.split("\n"), [
      arn,
      "['tools']",
      "UnauthorizedOperation",
      "hello",
      "AccessDeniedException",
      "AccessDenied",
    ]);
  });

  await t.test("what the role no longer may is refused at the next call", async () => {
    await mayDo(images);
    assert.match(await aws("ssm get-parameter --name /app/greeting"), /\(AccessDeniedException\)/);
    assert.equal(await aws("ec2 describe-images --owners self --query 'Images[].Name'"), "tools");
  });

  await t.test("the audit knows the guest by its address", async () => {
    const by = [{ AttributeKey: "EventName" as const, AttributeValue: "GetCallerIdentity" }];
    const { Events = [] } = await platform.cloudtrail.send(new LookupEventsCommand({ LookupAttributes: by }));
    const sources = Events.map(({ CloudTrailEvent = "{}" }) => JSON.parse(CloudTrailEvent))
      .filter(({ userIdentity }) => userIdentity.arn === arn)
      .map(({ sourceIPAddress }) => sourceIPAddress);
    assert.deepEqual(sources, [PrivateIpAddress, PrivateIpAddress]);
  });
  await machine.terminate();
});

import assert from "node:assert/strict";
import { test } from "node:test";
import * as ebs from "@aws-sdk/client-ebs";
import * as ec2 from "@aws-sdk/client-ec2";
import * as iam from "@aws-sdk/client-iam";
import * as ssm from "@aws-sdk/client-ssm";
import * as sts from "@aws-sdk/client-sts";
import { NormalizedSchema } from "@smithy/core/schema";
import type { StaticOperationSchema } from "@smithy/types";
import { kindOf, membersOf, operationOf } from "../protocol/schema.ts";
import { requestParameters, responseElements } from "./shapes.ts";

const request = (schema: StaticOperationSchema, input: object, service = "ec2") =>
  requestParameters(service, operationOf(schema), input);
const response = (schema: StaticOperationSchema, output: object | undefined, service = "ec2") =>
  responseElements(service, operationOf(schema), output, "req-1");

test("ModifyImageAttribute: the shape that detection rules look for, whichever way the API was called", () => {
  const shared = {
    imageId: "ami-1",
    attributeType: "launchPermission",
    launchPermission: { add: { items: [{ group: "all" }, { userId: "012345678901" }] } },
  };
  assert.deepEqual(
    request(ec2.ModifyImageAttribute$, {
      ImageId: "ami-1",
      LaunchPermission: { Add: [{ Group: "all" }, { UserId: "012345678901" }] },
    }),
    shared,
  );
  assert.deepEqual(
    request(ec2.ModifyImageAttribute$, {
      ImageId: "ami-1",
      Attribute: "launchPermission",
      OperationType: "remove",
      UserIds: ["012345678901"],
    }),
    { ...shared, launchPermission: { remove: { items: [{ userId: "012345678901" }] } } },
  );
  assert.deepEqual(request(ec2.ModifyImageAttribute$, { ImageId: "ami-1", Description: { Value: "web" } }), {
    imageId: "ami-1",
    attributeType: "description",
    description: "web",
  });
  assert.deepEqual(response(ec2.ModifyImageAttribute$, undefined), { requestId: "req-1", _return: true });
});

test("ModifySnapshotAttribute: as in recorded exfiltrations", () => {
  assert.deepEqual(
    request(ec2.ModifySnapshotAttribute$, {
      SnapshotId: "snap-1",
      Attribute: "createVolumePermission",
      OperationType: "add",
      UserIds: ["012345678912"],
    }),
    {
      snapshotId: "snap-1",
      attributeType: "CREATE_VOLUME_PERMISSION",
      createVolumePermission: { add: { items: [{ userId: "012345678912" }] } },
    },
  );
});

test("RunInstances: image and counts in instancesSet, user data removed, lists as sets", () => {
  assert.deepEqual(
    request(ec2.RunInstances$, {
      ImageId: "ami-1",
      MinCount: 1,
      MaxCount: 2,
      KeyName: "k",
      InstanceType: "t3.micro",
      UserData: "c2VjcmV0",
      SecurityGroupIds: ["sg-1"],
      Placement: { AvailabilityZone: "us-east-1a" },
      TagSpecifications: [{ ResourceType: "instance", Tags: [{ Key: "a", Value: "b" }] }],
      BlockDeviceMappings: [{ DeviceName: "/dev/sdf", Ebs: { VolumeSize: 8, DeleteOnTermination: true } }],
      IamInstanceProfile: { Name: "p" },
      ClientToken: "t",
      DryRun: true,
    }),
    {
      instancesSet: { items: [{ imageId: "ami-1", minCount: 1, maxCount: 2, keyName: "k" }] },
      instanceType: "t3.micro",
      userData: "<sensitiveDataRemoved>",
      groupSet: { items: [{ groupId: "sg-1" }] },
      availabilityZone: "us-east-1a",
      tagSpecificationSet: { items: [{ resourceType: "instance", tags: [{ key: "a", value: "b" }] }] },
      blockDeviceMapping: { items: [{ deviceName: "/dev/sdf", ebs: { volumeSize: 8, deleteOnTermination: true } }] },
      monitoring: { enabled: false },
      disableApiTermination: false,
      disableApiStop: false,
      iamInstanceProfile: { name: "p" },
      clientToken: "t",
    },
  );
  assert.deepEqual(
    response(ec2.RunInstances$, {
      ReservationId: "r-1",
      OwnerId: "111122223333",
      Groups: [],
      Instances: [
        {
          InstanceId: "i-1",
          State: { Code: 0, Name: "pending" },
          LaunchTime: new Date("2026-11-24T08:00:00Z"),
          Tags: [{ Key: "a", Value: "b" }],
        },
      ],
    }),
    {
      requestId: "req-1",
      reservationId: "r-1",
      ownerId: "111122223333",
      groupSet: {},
      instancesSet: {
        items: [
          {
            instanceId: "i-1",
            instanceState: { code: 0, name: "pending" },
            launchTime: Date.parse("2026-11-24T08:00:00Z"),
            tagSet: { items: [{ key: "a", value: "b" }] },
          },
        ],
      },
    },
  );
});

test("Describe calls show the lists that were not asked for as empty sets", () => {
  assert.deepEqual(
    request(ec2.DescribeInstances$, { InstanceIds: ["i-1"], Filters: [{ Name: "n", Values: ["v", "w"] }] }),
    {
      instancesSet: { items: [{ instanceId: "i-1" }] },
      filterSet: { items: [{ name: "n", valueSet: { items: [{ value: "v" }, { value: "w" }] } }] },
    },
  );
  assert.deepEqual(request(ec2.DescribeImages$, { Owners: ["self"], IncludeDeprecated: true }), {
    executableBySet: {},
    imagesSet: {},
    ownersSet: { items: [{ owner: "self" }] },
    filterSet: {},
    includeDeprecated: true,
  });
});

test("Stop, Deregister, security group rules, volumes, key pairs: each in its own way", () => {
  assert.deepEqual(request(ec2.StopInstances$, { InstanceIds: ["i-1"] }), {
    instancesSet: { items: [{ instanceId: "i-1" }] },
    force: false,
  });
  assert.deepEqual(request(ec2.DeregisterImage$, { ImageId: "ami-1" }), {
    imageId: "ami-1",
    deleteAssociatedSnapshots: false,
  });
  assert.deepEqual(
    request(ec2.AuthorizeSecurityGroupIngress$, {
      GroupId: "sg-1",
      IpPermissions: [{ IpProtocol: "tcp", FromPort: 22, ToPort: 22, IpRanges: [{ CidrIp: "0.0.0.0/0" }] }],
    }),
    {
      groupId: "sg-1",
      ipPermissions: {
        items: [
          {
            groups: {},
            ipRanges: { items: [{ cidrIp: "0.0.0.0/0" }] },
            ipv6Ranges: {},
            prefixListIds: {},
            ipProtocol: "tcp",
            fromPort: 22,
            toPort: 22,
          },
        ],
      },
    },
  );
  assert.deepEqual(request(ec2.CreateVolume$, { AvailabilityZone: "us-east-1a", Size: 8 }), {
    size: "8",
    zone: "us-east-1a",
  });
  assert.deepEqual(request(ec2.ImportKeyPair$, { KeyName: "k", PublicKeyMaterial: Buffer.from("ssh-rsa AAAA") }), {
    keyName: "k",
    publicKeyMaterial: Buffer.from("ssh-rsa AAAA").toString("base64"),
  });
  assert.deepEqual(response(ec2.CreateKeyPair$, { KeyName: "k", KeyMaterial: "-----BEGIN" }), {
    requestId: "req-1",
    keyName: "k",
    keyMaterial: "<sensitiveDataRemoved>",
  });
});

test("later EC2 actions are wrapped, XML turned into JSON", () => {
  assert.deepEqual(request(ec2.DescribeInstanceTypes$, { InstanceTypes: ["t3.micro"] }), {
    DescribeInstanceTypesRequest: { InstanceType: { tag: 1, content: "t3.micro" } },
  });
  assert.deepEqual(request(ec2.EnableSerialConsoleAccess$, {}), { EnableSerialConsoleAccessRequest: "" });
  assert.deepEqual(
    request(ec2.EnableImageDeprecation$, { ImageId: "ami-1", DeprecateAt: new Date("2027-01-01T00:00:00Z") }),
    { EnableImageDeprecationRequest: { ImageId: "ami-1", DeprecateAt: "2027-01-01T00:00:00.000Z" } },
  );
  assert.deepEqual(response(ec2.EnableImageDeprecation$, { Return: true }), {
    EnableImageDeprecationResponse: {
      xmlns: "http://ec2.amazonaws.com/doc/2016-11-15/",
      requestId: "req-1",
      _return: true,
    },
  });
});

test("other services: small first letters, Java's dates, no secrets", () => {
  assert.deepEqual(request(ssm.PutParameter$, { Name: "/a", Value: "ami-1", Type: "String", Overwrite: true }, "ssm"), {
    name: "/a",
    value: "HIDDEN_DUE_TO_SECURITY_REASONS",
    type: "String",
    overwrite: true,
  });
  assert.deepEqual(
    response(
      sts.AssumeRole$,
      {
        Credentials: {
          AccessKeyId: "ASIA1",
          SecretAccessKey: "secret",
          SessionToken: "token",
          Expiration: new Date("2026-11-24T13:05:09Z"),
        },
        AssumedRoleUser: { AssumedRoleId: "AROA:s", Arn: "arn:aws:sts::111122223333:assumed-role/r/s" },
      },
      "sts",
    ),
    {
      credentials: { accessKeyId: "ASIA1", expiration: "Nov 24, 2026, 1:05:09 PM" },
      assumedRoleUser: { assumedRoleId: "AROA:s", arn: "arn:aws:sts::111122223333:assumed-role/r/s" },
    },
  );
  assert.equal(request(sts.GetCallerIdentity$, {}, "sts"), null);
});

test("what is larger than 100 KB is left out, and the record says so", () => {
  const tags = Array.from({ length: 3000 }, (_, i) => ({ Key: `k${i}`, Value: "v".repeat(40) }));
  const shaped = request(ec2.CreateTags$, { Resources: ["ami-1"], Tags: tags });
  assert.equal((shaped as { omitted?: boolean }).omitted, true);
});

// Every operation of every service, its input and output filled with one marker in each member that holds a secret.
const SECRET_NAME =
  /password|secret|privatekey|keymaterial|userdata|sessiontoken|blocktoken|webidentitytoken|samlassertion/i;
const MARKER = "MARKER-THAT-MUST-NOT-APPEAR";

function fill(schema: NormalizedSchema, secret: boolean, depth: number): unknown {
  if (schema.isUnitSchema() || depth > 5) return undefined;
  const hidden = secret || schema.getMergedTraits().sensitive === 1;
  switch (kindOf(schema)) {
    case "struct":
      return Object.fromEntries(
        membersOf(schema)
          .map((member) => [member.name, fill(member.schema, hidden || isName(member.name, member.schema), depth + 1)])
          .filter((entry) => entry[1] !== undefined),
      );
    case "list":
      return [fill(schema.getValueSchema(), hidden, depth + 1)].filter((item) => item !== undefined);
    case "map":
      return { key: fill(schema.getValueSchema(), hidden, depth + 1) };
    case "blob":
      return Buffer.from(MARKER);
    case "timestamp":
      return new Date(0);
    case "number":
      return 1;
    case "boolean":
      return true;
    case "string":
      return hidden ? MARKER : "text";
  }
}
/** Flags, ids and subjects are named after secrets and are none. */
const isName = (name: string, schema: NormalizedSchema): boolean =>
  SECRET_NAME.test(name) &&
  schema.isStringSchema() &&
  !/(id|arn|ids|name)$|^RemovePrivateKey$|^SubjectFrom/i.test(name);

for (const [service, client] of Object.entries({ ec2, iam, sts, ssm, ebs })) {
  test(`${service}: no operation's record can hold a secret`, () => {
    let operations = 0;
    for (const schema of Object.values(client)) {
      if (!Array.isArray(schema) || schema[0] !== 9) continue;
      const operation = operationOf(schema as unknown as StaticOperationSchema);
      if (operation.name === "ImportKeyPair") continue; // A public key is shown, as CloudTrail shows it.
      const input = fill(NormalizedSchema.of(operation.input), false, 0) ?? {};
      const output = fill(NormalizedSchema.of(operation.output), false, 0) ?? {};
      const text = JSON.stringify([
        requestParameters(service, operation, input as object),
        responseElements(service, operation, output as object, "req-1"),
      ]);
      assert.ok(
        !text.includes(MARKER),
        `${operation.name}: ${text.slice(text.indexOf(MARKER) - 60, text.indexOf(MARKER) + 30)}`,
      );
      assert.ok(!text.includes(Buffer.from(MARKER).toString("base64")), operation.name);
      operations++;
    }
    assert.ok(operations > 5);
  });
}

// What clients really send, and what they should not: how requests are read, and the words in which they are refused.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, test } from "node:test";
import { LookupEvents$ } from "@aws-sdk/client-cloudtrail";
import { GetSnapshotBlock$, ListSnapshotBlocks$, PutSnapshotBlock$, StartSnapshot$ } from "@aws-sdk/client-ebs";
import * as ec2 from "@aws-sdk/client-ec2";
import { CreateUser$, ListUsers$ } from "@aws-sdk/client-iam";
import { GetParameters$, PutParameter$ } from "@aws-sdk/client-ssm";
import { AssumeRole$ } from "@aws-sdk/client-sts";
import type { StaticOperationSchema } from "@smithy/types";
import { ApiError } from "../base/api-error.ts";
import { codecFor } from "./codec.ts";
import { operationOf } from "./schema.ts";
import type { ServiceName, WireRequest } from "./wire.ts";

const form = (body: string): WireRequest => ({
  method: "POST",
  path: "/",
  query: "",
  headers: {},
  body: Buffer.from(body),
});
const get = (query: string): WireRequest => ({ method: "GET", path: "/", query, headers: {}, body: Buffer.alloc(0) });
const json = (body: string): WireRequest => form(body);

const decode = (service: ServiceName, schema: StaticOperationSchema, request: WireRequest): unknown =>
  codecFor(service).decode(operationOf<unknown, unknown>(schema), request);

function refusal(service: ServiceName, schema: StaticOperationSchema, request: WireRequest): string {
  try {
    decode(service, schema, request);
  } catch (error) {
    if (error instanceof ApiError) return `${error.code}: ${error.message}`;
    throw error;
  }
  return "accepted";
}

describe("aws-cli v1's requests", () => {
  const file = new URL("../../test/golden/aws-cli-requests.json", import.meta.url);
  const golden: readonly (Omit<WireRequest, "body"> & { name: string; body: string })[] = JSON.parse(
    readFileSync(file, "utf8"),
  );
  const find = (name: string, nth = 0): WireRequest => {
    const found = golden.filter((one) => one.name === name)[nth];
    assert.ok(found);
    return { ...found, body: Buffer.from(found.body, "base64") };
  };
  const read = (service: ServiceName, schema: StaticOperationSchema, request: WireRequest) => {
    assert.equal(codecFor(service).route(request).action, schema[2]);
    return decode(service, schema, request);
  };

  test("describe-images", () =>
    assert.deepEqual(read("ec2", ec2.DescribeImages$, find("ec2 describe-images")), {
      Owners: ["self", "amazon"],
      Filters: [
        { Name: "name", Values: ["a b*", "ü&=+%"] },
        { Name: "tag:x", Values: [""] },
      ],
    }));

  test("describe-images, presigned", () =>
    assert.deepEqual(read("ec2", ec2.DescribeImages$, find("presigned ec2 describe_images")), {
      Owners: ["self"],
      Filters: [{ Name: "name", Values: ["a b*~"] }],
    }));

  test("run-instances: a device taken away, a tag with an empty value", () =>
    assert.deepEqual(read("ec2", ec2.RunInstances$, find("ec2 run-instances")), {
      ImageId: "ami-0123456789abcdef0",
      MinCount: 2,
      MaxCount: 3,
      UserData: Buffer.from("#!/bin/sh\necho ü").toString("base64"),
      ClientToken: (read("ec2", ec2.RunInstances$, find("ec2 run-instances")) as ec2.RunInstancesRequest).ClientToken,
      BlockDeviceMappings: [
        { DeviceName: "/dev/sda1", Ebs: { VolumeSize: 9, Encrypted: true } },
        { DeviceName: "/dev/sdb", NoDevice: "" },
      ],
      TagSpecifications: [
        {
          ResourceType: "instance",
          Tags: [
            { Key: "a", Value: "" },
            { Key: "b", Value: "x y" },
          ],
        },
      ],
    }));

  test("modify-image-attribute: a description emptied", () => {
    const request = find("ec2 modify-image-attribute", 1);
    assert.deepEqual(read("ec2", ec2.ModifyImageAttribute$, request), {
      ImageId: "ami-0123456789abcdef0",
      Description: { Value: "" },
    });
  });

  test("create-tags: an empty value, and none", () =>
    assert.deepEqual(read("ec2", ec2.CreateTags$, find("ec2 create-tags")), {
      Resources: ["ami-0123456789abcdef0"],
      Tags: [{ Key: "a", Value: "" }, { Key: "stack" }],
    }));

  test("lookup-events: a date in seconds", () =>
    assert.deepEqual(read("cloudtrail", LookupEvents$, find("cloudtrail lookup-events")), {
      LookupAttributes: [{ AttributeKey: "EventName", AttributeValue: "RunInstances" }],
      StartTime: new Date("2026-01-31T10:20:30Z"),
    }));

  test("get-parameters", () =>
    assert.deepEqual(read("ssm", GetParameters$, find("ssm get-parameters")), {
      Names: ["/ingot/tiny", "b"],
      WithDecryption: true,
    }));

  test("put-snapshot-block: labels, headers, raw body", () =>
    assert.deepEqual(read("ebs", PutSnapshotBlock$, find("ebs put-snapshot-block")), {
      SnapshotId: "snap-0123456789abcdef0",
      BlockIndex: 7,
      DataLength: 524288,
      Checksum: "LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=",
      ChecksumAlgorithm: "SHA256",
      BlockData: find("ebs put-snapshot-block").body,
    }));

  test("list-snapshot-blocks: query parameters", () =>
    assert.deepEqual(read("ebs", ListSnapshotBlocks$, find("ebs list-snapshot-blocks")), {
      SnapshotId: "snap-0123456789abcdef0",
      NextToken: "a/b+c= d~(é)*",
      MaxResults: 100,
    }));
});

describe("ec2", () => {
  const run = (parameters: string) =>
    decode("ec2", ec2.RunInstances$, form(`Action=RunInstances&MinCount=1&MaxCount=1&${parameters}`));
  const bare = { MinCount: 1, MaxCount: 1 };

  test("GET and POST, and both together", () => {
    const expected = { Owners: ["self"], DryRun: true };
    assert.deepEqual(
      decode("ec2", ec2.DescribeImages$, get("Action=DescribeImages&Owner.1=self&DryRun=true")),
      expected,
    );
    const both = { ...form("Owner.1=self"), query: "Action=DescribeImages&DryRun=true" };
    assert.deepEqual(decode("ec2", ec2.DescribeImages$, both), expected);
    assert.deepEqual(codecFor("ec2").route(both), { action: "DescribeImages" });
    assert.deepEqual(codecFor("ec2").route(form("Version=2016-11-15&Action=X")), {
      action: "X",
      version: "2016-11-15",
    });
  });

  test("an empty value says nothing", () => {
    assert.deepEqual(run("SubnetId="), bare);
    assert.deepEqual(run("EbsOptimized=&Placement.AvailabilityZone=&IamInstanceProfile.Name="), bare);
    assert.deepEqual(run("SecurityGroupId.1="), { ...bare, SecurityGroupIds: [""] });
  });

  test("except where it says: none", () => {
    const userData = form("Action=ModifyInstanceAttribute&InstanceId=i-1&UserData.Value=");
    assert.deepEqual(decode("ec2", ec2.ModifyInstanceAttribute$, userData), {
      InstanceId: "i-1",
      UserData: { Value: Buffer.alloc(0) },
    });
    const noDevice = form("InstanceId=i-1&BlockDeviceMapping.1.DeviceName=b&BlockDeviceMapping.1.NoDevice=");
    assert.deepEqual(decode("ec2", ec2.ModifyInstanceAttribute$, noDevice), {
      InstanceId: "i-1",
      BlockDeviceMappings: [{ DeviceName: "b", NoDevice: "" }],
    });
  });

  test("lists keep the order of their indexes; gaps are closed, from 0 or 1", () => {
    const list = (parameters: string) => decode("ec2", ec2.DescribeImages$, form(parameters));
    assert.deepEqual(list("ImageId.10=c&ImageId.2=b&ImageId.1=a"), { ImageIds: ["a", "b", "c"] });
    assert.deepEqual(list("ImageId.0=a&ImageId.9=b"), { ImageIds: ["a", "b"] });
  });

  test("an item that says nothing keeps its place", () =>
    assert.deepEqual(decode("ec2", ec2.DescribeImages$, form("Filter.1.Name=")), { Filters: [{}] }));

  test("booleans and dates as old and new clients write them", () => {
    assert.deepEqual(run("DryRun=True&EbsOptimized=0"), { ...bare, DryRun: true, EbsOptimized: false });
    const at = (text: string) => {
      const input = decode(
        "ec2",
        ec2.EnableImageDeprecation$,
        form(`ImageId=a&DeprecateAt=${encodeURIComponent(text)}`),
      );
      return (input as ec2.EnableImageDeprecationRequest).DeprecateAt?.toISOString();
    };
    assert.equal(at("2026-01-31T10:20:30Z"), "2026-01-31T10:20:30.000Z");
    assert.equal(at("2026-01-31T10:20:30.1234567Z"), "2026-01-31T10:20:30.123Z");
    assert.equal(at("2026-01-31T10:20:30+02:00"), "2026-01-31T08:20:30.000Z");
    assert.equal(at("2026-01-31T10:20"), "2026-01-31T10:20:00.000Z");
    assert.equal(at("2026-01-31"), "2026-01-31T00:00:00.000Z");
  });

  test("a request is refused in EC2's words", () => {
    const say = (schema: StaticOperationSchema, body: string) => refusal("ec2", schema, form(body));
    const { DescribeImages$, RunInstances$, CreateTags$, EnableImageDeprecation$, ImportKeyPair$ } = ec2;
    assert.equal(say(DescribeImages$, "Colour=red"), "UnknownParameter: The parameter Colour is not recognized");
    assert.equal(
      say(DescribeImages$, "Filter.1.Colour=red"),
      "UnknownParameter: The parameter Filter.1.Colour is not recognized",
    );
    assert.equal(say(DescribeImages$, "DryRun.1=true"), "UnknownParameter: The parameter DryRun.1 is not recognized");
    assert.equal(say(DescribeImages$, "ImageIds.1=a"), "UnknownParameter: The parameter ImageIds is not recognized");
    assert.equal(say(RunInstances$, "MinCount=1"), "MissingParameter: The request must contain the parameter MaxCount");
    assert.equal(
      say(RunInstances$, "MinCount=1&MaxCount="),
      "MissingParameter: The request must contain the parameter MaxCount",
    );
    assert.equal(say(CreateTags$, "ResourceId.1=a"), "MissingParameter: The request must contain the parameter Tag");
    const wrong: [StaticOperationSchema, string][] = [
      [DescribeImages$, "MaxResults=many"],
      [DescribeImages$, "MaxResults=1.5"],
      [DescribeImages$, "MaxResults=0x10"],
      [DescribeImages$, "MaxResults=99999999999999999999"],
      [DescribeImages$, "DryRun=yes"],
      [DescribeImages$, "ImageId=a"],
      [DescribeImages$, "ImageId.x=a"],
      [DescribeImages$, "ImageId.-1=a"],
      [DescribeImages$, "ImageId.10001=a"],
      [DescribeImages$, "ImageId.99999999999999=a"],
      [DescribeImages$, "ImageId.1=a&ImageId.01=b"],
      [DescribeImages$, "Filter.1=a"],
      [DescribeImages$, "NextToken=a%00b"],
      [EnableImageDeprecation$, "ImageId=a&DeprecateAt=tomorrow"],
      [EnableImageDeprecation$, "ImageId=a&DeprecateAt=2026-02-31T00:00:00Z"],
      [EnableImageDeprecation$, "ImageId=a&DeprecateAt=2026-01-31T24:00:00Z"],
      [ImportKeyPair$, "KeyName=a&PublicKeyMaterial=%21%21"],
      [ImportKeyPair$, "KeyName=a&PublicKeyMaterial=abcde"],
    ];
    for (const [schema, body] of wrong) assert.match(say(schema, body), /^InvalidParameterValue: Value \(/, body);
    const malformed = [
      "ImageId.1=%ff",
      "ImageId.1=%",
      "%zz=1",
      ".=1",
      "a..b=1",
      "DryRun=true&DryRun=false",
      `${"a.".repeat(40)}b=1`,
    ];
    for (const body of malformed) assert.match(say(DescribeImages$, body), /^MalformedQueryString: /, body);
    assert.match(
      refusal("ec2", DescribeImages$, { ...form(""), body: Buffer.from([0x41, 0xff]) }),
      /^MalformedQueryString/,
    );
    assert.match(say(DescribeImages$, "A=1&".repeat(10_001)), /^MalformedQueryString: .* more than 10000/);
    assert.match(say(DescribeImages$, `${"x".repeat(2000)}=1`), /^MalformedQueryString/);
    assert.throws(() => codecFor("ec2").route(form("Version=1")), { code: "MissingAction" });
  });

  test("what botocore and signature version 2 add is ignored", () => {
    const body =
      "PresignedUrl=x&DestinationRegion=y&Signature=z&AWSAccessKeyId=k&X-Amz-Signature=s&Version=1&Action=A&&DryRun=true&DryRun=true\n";
    assert.deepEqual(decode("ec2", ec2.DescribeImages$, form(body)), { DryRun: true });
  });

  test("names of Object's own are no members", () => {
    for (const name of ["__proto__", "constructor", "toString"]) {
      assert.match(refusal("ec2", ec2.DescribeImages$, form(`${name}=1`)), /^UnknownParameter/);
      assert.match(refusal("ec2", ec2.DescribeImages$, form(`Filter.1.${name}=1`)), /^UnknownParameter/);
    }
  });
});

describe("query", () => {
  test("lists, structures, empty values", () => {
    const body =
      "Action=CreateUser&UserName=a&Path=&Tags.member.2.Key=y&Tags.member.2.Value=&Tags.member.1.Key=x&Tags.member.1.Value=1&Colour=red";
    assert.deepEqual(decode("iam", CreateUser$, form(body)), {
      UserName: "a",
      Path: "",
      Tags: [
        { Key: "x", Value: "1" },
        { Key: "y", Value: "" },
      ],
    });
    assert.deepEqual(decode("iam", CreateUser$, form("UserName=a&Tags=")), { UserName: "a", Tags: [] });
    assert.deepEqual(decode("iam", ListUsers$, get("Action=ListUsers&MaxItems=5")), { MaxItems: 5 });
  });

  test("refusals", () => {
    assert.equal(
      refusal("iam", CreateUser$, form("Tags.member.1.Key=a")),
      "ValidationError: 2 validation errors detected: Value null at 'tags.1.member.value' failed to satisfy constraint: Member must not be null; Value null at 'userName' failed to satisfy constraint: Member must not be null",
    );
    assert.match(
      refusal("iam", ListUsers$, form("MaxItems=x")),
      /^ValidationError: Value 'x' for parameter MaxItems is invalid/,
    );
    assert.match(refusal("sts", AssumeRole$, form("RoleArn=a&RoleSessionName=b&DurationSeconds=")), /^ValidationError/);
    assert.match(refusal("iam", CreateUser$, form("UserName=a&Tags.member.x.Key=a")), /^ValidationError/);
  });
});

describe("json", () => {
  test("unknown members, nulls and a body without anything are fine", () => {
    assert.deepEqual(decode("cloudtrail", LookupEvents$, json("")), {});
    assert.deepEqual(decode("cloudtrail", LookupEvents$, json('{"x":{"y":1},"MaxResults":5,"NextToken":null}')), {
      MaxResults: 5,
    });
    assert.deepEqual(decode("cloudtrail", LookupEvents$, json('{"StartTime":1769854830.123}')), {
      StartTime: new Date(1769854830123),
    });
  });

  test("refusals", () => {
    const say = (body: string | Buffer) => refusal("ssm", PutParameter$, { ...json(""), body: Buffer.from(body) });
    assert.equal(
      say("{}"),
      "ValidationException: 2 validation errors detected: Value null at 'name' failed to satisfy constraint: Member must not be null; Value null at 'value' failed to satisfy constraint: Member must not be null",
    );
    assert.equal(say('{"Name":1}'), "SerializationException: NUMBER_VALUE can not be converted to a String at 'name'");
    assert.match(
      say('{"Name":"a","Value":"b","Tags":[{"Key":"k"}]}'),
      /^ValidationException: .*'tags\.1\.member\.value'/,
    );
    for (const body of [
      "[]",
      "1",
      "null",
      "{",
      '{"Name":"a"',
      '{"Tags":{}}',
      '{"Tags":[null]}',
      '{"Overwrite":"true"}',
      '{"Name":{}}',
      Buffer.from([0x7b, 0xff]),
    ]) {
      assert.match(say(body), /^SerializationException: /, String(body));
    }
    const early = refusal("cloudtrail", LookupEvents$, json('{"StartTime":"2026-01-31T10:20:30Z"}'));
    assert.match(early, /^SerializationException/);
    assert.match(refusal("cloudtrail", LookupEvents$, json('{"StartTime":1e300}')), /^SerializationException/);
    assert.match(refusal("cloudtrail", LookupEvents$, json('{"MaxResults":1.5}')), /^SerializationException/);
    assert.match(refusal("cloudtrail", LookupEvents$, json(`{"x":${"[".repeat(200_000)}`)), /^SerializationException/);
  });

  test("the target names the operation, of this service only", () => {
    const route = (service: ServiceName, target: string) =>
      codecFor(service).route({ ...json("{}"), headers: { "x-amz-target": target } });
    assert.deepEqual(route("ssm", "AmazonSSM.GetParameter"), { action: "GetParameter" });
    const long = "com.amazonaws.cloudtrail.v20131101.CloudTrail_20131101.LookupEvents";
    assert.deepEqual(route("cloudtrail", long), { action: "LookupEvents" });
    for (const target of ["", "GetParameter", "AmazonSSM.", "CloudTrail_20131101.LookupEvents"]) {
      assert.throws(() => route("ssm", target), { code: "UnknownOperationException" });
    }
  });
});

describe("rest-json", () => {
  const rest = (method: string, path: string, query = "", headers = {}, body = ""): WireRequest => ({
    method,
    path,
    query,
    headers,
    body: Buffer.from(body),
  });

  test("method and path name the operation", () => {
    const route = (method: string, path: string) => codecFor("ebs").route(rest(method, path)).action;
    assert.equal(route("POST", "/snapshots"), "StartSnapshot");
    assert.equal(route("PUT", "/snapshots/snap-1/blocks/0"), "PutSnapshotBlock");
    assert.equal(route("GET", "/snapshots/snap-1/blocks/0"), "GetSnapshotBlock");
    assert.equal(route("GET", "/snapshots/snap-1/blocks"), "ListSnapshotBlocks");
    assert.equal(route("GET", "/snapshots/snap-1/changedblocks"), "ListChangedBlocks");
    assert.equal(route("POST", "/snapshots/completion/snap-1"), "CompleteSnapshot");
    for (const [method, path] of [
      ["GET", "/snapshots"],
      ["PUT", "/snapshots//blocks/0"],
      ["DELETE", "/snapshots/s/blocks/0"],
      ["GET", "/"],
      ["GET", ""],
    ] as const) {
      assert.throws(() => route(method, path), { code: "UnknownOperationException" });
    }
  });

  test("refusals", () => {
    const say = (schema: StaticOperationSchema, request: WireRequest) => refusal("ebs", schema, request);
    assert.equal(
      say(PutSnapshotBlock$, rest("PUT", "/snapshots/s/blocks/0", "", { "x-amz-data-length": "524288" })),
      "ValidationException: 2 validation errors detected: Value null at 'checksum' failed to satisfy constraint: Member must not be null; Value null at 'checksumAlgorithm' failed to satisfy constraint: Member must not be null",
    );
    assert.match(
      say(GetSnapshotBlock$, rest("GET", "/snapshots/s/blocks/x", "blockToken=t")),
      /^ValidationException: Value at 'blockIndex'/,
    );
    assert.match(
      say(GetSnapshotBlock$, rest("GET", "/snapshots/%ff/blocks/0", "blockToken=t")),
      /^ValidationException/,
    );
    assert.match(say(GetSnapshotBlock$, rest("GET", "/snapshots/s/blocks/0", "blockToken=%f")), /^ValidationException/);
    assert.match(
      say(GetSnapshotBlock$, rest("GET", "/snapshots/s/blocks/0", "blockToken=a&blockToken=b")),
      /^ValidationException/,
    );
    assert.match(say(StartSnapshot$, rest("POST", "/snapshots", "", {}, '{"VolumeSize":"8"}')), /^ValidationException/);
    assert.match(say(StartSnapshot$, rest("POST", "/snapshots", "", {}, "x")), /^ValidationException/);
  });
});

// The exact form of replies and errors, and that the SDK's clients understand the errors. Values' round trips are in
// round-trip.test.ts.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { EBSClient, GetSnapshotBlock$, StartSnapshotCommand } from "@aws-sdk/client-ebs";
import {
  CreateTags$,
  DescribeImages$,
  DescribeImagesCommand,
  type DescribeImagesResult,
  EC2Client,
} from "@aws-sdk/client-ec2";
import { DeleteUser$, GetUser$, GetUserCommand, IAMClient } from "@aws-sdk/client-iam";
import { GetParameter$, GetParameterCommand, SSMClient } from "@aws-sdk/client-ssm";
import { ApiError } from "../base/api-error.ts";
import { codecFor } from "./codec.ts";
import { operationOf } from "./schema.ts";
import type { WireResponse } from "./wire.ts";

const ID = "11111111-2222-3333-4444-555555555555";
const text = (response: WireResponse) => response.body.toString();

describe("ec2", () => {
  const codec = codecFor("ec2");
  const describeImages = operationOf<object, DescribeImagesResult>(DescribeImages$);

  test("a reply", () => {
    const response = codec.encode(
      describeImages,
      { Images: [{ ImageId: "ami-1", Public: false, Tags: [], BlockDeviceMappings: [{ Ebs: { VolumeSize: 8 } }] }] },
      ID,
    );
    assert.equal(response.status, 200);
    assert.equal(response.headers["content-type"], "text/xml;charset=UTF-8");
    assert.equal(response.headers["x-amzn-requestid"], ID);
    assert.equal(
      text(response),
      `<?xml version="1.0" encoding="UTF-8"?>\n<DescribeImagesResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><requestId>${ID}</requestId><imagesSet><item><blockDeviceMapping><item><ebs><volumeSize>8</volumeSize></ebs></item></blockDeviceMapping><tagSet></tagSet><imageId>ami-1</imageId><isPublic>false</isPublic></item></imagesSet></DescribeImagesResponse>`,
    );
  });

  test("an operation that returns nothing", () =>
    assert.equal(
      text(codec.encode(operationOf<object, void>(CreateTags$), undefined, ID)),
      `<?xml version="1.0" encoding="UTF-8"?>\n<CreateTagsResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><requestId>${ID}</requestId><return>true</return></CreateTagsResponse>`,
    ));

  test("an error", () => {
    const response = codec.encodeError(
      new ApiError("InvalidAMIID.NotFound", "The image id '[ami-<1>]' does not exist"),
      ID,
    );
    assert.equal(response.status, 400);
    assert.equal(
      text(response),
      `<?xml version="1.0" encoding="UTF-8"?>\n<Response><Errors><Error><Code>InvalidAMIID.NotFound</Code><Message>The image id '[ami-&lt;1&gt;]' does not exist</Message></Error></Errors><RequestID>${ID}</RequestID></Response>`,
    );
  });

  test("text that XML cannot hold becomes U+FFFD, text that it must escape is escaped", () => {
    const Description = "<&>\"'\r\n\t\u0000\u0008\u001f\ufffe\ud800é😀";
    const xml = text(codec.encode(describeImages, { Images: [{ Description }] }, ID));
    const inside = /<description>(.*)<\/description>/s.exec(xml)?.[1];
    assert.equal(inside, "&lt;&amp;&gt;&quot;'&#xD;\n\t\ufffd\ufffd\ufffd\ufffd\ufffdé😀");
  });
});

describe("query", () => {
  const codec = codecFor("iam");
  const at = new Date("2026-01-31T10:20:30Z");
  test("replies with and without a result", () => {
    const User = { Path: "/", UserName: "a", UserId: "AIDA", Arn: "arn", CreateDate: at };
    assert.equal(
      text(codec.encode(operationOf<object, object>(GetUser$), { User }, ID)),
      `<GetUserResponse xmlns="https://iam.amazonaws.com/doc/2010-05-08/"><GetUserResult><User><Path>/</Path><UserName>a</UserName><UserId>AIDA</UserId><Arn>arn</Arn><CreateDate>2026-01-31T10:20:30Z</CreateDate></User></GetUserResult><ResponseMetadata><RequestId>${ID}</RequestId></ResponseMetadata></GetUserResponse>`,
    );
    assert.equal(
      text(codec.encode(operationOf<object, void>(DeleteUser$), undefined, ID)),
      `<DeleteUserResponse xmlns="https://iam.amazonaws.com/doc/2010-05-08/"><ResponseMetadata><RequestId>${ID}</RequestId></ResponseMetadata></DeleteUserResponse>`,
    );
  });
  test("errors, the client's and ours", () => {
    const client = codec.encodeError(new ApiError("NoSuchEntity", "The user with name a cannot be found."), ID);
    assert.equal(client.status, 404);
    assert.equal(
      text(client),
      `<ErrorResponse xmlns="https://iam.amazonaws.com/doc/2010-05-08/"><Error><Type>Sender</Type><Code>NoSuchEntity</Code><Message>The user with name a cannot be found.</Message></Error><RequestId>${ID}</RequestId></ErrorResponse>`,
    );
    const ours = codec.encodeError(new ApiError("InternalFailure", "x"), ID);
    assert.equal(ours.status, 500);
    assert.match(text(ours), /<Type>Receiver<\/Type>/);
  });
});

test("json: replies and errors", () => {
  const codec = codecFor("ssm");
  const output = { Parameter: { Name: "a", Version: 1, LastModifiedDate: new Date(1769854830123) } };
  const response = codec.encode(operationOf<object, object>(GetParameter$), output, ID);
  assert.equal(text(response), '{"Parameter":{"Name":"a","Version":1,"LastModifiedDate":1769854830.123}}');
  assert.equal(response.headers["content-type"], "application/x-amz-json-1.1");
  const error = codec.encodeError(
    new ApiError("ResourceNotFoundException", "No.", { fields: { ResourceType: "x" } }),
    ID,
  );
  assert.equal(error.status, 400);
  assert.deepEqual(JSON.parse(text(error)), { __type: "ResourceNotFoundException", message: "No.", ResourceType: "x" });
});

describe("rest-json", () => {
  const codec = codecFor("ebs");
  test("bytes in the body, the rest in headers", () => {
    const output = { DataLength: 3, BlockData: Uint8Array.of(1, 2, 3), Checksum: "c=", ChecksumAlgorithm: "SHA256" };
    const response = codec.encode(operationOf<object, object>(GetSnapshotBlock$), output, ID);
    assert.deepEqual(response.body, Buffer.of(1, 2, 3));
    assert.deepEqual(response.headers, {
      "x-amzn-requestid": ID,
      "content-type": "application/octet-stream",
      "x-amz-data-length": "3",
      "x-amz-checksum": "c=",
      "x-amz-checksum-algorithm": "SHA256",
    });
  });
  test("a body that is not bytes is our own mistake, not the client's", () =>
    assert.throws(
      () => codec.encode(operationOf<object, object>(GetSnapshotBlock$), { BlockData: "text" }, ID),
      TypeError,
    ));
});

describe("the SDK's clients read the errors", () => {
  const message = 'Not <this> one, "é"';
  /** A client whose every request is answered by `respond`. */
  const config = (respond: () => WireResponse) => ({
    region: "eu-test-1",
    credentials: { accessKeyId: "a", secretAccessKey: "b" },
    maxAttempts: 1,
    requestHandler: {
      handle: async () => {
        const { status, headers, body } = respond();
        return { response: { statusCode: status, headers, body: new Blob([Uint8Array.from(body)]).stream() } };
      },
    },
  });
  const rejects = async (sent: Promise<unknown>, name: string, status: number, more: object = {}) => {
    await assert.rejects(sent, (error: unknown) => {
      assert.ok(error instanceof Error);
      assert.equal(error.name, name);
      assert.equal(error.message, message);
      const metadata: unknown = "$metadata" in error ? error.$metadata : undefined;
      assert.deepEqual({ ...(metadata as object) }, { ...(metadata as object), httpStatusCode: status, requestId: ID });
      for (const [key, value] of Object.entries(more))
        assert.deepEqual((error as unknown as Record<string, unknown>)[key], value);
      return true;
    });
  };

  test("ec2", () => {
    const client = new EC2Client(
      config(() => codecFor("ec2").encodeError(new ApiError("InvalidAMIID.NotFound", message), ID)),
    );
    return rejects(client.send(new DescribeImagesCommand({})), "InvalidAMIID.NotFound", 400);
  });
  test("iam: by the modelled exception's name", () => {
    const client = new IAMClient(config(() => codecFor("iam").encodeError(new ApiError("NoSuchEntity", message), ID)));
    return rejects(client.send(new GetUserCommand({})), "NoSuchEntityException", 404, { $fault: "client" });
  });
  test("ssm", () => {
    const client = new SSMClient(
      config(() => codecFor("ssm").encodeError(new ApiError("ParameterNotFound", message), ID)),
    );
    return rejects(client.send(new GetParameterCommand({ Name: "a" })), "ParameterNotFound", 400);
  });
  test("ebs: with its reason", () => {
    const error = new ApiError("ResourceNotFoundException", message, { fields: { Reason: "SNAPSHOT_NOT_FOUND" } });
    const client = new EBSClient(config(() => codecFor("ebs").encodeError(error, ID)));
    return rejects(client.send(new StartSnapshotCommand({ VolumeSize: 1 })), "ResourceNotFoundException", 404, {
      Reason: "SNAPSHOT_NOT_FOUND",
    });
  });
});

import assert from "node:assert/strict";
import { test } from "node:test";
import { GetSnapshotBlock$, PutSnapshotBlock$ } from "@aws-sdk/client-ebs";
import {
  CopyImage$,
  DeregisterImage$,
  DescribeImages$,
  EnableImageDeprecation$,
  ModifyImageAttribute$,
  RegisterImage$,
  RunInstances$,
} from "@aws-sdk/client-ec2";
import type { StaticOperationSchema } from "@smithy/types";
import { alice, builder, exampleCall, openTrail } from "./example.fixture.ts";
import { historyOf } from "./history.ts";
import type { OpenCall, Outcome } from "./trail.ts";

const IMAGE = "ami-0123456789abcdef0";
const SNAPSHOT = "snap-0123456789abcdef0";

test("a life reads as sentences, oldest first", async (t) => {
  const { trail } = await openTrail(t);
  let minute = 0;
  const call = async (
    schema: StaticOperationSchema,
    input: object,
    output: object | Outcome,
    over: Partial<OpenCall> = {},
  ) => {
    const time = new Date(Date.UTC(2026, 10, 24, 8, minute++));
    const outcome: Outcome = "kind" in output ? (output as Outcome) : { kind: "success", output };
    await trail.record(exampleCall(schema, input, { time, ...over }), outcome);
  };
  await call(
    RegisterImage$,
    { Name: "web", BlockDeviceMappings: [{ DeviceName: "/dev/xvda", Ebs: { SnapshotId: SNAPSHOT } }] },
    { ImageId: IMAGE },
  );
  await call(DescribeImages$, { ImageIds: [IMAGE] }, {});
  const share = (LaunchPermission: object) => call(ModifyImageAttribute$, { ImageId: IMAGE, LaunchPermission }, {});
  await share({ Add: [{ UserId: "222222222222" }, { Group: "all" }] });
  await share({ Remove: [{ Group: "all" }] });
  await call(
    RunInstances$,
    { ImageId: IMAGE, MinCount: 1, MaxCount: 1 },
    { Instances: [{ InstanceId: "i-0123456789abcdef0" }] },
    { caller: builder },
  );
  await call(
    CopyImage$,
    { Name: "copy", SourceImageId: IMAGE, SourceRegion: "us-east-1" },
    { ImageId: "ami-11111111111111111" },
  );
  for (let n = 0; n < 3; n++) {
    await call(GetSnapshotBlock$, { SnapshotId: SNAPSHOT, BlockIndex: n, BlockToken: "t" }, {}, { service: "ebs" });
  }
  await call(EnableImageDeprecation$, { ImageId: IMAGE, DeprecateAt: new Date("2027-01-02T03:04:00Z") }, {});
  await call(PutSnapshotBlock$, { SnapshotId: SNAPSHOT, BlockIndex: 0 }, {}, { service: "ebs" });
  await call(
    DeregisterImage$,
    { ImageId: IMAGE },
    { kind: "error", code: "UnauthorizedOperation", httpStatus: 403, message: "no" },
  );
  await call(DeregisterImage$, { ImageId: IMAGE }, {});
  const { events } = await trail.find({ accountId: alice.accountId, limit: 100 });
  const told = historyOf(IMAGE, events);
  assert.deepEqual(
    told.map(({ who, did, errorCode }) => `${who} ${did}${errorCode === undefined ? "" : ` (${errorCode})`}`),
    [
      `alice registered it on ${SNAPSHOT}, named web`,
      "alice made it public, shared it with 222222222222",
      "alice made it private",
      "builder/i-0123456789abcdef0 launched an instance of it: i-0123456789abcdef0",
      "alice copied it to ami-11111111111111111",
      `alice read blocks of ${SNAPSHOT}`,
      "alice had it deprecated from 2027-01-02T03:04Z on",
      "alice deregistered it (Client.UnauthorizedOperation)",
      "alice deregistered it",
    ],
  );
  const blocks = told[5];
  assert.deepEqual([blocks?.times, blocks?.until?.getUTCMinutes()], [3, 8]);
});

test("records of any shape are told without failing", () => {
  const event = {
    ...{ atMs: 0, sequence: 1, eventId: "e", region: "us-east-1", eventSource: "ec2.amazonaws.com", readOnly: false },
    ...{ userName: null, accessKeyId: null, resources: [] },
  };
  for (const eventName of [
    "ModifyImageAttribute",
    "RunInstances",
    "CreateTags",
    "CopyImage",
    "ExportImage",
    "Unheard",
  ]) {
    for (const body of ["{}", '{"requestParameters":[1],"responseElements":"x","userIdentity":null}']) {
      assert.equal(historyOf(IMAGE, [{ ...event, eventName, body }]).length, 1);
    }
  }
});

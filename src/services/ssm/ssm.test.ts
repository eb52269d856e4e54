import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import type { PutParameterRequest } from "@aws-sdk/client-ssm";
import { accountId, type Region } from "../../base/ids.ts";
import { silentLog } from "../../base/log.ts";
import { openDatabase } from "../../database/database.ts";
import type { Action, Grant } from "../../model/access.ts";
import type { UserCaller } from "../../model/identity/caller.ts";
import { publishParameter } from "../../model/ssm/parameter-rows.ts";
import { pageTokens } from "../../protocol/pages.ts";
import type { Parts, RequestContext } from "../context.ts";
import type { Operation, Resolution } from "../operation.ts";
import { ssmOperations as ssm } from "./operations.ts";
import { resolveSsmImage, ssmImageCheck } from "./resolve-image.ts";

const user = (account: string): UserCaller => ({
  kind: "user",
  accountId: accountId(account),
  arn: `arn:aws:iam::${account}:user/alice`,
  principalId: "AIDAALICE",
  accessKeyId: "AKIAALICE",
  userId: "AIDAALICE",
  userName: "alice",
  tags: {},
});

const IMAGE = "ami-0123456789abcdef0";
const FOREIGN_IMAGE = "ami-0aaaaaaaaaaaaaaaa";
const NOW = new Date("2026-11-24T08:00:00Z");

async function world(t: TestContext) {
  const directory = mkdtempSync(join(tmpdir(), "ingot-ssm-"));
  const database = await openDatabase({ engine: "sqlite", path: join(directory, "ingot.db") });
  t.after(async () => {
    await database.close();
    rmSync(directory, { recursive: true, force: true });
  });
  const pages = pageTokens(Buffer.alloc(32, 1));
  const context = (account: string, region = "us-east-1"): RequestContext => ({
    caller: user(account),
    region: region as Region,
    requestId: "r",
    sourceIp: "127.0.0.1",
    userAgent: "",
    database,
    log: silentLog,
    now: () => NOW,
    // The parts that these actions do not reach are not there.
    parts: { pages } as unknown as Parts,
  });
  const ctx = context("111122223333");
  /** What the pipeline does, with every permission given. */
  const call = async <A extends Action, I, O, R extends Resolution>(
    operation: Operation<A, I, O, R>,
    input: I,
    as: RequestContext = ctx,
  ): Promise<O> => operation.run(as, input, await operation.resolve(as, input), {} as Grant<A>);
  const put = (input: Partial<PutParameterRequest>, as = ctx) =>
    call(ssm.PutParameter, { Type: "String", ...input } as PutParameterRequest, as);
  const value = async (name: string, as = ctx) => (await call(ssm.GetParameter, { Name: name }, as)).Parameter?.Value;
  for (const [id, account] of [
    [IMAGE, "111122223333"],
    [FOREIGN_IMAGE, "999988887777"],
  ] as const) {
    await database.transaction(async (tx) => {
      await tx
        .insertInto("images")
        .values({
          id,
          account_id: account,
          region: "us-east-1",
          name: id,
          description: null,
          state: "available",
          state_reason: null,
          architecture: "x86_64",
          virtualization_type: "hvm",
          boot_mode: null,
          root_device_name: "/dev/xvda",
          block_devices: "[]",
          ena_support: 1,
          sriov_net_support: null,
          tpm_support: null,
          imds_support: null,
          uefi_data: null,
          location: id,
          owner_alias: null,
          source_instance_id: null,
          source_image_id: null,
          source_image_region: null,
          direct_kernel: null,
          reboot: 0,
          created_at: NOW.toISOString(),
          deprecate_at: null,
          deregistration_protection: "disabled",
          last_launched_at: null,
        })
        .execute();
    });
  }
  return { database, context, ctx, call, put, value };
}

test("versions: each overwrite makes one; all, and labels on them, can be read by number and label", async (t) => {
  const { call, put, value } = await world(t);
  assert.deepEqual(await put({ Name: "/web/image", Value: "one" }), { Version: 1, Tier: "Standard" });
  await assert.rejects(put({ Name: "/web/image", Value: "two" }), { code: "ParameterAlreadyExists" });
  assert.deepEqual(await put({ Name: "/web/image", Value: "two", Overwrite: true }), { Version: 2, Tier: "Standard" });
  await put({ Name: "/web/image", Value: "three", Overwrite: true, Description: "the third" });
  assert.equal(await value("/web/image"), "three");
  assert.equal(await value("/web/image:1"), "one");
  await assert.rejects(value("/web/image:9"), { code: "ParameterVersionNotFound" });

  const labelled = await call(ssm.LabelParameterVersion, {
    Name: "/web/image",
    ParameterVersion: 2,
    Labels: ["prod", "aws-no", "1st"],
  });
  assert.deepEqual(labelled, { InvalidLabels: ["aws-no", "1st"], ParameterVersion: 2 });
  assert.equal(await value("/web/image:prod"), "two");
  await call(ssm.LabelParameterVersion, { Name: "/web/image", Labels: ["prod"] });
  assert.equal(await value("/web/image:prod"), "three");
  await assert.rejects(value("/web/image:test"), { code: "ParameterVersionNotFound" });

  const { Parameters: history = [] } = await call(ssm.GetParameterHistory, { Name: "/web/image" });
  assert.deepEqual(
    history.map((one) => [one.Version, one.Value, one.Labels, one.Description]),
    [
      [1, "one", [], undefined],
      [2, "two", [], undefined],
      [3, "three", ["prod"], "the third"],
    ],
  );
  assert.deepEqual(
    await call(ssm.UnlabelParameterVersion, { Name: "/web/image", ParameterVersion: 3, Labels: ["prod", "x"] }),
    { RemovedLabels: ["prod"], InvalidLabels: ["x"] },
  );
});

test("a parameter by ARN, with its selector repeated, and what others see of it", async (t) => {
  const { call, put, value, context } = await world(t);
  await put({ Name: "/a/b", Value: "x" });
  await put({ Name: "plain", Value: "y" });
  const { Parameter: shown } = await call(ssm.GetParameter, { Name: "/a/b:1" });
  assert.deepEqual(shown, {
    Name: "/a/b",
    Type: "String",
    Value: "x",
    Version: 1,
    Selector: ":1",
    LastModifiedDate: NOW,
    ARN: "arn:aws:ssm:us-east-1:111122223333:parameter/a/b",
    DataType: "text",
  });
  assert.equal(await value("arn:aws:ssm:us-east-1:111122223333:parameter/a/b"), "x");
  assert.equal(await value("arn:aws:ssm:us-east-1:111122223333:parameter/plain:1"), "y");
  const notFound = { code: "ParameterNotFound" };
  await assert.rejects(value("/a/b", context("222233334444")), notFound);
  await assert.rejects(value("arn:aws:ssm:us-east-1:111122223333:parameter/a/b", context("222233334444")), notFound);
  await assert.rejects(value("/a/b", context("111122223333", "eu-west-1")), notFound);
  const several = await call(ssm.GetParameters, { Names: ["/a/b", "nope", "plain:7", "plain"] });
  assert.deepEqual(
    several.Parameters?.map((one) => one.Name),
    ["/a/b", "plain"],
  );
  assert.deepEqual(several.InvalidParameters, ["nope", "plain:7"]);
});

test("what PutParameter refuses, and how", async (t) => {
  const { put } = await world(t);
  const validation = { code: "ValidationException" };
  for (const Name of ["a/b", "/a//b", "/a/", "/", "a b", "é", "ssm-x", "AWSx", "a:1", "", "x".repeat(1012)]) {
    await assert.rejects(put({ Name, Value: "v" }), validation, Name);
  }
  await assert.rejects(put({ Name: "/aws/service/x", Value: "v" }), { code: "AccessDeniedException" });
  const deep = "/a".repeat(16);
  await assert.rejects(put({ Name: deep, Value: "v" }), { code: "HierarchyLevelLimitExceededException" });
  await put({ Name: "/a".repeat(15), Value: "v" });
  await assert.rejects(put({ Name: "n", Value: "" }), validation);
  await assert.rejects(put({ Name: "n", Value: "v".repeat(4097) }), validation);
  assert.equal((await put({ Name: "n", Value: "v".repeat(4097), Tier: "Intelligent-Tiering" })).Tier, "Advanced");
  await assert.rejects(put({ Name: "n", Value: "v", Overwrite: true, Tier: "Standard" }), validation);
  assert.equal((await put({ Name: "n", Value: "v", Overwrite: true })).Tier, "Advanced");
  await assert.rejects(put({ Name: "n", Value: "v".repeat(8193), Overwrite: true }), validation);
  await assert.rejects(put({ Name: "s", Value: "v", Type: "SecureString" }), { code: "UnsupportedParameterType" });
  await assert.rejects(put({ Name: "n", Value: "v", Overwrite: true, Type: "StringList" }), {
    code: "HierarchyTypeMismatchException",
  });
  await assert.rejects(put({ Name: "n", Value: "v", Overwrite: true, Tags: [{ Key: "a", Value: "b" }] }), validation);
  await assert.rejects(put({ Name: "d", Value: "v", DataType: "aws:ssm:integration" }), validation);
  await assert.rejects(put({ Name: "t", Value: "v", Type: undefined }), validation);
});

test("an allowed pattern holds for later versions, and cannot stop the server", async (t) => {
  const { put } = await world(t);
  await put({ Name: "n", Value: "123", AllowedPattern: "^\\d+$" });
  await assert.rejects(put({ Name: "n", Value: "12a", Overwrite: true }), {
    code: "ParameterPatternMismatchException",
  });
  await put({ Name: "n", Value: "456", Overwrite: true });
  const invalid = { code: "InvalidAllowedPatternException" };
  await assert.rejects(put({ Name: "m", Value: "x", AllowedPattern: "(" }), invalid);
  await assert.rejects(put({ Name: "m", Value: `${"a".repeat(50)}!`, AllowedPattern: "^(a+)+$" }), invalid);
});

test("the hundred newest versions are kept, unless a label holds the oldest", async (t) => {
  const { call, put, value } = await world(t);
  await put({ Name: "n", Value: "1" });
  for (let n = 2; n <= 101; n++) await put({ Name: "n", Value: String(n), Overwrite: true });
  await assert.rejects(value("n:1"), { code: "ParameterVersionNotFound" });
  assert.equal(await value("n:2"), "2");
  await call(ssm.LabelParameterVersion, { Name: "n", ParameterVersion: 2, Labels: ["keep"] });
  await assert.rejects(put({ Name: "n", Value: "x", Overwrite: true }), { code: "ParameterMaxVersionLimitExceeded" });
  assert.equal(await value("n"), "101");
});

test("lists by path: one level or all, in pages of at most ten", async (t) => {
  const { call, put } = await world(t);
  for (let n = 10; n < 35; n++) await put({ Name: `/web/i${n}`, Value: "v" });
  await put({ Name: "/web/deep/one", Value: "v" });
  await put({ Name: "/website", Value: "v" });
  const all = async (Recursive: boolean) => {
    const names: string[] = [];
    let NextToken: string | undefined;
    do {
      const page = await call(ssm.GetParametersByPath, {
        Path: "/web",
        Recursive,
        ...(NextToken ? { NextToken } : {}),
      });
      assert.ok((page.Parameters?.length ?? 0) <= 10);
      names.push(...(page.Parameters ?? []).map((one) => one.Name ?? ""));
      NextToken = page.NextToken;
    } while (NextToken !== undefined);
    return names;
  };
  assert.equal((await all(false)).length, 25);
  assert.deepEqual((await all(true)).slice(0, 2), ["/web/deep/one", "/web/i10"]);
  await assert.rejects(call(ssm.GetParametersByPath, { Path: "web" }), { code: "ValidationException" });
  await assert.rejects(call(ssm.GetParametersByPath, { Path: "/web", MaxResults: 11 }), {
    code: "ValidationException",
  });
  await assert.rejects(call(ssm.GetParametersByPath, { Path: "/web", NextToken: "AAAA" }), {
    code: "InvalidNextToken",
  });
});

test("DescribeParameters: its filters", async (t) => {
  const { call, put } = await world(t);
  await put({ Name: "/web/image", Value: IMAGE, DataType: "aws:ec2:image" });
  await put({ Name: "/web/list", Value: "a,b", Type: "StringList" });
  await put({ Name: "/db/image", Value: "x", Tier: "Advanced", Tags: [{ Key: "env", Value: "prod" }] });
  const names = async (Key: string, Values: string[], Option?: string) =>
    (
      await call(ssm.DescribeParameters, { ParameterFilters: [{ Key, Values, ...(Option ? { Option } : {}) }] })
    ).Parameters?.map((one) => one.Name);
  assert.deepEqual(await names("Type", ["StringList"]), ["/web/list"]);
  assert.deepEqual(await names("Tier", ["Advanced"]), ["/db/image"]);
  assert.deepEqual(await names("DataType", ["aws:ec2:image"]), ["/web/image"]);
  assert.deepEqual(await names("Name", ["image"], "Contains"), ["/db/image", "/web/image"]);
  assert.deepEqual(await names("Name", ["/web"], "BeginsWith"), ["/web/image", "/web/list"]);
  assert.deepEqual(await names("Path", ["/web"], "Recursive"), ["/web/image", "/web/list"]);
  assert.deepEqual(await names("tag:env", ["prod"]), ["/db/image"]);
  await assert.rejects(names("Colour", ["red"]), { code: "InvalidFilterKey" });
  await assert.rejects(names("Type", ["String"], "Contains"), { code: "InvalidFilterOption" });
  await assert.rejects(names("Type", []), { code: "InvalidFilterValue" });
  const older = await call(ssm.DescribeParameters, { Filters: [{ Key: "Name", Values: ["/db"] }] });
  const [shown] = older.Parameters ?? [];
  assert.equal(shown?.Name, "/db/image");
  assert.equal(shown?.LastModifiedUser, "arn:aws:iam::111122223333:user/alice");
  assert.ok(!("Value" in (shown ?? {})));
});

test("deleting, one and several; deleting and making again begins at version 1", async (t) => {
  const { call, put, value } = await world(t);
  await put({ Name: "a", Value: "1" });
  await put({ Name: "a", Value: "2", Overwrite: true });
  await call(ssm.DeleteParameter, { Name: "a" });
  await assert.rejects(call(ssm.DeleteParameter, { Name: "a" }), {
    code: "ParameterNotFound",
    resourceArn: "arn:aws:ssm:us-east-1:111122223333:parameter/a",
  });
  await assert.rejects(value("a"), { code: "ParameterNotFound" });
  assert.equal((await put({ Name: "a", Value: "3" })).Version, 1);
  assert.deepEqual(await call(ssm.DeleteParameters, { Names: ["a", "b"] }), {
    DeletedParameters: ["a"],
    InvalidParameters: ["b"],
  });
});

test("tags", async (t) => {
  const { call, put } = await world(t);
  await put({ Name: "a", Value: "1", Tags: [{ Key: "x", Value: "1" }] });
  const on = { ResourceType: "Parameter", ResourceId: "a" } as const;
  await call(ssm.AddTagsToResource, { ...on, Tags: [{ Key: "y", Value: "2" }] });
  await call(ssm.RemoveTagsFromResource, { ...on, TagKeys: ["x"] });
  assert.deepEqual((await call(ssm.ListTagsForResource, on)).TagList, [{ Key: "y", Value: "2" }]);
  const many = Array.from({ length: 50 }, (_, i) => ({ Key: `k${i}`, Value: "" }));
  await assert.rejects(call(ssm.AddTagsToResource, { ...on, Tags: many }), { code: "TooManyTagsError" });
  await assert.rejects(call(ssm.ListTagsForResource, { ...on, ResourceId: "b" }), { code: "InvalidResourceId" });
  await assert.rejects(call(ssm.ListTagsForResource, { ...on, ResourceType: "Document" }), {
    code: "InvalidResourceType",
  });
});

test("an image: only one that the account can use; launches name it by parameter", async (t) => {
  const { put, ctx, context } = await world(t);
  await put({ Name: "/web/image", Value: IMAGE, DataType: "aws:ec2:image" });
  for (const Value of ["hello", "ami-00000000000000000", FOREIGN_IMAGE]) {
    await assert.rejects(put({ Name: "/web/other", Value, DataType: "aws:ec2:image" }), {
      code: "ValidationException",
    });
  }
  assert.equal(await resolveSsmImage(ctx, "resolve:ssm:/web/image"), IMAGE);
  assert.equal(await resolveSsmImage(ctx, "resolve:ssm:/web/image:1"), IMAGE);
  assert.deepEqual(await ssmImageCheck(ctx, "resolve:ssm:/web/image:1"), {
    action: "ssm:GetParameters",
    resource: "arn:aws:ssm:us-east-1:111122223333:parameter/web/image",
    keys: {},
  });
  await put({ Name: "text", Value: "hello" });
  const invalid = { code: "InvalidParameterValue" };
  await assert.rejects(resolveSsmImage(ctx, "resolve:ssm:text"), invalid);
  await assert.rejects(resolveSsmImage(ctx, "resolve:ssm:/web/image:2"), invalid);
  await assert.rejects(resolveSsmImage(ctx, "resolve:ssm:nothing"), invalid);
  await assert.rejects(resolveSsmImage(context("222233334444"), "resolve:ssm:/web/image"), invalid);
});

test("public parameters: every account reads them, none writes them, and the same value makes no version", async (t) => {
  const { database, call, value, ctx, context } = await world(t);
  const publish = (id: string) =>
    database.transaction((tx) =>
      publishParameter(
        tx,
        ctx.region,
        "/aws/service/ingot/tiny/latest/image_id",
        { value: id, dataType: "aws:ec2:image", description: "ingot/tiny" },
        NOW,
      ),
    );
  await publish(IMAGE);
  await publish(IMAGE);
  const name = "/aws/service/ingot/tiny/latest/image_id";
  for (const as of [ctx, context("222233334444")]) {
    const { Parameter: shown } = await call(ssm.GetParameter, { Name: name }, as);
    assert.deepEqual([shown?.Value, shown?.Version], [IMAGE, 1]);
    assert.equal(shown?.ARN, `arn:aws:ssm:us-east-1::parameter${name}`);
    const listed = await call(ssm.GetParametersByPath, { Path: "/aws/service/ingot", Recursive: true }, as);
    assert.deepEqual(
      listed.Parameters?.map((one) => one.Name),
      [name],
    );
    assert.deepEqual((await call(ssm.DescribeParameters, {}, as)).Parameters, []);
    assert.equal(await resolveSsmImage(as, `resolve:ssm:${name}`), IMAGE);
  }
  assert.equal(await value(`arn:aws:ssm:us-east-1::parameter${name}`), IMAGE);
  await assert.rejects(call(ssm.DeleteParameter, { Name: name }), { code: "AccessDeniedException" });
  assert.deepEqual((await call(ssm.DeleteParameters, { Names: [name] })).InvalidParameters, [name]);
});

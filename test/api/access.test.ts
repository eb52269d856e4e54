// Why, and who: ingot:ExplainAccess and ingot:ListImageAccess, and accounts that only the operator makes.
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  CreateTagsCommand,
  DisableImageCommand,
  ModifyImageAttributeCommand,
  ModifySnapshotAttributeCommand,
  RegisterImageCommand,
} from "@aws-sdk/client-ec2";
import { CreateAccessKeyCommand, CreateUserCommand, PutUserPolicyCommand } from "@aws-sdk/client-iam";
import { ingotClient } from "../../src/cli/clients/ingot.ts";
import { CreateAccount$, ExplainAccess$, ListAccounts$, ListImageAccess$ } from "../../src/services/ingot/schema.ts";
import { ingotOn } from "../support/ingot-command.ts";
import { type Keys, type Platform, startPlatform } from "../support/platform.ts";
import { smallSnapshot } from "../support/small-snapshot.ts";

const clientOf = ({ url, region, credentials }: Platform, keys: Keys = credentials) =>
  ingotClient({ endpoint: url, region, credentials: keys });

const refused = (call: Promise<unknown>): Promise<string> =>
  call.then(
    () => "no error",
    (error: unknown) => (error instanceof Error ? error.name : "?"),
  );

async function userWith({ iam }: Platform, name: string, statement: object): Promise<Keys> {
  await iam.send(new CreateUserCommand({ UserName: name }));
  await iam.send(
    new PutUserPolicyCommand({
      UserName: name,
      PolicyName: "policy",
      PolicyDocument: JSON.stringify({ Version: "2012-10-17", Statement: statement }),
    }),
  );
  const { AccessKey: key } = await iam.send(new CreateAccessKeyCommand({ UserName: name }));
  return { accessKeyId: key?.AccessKeyId ?? "", secretAccessKey: key?.SecretAccessKey ?? "" };
}

async function image(platform: Platform): Promise<{ readonly id: string; readonly snapshot: string }> {
  const snapshot = await smallSnapshot(platform);
  const { ImageId: id = "" } = await platform.ec2.send(
    new RegisterImageCommand({
      Name: "mine",
      Architecture: "x86_64",
      RootDeviceName: "/dev/xvda",
      VirtualizationType: "hvm",
      BlockDeviceMappings: [{ DeviceName: "/dev/xvda", Ebs: { SnapshotId: snapshot } }],
    }),
  );
  return { id, snapshot };
}

test("a verdict, the statement or guard that decided, and what would have to change", async (t) => {
  const platform = await startPlatform(t);
  const { id } = await image(platform);
  const arn = `arn:aws:iam::${platform.accountId}:user/bob`;
  const bob = await userWith(platform, "bob", [
    {
      Sid: "Red",
      Effect: "Allow",
      Action: "ec2:RunInstances",
      Resource: "*",
      Condition: { StringEquals: { "ec2:ResourceTag/team": "red" } },
    },
    { Effect: "Deny", Action: "ec2:DeregisterImage", Resource: "*" },
  ]);
  const operator = clientOf(platform);
  const ask = (Action: string, Resource: string, Principal = arn) =>
    operator.send(ExplainAccess$, { Action, Resource, Principal });

  const unmet = await ask("ec2:RunInstances", id);
  assert.equal(unmet.Verdict, "implicitDeny");
  assert.equal(unmet.DecidedBy, "identity");
  assert.match(unmet.Changes.join("\n"), /Meet the conditions of statement "Red".*ec2:ResourceTag\/team = red/);
  await platform.ec2.send(new CreateTagsCommand({ Resources: [id], Tags: [{ Key: "team", Value: "red" }] }));
  const allowed = await ask("ec2:RunInstances", id);
  assert.deepEqual([allowed.Verdict, allowed.Statement?.Sid, allowed.Changes], ["allowed", "Red", []]);
  assert.equal(allowed.Resource, `arn:aws:ec2:us-east-1::image/${id}`);
  assert.equal(allowed.Keys["ec2:ResourceTag/team"], "red");

  const denied = await ask("ec2:DeregisterImage", allowed.Resource);
  assert.deepEqual([denied.Verdict, denied.Statement?.Index], ["explicitDeny", 1]);
  const none = await ask("ec2:StopInstances", "*");
  assert.match(none.Changes.join("\n"), /Allow ec2:StopInstances on \* in a policy of the identity layer/);

  // What policies cannot lift.
  await platform.ec2.send(new DisableImageCommand({ ImageId: id }));
  const guarded = await ask("ec2:RunInstances", id);
  assert.deepEqual([guarded.Verdict, guarded.DecidedBy, guarded.Guards[0]?.Name], ["guarded", "guard", "image state"]);
  const stranger = await platform.createAccount("stranger");
  const strange = await clientOf(platform, stranger.credentials).send(ExplainAccess$, {
    Action: "ec2:RunInstances",
    Resource: id,
  });
  assert.equal(strange.Verdict, "guarded");
  assert.equal(strange.DecidedBy, "guard");

  // It tells of nobody else's account, and to nobody without leave.
  assert.equal(
    await refused(clientOf(platform, stranger.credentials).send(ExplainAccess$, { Action: "a:b", Principal: arn })),
    "AccessDeniedException",
  );
  assert.equal(await refused(clientOf(platform, bob).send(ExplainAccess$, { Action: "a:b" })), "AccessDeniedException");
  assert.equal(await refused(ask("ec2:*", id)), "ValidationException");
  assert.equal(await refused(ask("ec2:RunInstances", id, `${arn}by`)), "ValidationException");

  const text = await ingotOn(platform, "explain", "ec2:DeregisterImage", id, "--principal", arn);
  assert.match(text, /^Denied: statement 2 of policy \(identity\)\./);
  assert.match(text, /What would have to change:\n {2}- Remove or narrow statement 2 of policy/);
});

test("who can launch or copy an image, and through what", async (t) => {
  const platform = await startPlatform(t);
  const { id, snapshot } = await image(platform);
  await userWith(platform, "launcher", { Sid: "L", Effect: "Allow", Action: "ec2:RunInstances", Resource: "*" });
  await userWith(platform, "reader", { Effect: "Allow", Action: "ec2:Describe*", Resource: "*" });
  const friend = await platform.createAccount("friend");
  const client = clientOf(platform);
  const listed = async () => {
    const { Access } = await client.send(ListImageAccess$, { ImageId: id });
    return new Map(Access.map((each) => [each.Principal?.split(":")[5] ?? each.AccountId, each]));
  };

  const before = await listed();
  assert.deepEqual([...before.keys()].sort(), ["root", "user/admin", "user/launcher"]);
  assert.deepEqual(before.get("user/launcher")?.Actions, ["ec2:RunInstances"]);
  assert.match(before.get("user/launcher")?.Through.join() ?? "", /statement L of policy/);
  await platform.ec2.send(
    new ModifyImageAttributeCommand({ ImageId: id, LaunchPermission: { Add: [{ UserId: friend.accountId }] } }),
  );
  assert.deepEqual((await listed()).get(friend.accountId)?.Actions, ["ec2:RunInstances"]);
  await platform.ec2.send(
    new ModifySnapshotAttributeCommand({
      SnapshotId: snapshot,
      CreateVolumePermission: { Add: [{ UserId: friend.accountId }] },
    }),
  );
  assert.deepEqual((await listed()).get(friend.accountId)?.Actions, ["ec2:RunInstances", "ec2:CopyImage"]);
  assert.match(await ingotOn(platform, "access", id), new RegExp(`account ${friend.accountId}.*: launch, copy`));
  assert.equal(
    await refused(clientOf(platform, friend.credentials).send(ListImageAccess$, { ImageId: id })),
    "AuthFailure",
  );
  await platform.ec2.send(new DisableImageCommand({ ImageId: id }));
  assert.deepEqual(
    [...(await listed()).keys()].filter((who) => who === friend.accountId),
    [],
  );
});

test("accounts are the operator's to make", async (t) => {
  const platform = await startPlatform(t);
  const made = await clientOf(platform).send(CreateAccount$, { Name: "Two", AccountId: "222233334444" });
  assert.equal(made.Account.AccountId, "222233334444");
  const keys = {
    accessKeyId: made.Administrator.AccessKeyId,
    secretAccessKey: made.Administrator.SecretAccessKey,
  };
  const theirs = clientOf(platform, keys);
  assert.equal((await theirs.send(ExplainAccess$, { Action: "ec2:RunInstances" })).Verdict, "allowed");
  assert.equal(await refused(theirs.send(CreateAccount$, { Name: "Three" })), "AccessDeniedException");
  assert.equal(await refused(theirs.send(ListAccounts$, {})), "AccessDeniedException");
  assert.equal(
    await refused(clientOf(platform).send(CreateAccount$, { Name: "Two", AccountId: "222233334444" })),
    "EntityAlreadyExists",
  );
  const { Accounts: accounts } = await clientOf(platform).send(ListAccounts$, {});
  assert.deepEqual(
    accounts.map((account) => account.AccountId),
    [platform.accountId, "222233334444"].sort(),
  );
});

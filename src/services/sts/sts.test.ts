// biome-ignore-all lint/suspicious/noTemplateCurlyInString: policy variables look like that
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  allow,
  type Credentials,
  documentOf,
  FIRST,
  type IdentityWorld,
  identityWorld,
  refused,
  SECOND,
  userWith,
} from "../../../test/support/identity-world.ts";
import { issueInstanceCredentials } from "../../identity/instance-credentials.ts";
import type { ResourceCheck } from "../../model/access.ts";

const INSTANCE = `arn:aws:ec2:us-east-1:${FIRST}:instance/i-1`;

const trust = (principal: object | string, condition?: object, actions: string[] = ["sts:AssumeRole"]) =>
  documentOf({
    Effect: "Allow",
    Principal: principal,
    Action: actions,
    ...(condition === undefined ? {} : { Condition: condition }),
  });

async function role(world: IdentityWorld, name: string, document: string, policy = allow("ec2:*"), more: object = {}) {
  const admin = world.first.administrator;
  await world.call(admin, "CreateRole", { RoleName: name, AssumeRolePolicyDocument: document, ...more });
  await world.call(admin, "PutRolePolicy", { RoleName: name, PolicyName: "p", PolicyDocument: policy });
  return `arn:aws:iam::${FIRST}:role/${name}`;
}

type Answer = {
  Credentials?: { AccessKeyId: string | undefined; SessionToken: string | undefined } | undefined;
};
const credentialsIn = (answer: Answer): Credentials => ({
  accessKeyId: answer.Credentials?.AccessKeyId ?? "",
  sessionToken: answer.Credentials?.SessionToken,
});

test("who am I: users, root, sessions", async (t) => {
  const world = await identityWorld(t);
  const { administrator, root } = world.first;
  assert.equal((await world.call(administrator, "GetCallerIdentity", {})).Arn, `arn:aws:iam::${FIRST}:user/admin`);
  assert.deepEqual(await world.call(root, "GetCallerIdentity", {}), {
    UserId: FIRST,
    Account: FIRST,
    Arn: `arn:aws:iam::${FIRST}:root`,
  });
  const denied = await userWith(world, "bob", documentOf({ Effect: "Deny", Action: "*", Resource: "*" }));
  assert.equal((await world.call(denied, "GetCallerIdentity", {})).Account, FIRST);
});

test("a role named to the account is for those whom the account lets; to the user, for the user", async (t) => {
  const world = await identityWorld(t);
  const bob = await userWith(world, "bob");
  const toAccount = await role(world, "a", trust({ AWS: `arn:aws:iam::${FIRST}:root` }));
  const toBob = await role(world, "b", trust({ AWS: `arn:aws:iam::${FIRST}:user/bob` }));
  const assume = (RoleArn: string) => world.call(bob, "AssumeRole", { RoleArn, RoleSessionName: "s1" });
  await refused(
    assume(toAccount),
    "AccessDenied",
    `User: arn:aws:iam::${FIRST}:user/bob is not authorized to perform: sts:AssumeRole on resource: ${toAccount} because no identity-based policy allows the sts:AssumeRole action`,
  );
  const answer = await assume(toBob);
  assert.equal(answer.AssumedRoleUser.Arn, `arn:aws:sts::${FIRST}:assumed-role/b/s1`);
  assert.equal(answer.Credentials.Expiration.getTime() - world.now.getTime(), 3_600_000);
  const session = credentialsIn(answer);
  assert.equal(await world.may(session, "ec2:StopInstances", INSTANCE), true);
  assert.equal(await world.may(session, "iam:CreateUser", "*"), false);
  assert.equal((await world.call(session, "GetCallerIdentity", {})).UserId, answer.AssumedRoleUser.AssumedRoleId);
  await world.call(world.first.administrator, "AssumeRole", { RoleArn: toAccount, RoleSessionName: "s1" });
  await refused(
    world.call(world.first.root, "AssumeRole", { RoleArn: toAccount, RoleSessionName: "s1" }),
    "AccessDenied",
    "Roles may not be assumed by root accounts.",
  );
});

test("even an administrator assumes no role that does not trust him, and learns of none", async (t) => {
  const world = await identityWorld(t);
  const admin = world.first.administrator;
  const other = await role(world, "other", trust({ Service: "ec2.amazonaws.com" }));
  await refused(world.call(admin, "AssumeRole", { RoleArn: other, RoleSessionName: "s1" }), "AccessDenied");
  const absent = `arn:aws:iam::${SECOND}:role/absent`;
  await refused(
    world.call(admin, "AssumeRole", { RoleArn: absent, RoleSessionName: "s1" }),
    "AccessDenied",
    /resource: arn:aws:iam::222222222222:role\/absent because no resource-based policy/,
  );
});

test("between accounts both must agree, and the external id must match", async (t) => {
  const world = await identityWorld(t);
  const RoleArn = await role(
    world,
    "partner",
    trust({ AWS: `arn:aws:iam::${SECOND}:root` }, { StringEquals: { "sts:ExternalId": "secret" } }),
  );
  const partner = world.second.administrator;
  const assume = (more: object) => world.call(partner, "AssumeRole", { RoleArn, RoleSessionName: "s1", ...more });
  await refused(assume({}), "AccessDenied");
  await refused(assume({ ExternalId: "wrong" }), "AccessDenied");
  const session = credentialsIn(await assume({ ExternalId: "secret" }));
  assert.equal((await world.call(session, "GetCallerIdentity", {})).Account, FIRST);
  // The other account's administrator without permission to assume.
  const admin = world.second.administrator;
  await world.call(admin, "CreateUser", { UserName: "weak" });
  const { AccessKey } = await world.call(admin, "CreateAccessKey", { UserName: "weak" });
  await refused(
    world.call({ accessKeyId: AccessKey.AccessKeyId }, "AssumeRole", {
      RoleArn,
      RoleSessionName: "s1",
      ExternalId: "secret",
    }),
    "AccessDenied",
  );
});

test("session policies only take away", async (t) => {
  const world = await identityWorld(t);
  const RoleArn = await role(world, "r", trust({ AWS: FIRST }), allow(["ec2:*", "ssm:GetParameter"]));
  const session = credentialsIn(
    await world.call(world.first.administrator, "AssumeRole", {
      RoleArn,
      RoleSessionName: "s1",
      Policy: allow(["ec2:Describe*", "iam:*"]),
      PolicyArns: [{ arn: "arn:aws:iam::aws:policy/AmazonSSMReadOnlyAccess" }],
    }),
  );
  assert.equal(await world.may(session, "ec2:DescribeImages", "*"), true);
  assert.equal(await world.may(session, "ssm:GetParameter", "*"), true);
  assert.equal(await world.may(session, "ec2:StopInstances", INSTANCE), false);
  assert.equal(await world.may(session, "iam:CreateUser", "*"), false);
  const bad = (more: object) =>
    world.call(world.first.administrator, "AssumeRole", { RoleArn, RoleSessionName: "s1", ...more });
  await refused(bad({ Policy: "{" }), "MalformedPolicyDocument");
  await refused(bad({ PolicyArns: [{ arn: `arn:aws:iam::${FIRST}:policy/none` }] }), "ValidationError");
});

test("durations: the role's most, and an hour in a chain", async (t) => {
  const world = await identityWorld(t);
  const admin = world.first.administrator;
  const RoleArn = await role(world, "r", trust({ AWS: FIRST }), allow("sts:*"), { MaxSessionDuration: 7200 });
  const assume = (credentials: Credentials, DurationSeconds: number) =>
    world.call(credentials, "AssumeRole", { RoleArn, RoleSessionName: "s1", DurationSeconds });
  await refused(assume(admin, 899), "ValidationError");
  await refused(assume(admin, 7201), "ValidationError", /MaxSessionDuration/);
  const session = credentialsIn(await assume(admin, 7200));
  await refused(assume(session, 3601), "ValidationError", /role chaining/);
  await assume(session, 3600);
  world.now = new Date(world.now.getTime() + 7_200_000);
  await assert.rejects(world.callerOf(session), /expired-token/);
});

test("session tags need their permission, are seen by policies, and go down the chain when they may", async (t) => {
  const world = await identityWorld(t);
  const admin = world.first.administrator;
  const plain = await role(world, "plain", trust({ AWS: FIRST }));
  const Tags = [{ Key: "team", Value: "red" }];
  await refused(
    world.call(admin, "AssumeRole", { RoleArn: plain, RoleSessionName: "s1", Tags }),
    "AccessDenied",
    /sts:TagSession/,
  );
  const RoleArn = await role(
    world,
    "tagged",
    trust({ AWS: FIRST }, undefined, ["sts:AssumeRole", "sts:TagSession"]),
    documentOf(
      {
        Effect: "Allow",
        Action: "ec2:*",
        Resource: "*",
        Condition: { StringEquals: { "aws:ResourceTag/team": "${aws:PrincipalTag/team}" } },
      },
      { Effect: "Allow", Action: "sts:*", Resource: "*" },
    ),
  );
  const session = credentialsIn(
    await world.call(admin, "AssumeRole", { RoleArn, RoleSessionName: "s1", Tags, TransitiveTagKeys: ["team"] }),
  );
  assert.equal(await world.may(session, "ec2:StopInstances", INSTANCE, { "aws:ResourceTag/team": "red" }), true);
  assert.equal(await world.may(session, "ec2:StopInstances", INSTANCE, { "aws:ResourceTag/team": "blue" }), false);
  const chained = await world.callerOf(
    credentialsIn(await world.call(session, "AssumeRole", { RoleArn, RoleSessionName: "s2" })),
  );
  assert.deepEqual(chained.tags, { team: "red" });
  await refused(
    world.call(session, "AssumeRole", { RoleArn, RoleSessionName: "s2", Tags: [{ Key: "Team", Value: "blue" }] }),
    "ValidationError",
  );
});

test("a source identity stays, and must be trusted", async (t) => {
  const world = await identityWorld(t);
  const admin = world.first.administrator;
  const plain = await role(world, "plain", trust({ AWS: FIRST }));
  const RoleArn = await role(
    world,
    "r",
    trust({ AWS: FIRST }, undefined, ["sts:AssumeRole", "sts:SetSourceIdentity"]),
    allow("sts:*"),
  );
  const session = credentialsIn(
    await world.call(admin, "AssumeRole", { RoleArn, RoleSessionName: "s1", SourceIdentity: "alice" }),
  );
  assert.equal((await world.callerOf(session)).session?.sourceIdentity, "alice");
  await refused(
    world.call(session, "AssumeRole", { RoleArn, RoleSessionName: "s2", SourceIdentity: "bob" }),
    "AccessDenied",
  );
  await refused(
    world.call(session, "AssumeRole", { RoleArn: plain, RoleSessionName: "s2" }),
    "AccessDenied",
    /SetSourceIdentity/,
  );
  const next = await world.call(session, "AssumeRole", { RoleArn, RoleSessionName: "s2" });
  assert.equal(next.SourceIdentity, "alice");
});

test("sessions end with their role, and by a denial of what was issued before", async (t) => {
  const world = await identityWorld(t);
  const admin = world.first.administrator;
  const RoleArn = await role(world, "r", trust({ AWS: FIRST }));
  const session = credentialsIn(await world.call(admin, "AssumeRole", { RoleArn, RoleSessionName: "s1" }));
  assert.equal(await world.may(session, "ec2:StopInstances", INSTANCE), true);
  await world.call(admin, "PutRolePolicy", {
    RoleName: "r",
    PolicyName: "AWSRevokeOlderSessions",
    PolicyDocument: documentOf({
      Effect: "Deny",
      Action: "*",
      Resource: "*",
      Condition: { DateLessThan: { "aws:TokenIssueTime": new Date(world.now.getTime() + 1000).toISOString() } },
    }),
  });
  assert.equal(await world.may(session, "ec2:StopInstances", INSTANCE), false);
  world.now = new Date(world.now.getTime() + 2000);
  const later = credentialsIn(await world.call(admin, "AssumeRole", { RoleArn, RoleSessionName: "s1" }));
  assert.equal(await world.may(later, "ec2:StopInstances", INSTANCE), true);
  for (const PolicyName of ["p", "AWSRevokeOlderSessions"]) {
    await world.call(admin, "DeleteRolePolicy", { RoleName: "r", PolicyName });
  }
  await world.call(admin, "DeleteRole", { RoleName: "r" });
  await assert.rejects(world.callerOf(later), /unknown-key/);
});

test("GetSessionToken: the user's own permissions, but for IAM; GetFederationToken: what its policy leaves", async (t) => {
  const world = await identityWorld(t);
  const admin = world.first.administrator;
  const token = credentialsIn(await world.call(admin, "GetSessionToken", {}));
  assert.equal((await world.call(token, "GetCallerIdentity", {})).Arn, `arn:aws:iam::${FIRST}:user/admin`);
  assert.equal(await world.may(token, "ec2:StopInstances", INSTANCE), true);
  await refused(world.call(token, "ListUsers", {}), "AccessDenied");
  await refused(
    world.call(token, "GetSessionToken", {}),
    "AccessDenied",
    "Cannot call GetSessionToken with session credentials",
  );
  const federate = async (more: object) =>
    credentialsIn(await world.call(admin, "GetFederationToken", { Name: "guest", ...more }));
  const none = await federate({});
  assert.equal(await world.may(none, "ec2:DescribeImages", "*"), false);
  const some = await federate({ Policy: allow(["ec2:Describe*", "iam:*"]) });
  assert.equal(await world.may(some, "ec2:DescribeImages", "*"), true);
  assert.equal(await world.may(some, "ec2:StopInstances", INSTANCE), false);
  assert.equal(await world.may(some, "iam:ListUsers", "*"), false);
  assert.equal((await world.call(some, "GetCallerIdentity", {})).Arn, `arn:aws:sts::${FIRST}:federated-user/guest`);
  const root = credentialsIn(await world.call(world.first.root, "GetSessionToken", { DurationSeconds: 100_000 }));
  assert.equal((await world.callerOf(root)).session?.expiresAt.getTime(), world.now.getTime() + 3_600_000);
});

test("keys tell their account; messages open for their own account", async (t) => {
  const world = await identityWorld(t);
  const admin = world.first.administrator;
  assert.equal(
    (await world.call(admin, "GetAccessKeyInfo", { AccessKeyId: world.second.root.accessKeyId })).Account,
    SECOND,
  );
  await refused(world.call(admin, "GetAccessKeyInfo", { AccessKeyId: "AKIA" }), "ValidationError");
  const bob = await userWith(world, "bob");
  const caller = await world.callerOf(bob);
  const check: ResourceCheck = {
    action: "ec2:StopInstances",
    resource: INSTANCE,
    keys: { "ec2:InstanceType": "t3.micro" },
  };
  const answer = await world.identity.authorizer.authorize(caller, [check], {});
  assert.ok(!answer.granted);
  const EncodedMessage = world.identity.authorizer.denial("ec2", caller, answer).message.split("message: ")[1];
  const { DecodedMessage } = await world.call(admin, "DecodeAuthorizationMessage", { EncodedMessage });
  const story = JSON.parse(DecodedMessage);
  assert.equal(story.context.action, "ec2:StopInstances");
  assert.ok(story.context.conditions.items.some((item: { key: string }) => item.key === "ec2:InstanceType"));
  await refused(world.call(bob, "DecodeAuthorizationMessage", { EncodedMessage }), "AccessDenied");
  await refused(
    world.call(world.second.administrator, "DecodeAuthorizationMessage", { EncodedMessage }),
    "InvalidAuthorizationMessageException",
  );
});

test("an instance gets its role's credentials when the role trusts EC2, the same until an hour before their end", async (t) => {
  const world = await identityWorld(t);
  const roleArn = await role(world, "web", trust({ Service: "ec2.amazonaws.com" }));
  const instance = { instanceId: "i-1", accountId: FIRST, region: "us-east-1", roleArn };
  const issue = () => issueInstanceCredentials(world, instance, "2.0", world.now);
  const first = await issue();
  const caller = await world.callerOf(first);
  assert.equal(caller.arn, `arn:aws:sts::${FIRST}:assumed-role/web/i-1`);
  assert.ok(caller.kind === "assumed-role");
  assert.deepEqual(caller.instance, { instanceId: "i-1", instanceArn: INSTANCE, roleDelivery: "2.0" });
  assert.equal(await world.may(first, "ec2:StopInstances", INSTANCE), true);
  assert.equal((await issue()).accessKeyId, first.accessKeyId);
  world.now = new Date(world.now.getTime() + 5 * 3_600_000);
  const next = await issue();
  assert.notEqual(next.accessKeyId, first.accessKeyId);
  assert.ok((await world.callerOf(first)).session, "the old ones are good until their end");
  await world.call(world.first.administrator, "UpdateAssumeRolePolicy", {
    RoleName: "web",
    PolicyDocument: trust({ Service: "ssm.amazonaws.com" }),
  });
  await refused(issue(), "AccessDenied", /trust policy/);
  await refused(
    issueInstanceCredentials(world, { ...instance, roleArn: `${roleArn}x` }, "2.0", world.now),
    "AccessDenied",
    /no such role/,
  );
});

test("federation from outside is refused in so many words", async (t) => {
  const world = await identityWorld(t);
  const admin = world.first.administrator;
  await refused(world.call(admin, "AssumeRoleWithWebIdentity", {}), "InvalidIdentityToken", /none is configured/);
  await refused(world.call(admin, "AssumeRoleWithSAML", {}), "InvalidIdentityToken", /none is configured/);
});

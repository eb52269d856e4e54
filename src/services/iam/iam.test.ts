// biome-ignore-all lint/suspicious/noTemplateCurlyInString: policy variables look like that
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  allow,
  documentOf,
  FIRST,
  identityWorld,
  refused,
  SECOND,
  userWith,
} from "../../../test/support/identity-world.ts";

const TRUST_EC2 = documentOf({
  Effect: "Allow",
  Principal: { Service: "ec2.amazonaws.com" },
  Action: "sts:AssumeRole",
});
const READ_ONLY = "arn:aws:iam::aws:policy/AmazonEC2ReadOnlyAccess";

test("users: made, found whatever the case, renamed, deleted", async (t) => {
  const world = await identityWorld(t);
  const admin = world.first.administrator;
  const { User } = await world.call(admin, "CreateUser", {
    UserName: "Bob",
    Path: "/team/",
    Tags: [{ Key: "a", Value: "1" }],
  });
  assert.equal(User?.Arn, `arn:aws:iam::${FIRST}:user/team/Bob`);
  assert.match(User?.UserId ?? "", /^AIDA[A-Z2-7]{17}$/);
  await refused(
    world.call(admin, "CreateUser", { UserName: "bob" }),
    "EntityAlreadyExists",
    "User with name bob already exists.",
  );
  assert.equal((await world.call(admin, "GetUser", { UserName: "BOB" })).User?.UserName, "Bob");
  await world.call(admin, "UpdateUser", { UserName: "bob", NewUserName: "Robert", NewPath: "/" });
  const found = await world.call(admin, "GetUser", { UserName: "robert" });
  assert.equal(found.User?.Arn, `arn:aws:iam::${FIRST}:user/Robert`);
  assert.equal(found.User?.UserId, User?.UserId);
  assert.deepEqual(found.User?.Tags, [{ Key: "a", Value: "1" }]);
  await refused(
    world.call(admin, "GetUser", { UserName: "Bob" }),
    "NoSuchEntity",
    "The user with name Bob cannot be found.",
  );
  await world.call(admin, "DeleteUser", { UserName: "Robert" });
  await refused(world.call(admin, "DeleteUser", { UserName: "Robert" }), "NoSuchEntity");
});

test("a user may not be renamed onto another's name", async (t) => {
  const world = await identityWorld(t);
  const admin = world.first.administrator;
  await world.call(admin, "CreateUser", { UserName: "a" });
  await world.call(admin, "CreateUser", { UserName: "b" });
  await refused(world.call(admin, "UpdateUser", { UserName: "a", NewUserName: "B" }), "EntityAlreadyExists");
  await world.call(admin, "UpdateUser", { UserName: "a", NewUserName: "A" });
});

test("names and paths that IAM does not take are refused, with the parameter's name", async (t) => {
  const world = await identityWorld(t);
  const admin = world.first.administrator;
  for (const UserName of ["", "a/b", "a b", "ü", "x".repeat(65), undefined]) {
    await refused(world.call(admin, "CreateUser", { UserName }), "ValidationError", /userName/);
  }
  for (const Path of ["team", "/team", "team/", "/ü/"]) {
    await refused(world.call(admin, "CreateUser", { UserName: "a", Path }), "ValidationError", /path/);
  }
});

test("a user is deleted only when nothing hangs on it", async (t) => {
  const world = await identityWorld(t);
  const admin = world.first.administrator;
  const { accessKeyId } = await userWith(world, "bob", allow("ec2:*"));
  await world.call(admin, "CreateGroup", { GroupName: "g" });
  await world.call(admin, "AddUserToGroup", { GroupName: "g", UserName: "bob" });
  await world.call(admin, "AttachUserPolicy", { UserName: "bob", PolicyArn: READ_ONLY });
  const attempt = (message: string) =>
    refused(world.call(admin, "DeleteUser", { UserName: "bob" }), "DeleteConflict", message);
  await attempt("Cannot delete entity, must delete access keys first.");
  await world.call(admin, "DeleteAccessKey", { UserName: "bob", AccessKeyId: accessKeyId });
  await attempt("Cannot delete entity, must remove user from all groups first.");
  await world.call(admin, "RemoveUserFromGroup", { GroupName: "g", UserName: "bob" });
  await attempt("Cannot delete entity, must detach all policies first.");
  await world.call(admin, "DetachUserPolicy", { UserName: "bob", PolicyArn: READ_ONLY });
  await attempt("Cannot delete entity, must delete policies first.");
  await world.call(admin, "DeleteUserPolicy", { UserName: "bob", PolicyName: "policy" });
  await world.call(admin, "DeleteUser", { UserName: "bob" });
});

test("lists come in pages, by name, within a path", async (t) => {
  const world = await identityWorld(t);
  const admin = world.first.administrator;
  for (const name of ["c", "B", "d", "a"]) await world.call(admin, "CreateUser", { UserName: name, Path: "/p/" });
  await world.call(admin, "CreateUser", { UserName: "e", Path: "/P/" });
  const names: (string | undefined)[] = [];
  let Marker: string | undefined;
  let pages = 0;
  do {
    const page = await world.call(admin, "ListUsers", { PathPrefix: "/p", MaxItems: 3, Marker });
    names.push(...(page.Users ?? []).map((user) => user.UserName));
    Marker = "Marker" in page ? page.Marker : undefined;
    assert.equal(page.IsTruncated, Marker !== undefined);
    pages++;
  } while (Marker !== undefined);
  assert.deepEqual(names, ["a", "B", "c", "d"]);
  assert.equal(pages, 2);
  await refused(world.call(admin, "ListUsers", { Marker: "!!" }), "ValidationError");
  await refused(world.call(admin, "ListUsers", { MaxItems: 1001 }), "ValidationError");
});

test("a user has two keys at most, lists them without secrets, and a switched off key is no key", async (t) => {
  const world = await identityWorld(t);
  const admin = world.first.administrator;
  const bob = await userWith(
    world,
    "bob",
    allow(["iam:*AccessKey*", "iam:GetUser"], `arn:aws:iam::${FIRST}:user/\${aws:username}`),
  );
  const { AccessKey: second } = await world.call(bob, "CreateAccessKey", {});
  assert.equal(second.UserName, "bob");
  assert.equal(second.SecretAccessKey.length, 40);
  await refused(
    world.call(bob, "CreateAccessKey", {}),
    "LimitExceeded",
    "Cannot exceed quota for AccessKeysPerUser: 2",
  );
  const { AccessKeyMetadata: keys } = await world.call(bob, "ListAccessKeys", {});
  assert.deepEqual(keys.map((key) => key.AccessKeyId).sort(), [bob.accessKeyId, second.AccessKeyId].sort());
  assert.ok(!JSON.stringify(keys).includes(second.SecretAccessKey));
  await refused(world.call(bob, "CreateAccessKey", { UserName: "admin" }), "AccessDenied");
  await world.call(bob, "UpdateAccessKey", { AccessKeyId: second.AccessKeyId, Status: "Inactive" });
  await assert.rejects(world.callerOf({ accessKeyId: second.AccessKeyId }), /inactive-key/);
  await world.call(bob, "UpdateAccessKey", { AccessKeyId: second.AccessKeyId, Status: "Active" });
  assert.equal((await world.call({ accessKeyId: second.AccessKeyId }, "GetUser", {})).User?.UserName, "bob");
  await world.call(bob, "DeleteAccessKey", { AccessKeyId: second.AccessKeyId });
  await assert.rejects(world.callerOf({ accessKeyId: second.AccessKeyId }), /unknown-key/);
  // Somebody else's key is not found under this user.
  await refused(
    world.call(admin, "DeleteAccessKey", { UserName: "bob", AccessKeyId: admin.accessKeyId }),
    "NoSuchEntity",
    `The Access Key with id ${admin.accessKeyId} cannot be found.`,
  );
});

test("a key tells when, where and for what it was last used", async (t) => {
  const world = await identityWorld(t);
  const { administrator, root } = world.first;
  const asked = () => world.call(administrator, "GetAccessKeyLastUsed", { AccessKeyId: root.accessKeyId });
  assert.deepEqual((await asked()).AccessKeyLastUsed, { ServiceName: "N/A", Region: "N/A" });
  const caller = await world.callerOf(root);
  world.identity.lastUsed.note(caller, "ec2", "eu-west-1", world.now);
  await world.identity.lastUsed.settled();
  assert.deepEqual((await asked()).AccessKeyLastUsed, {
    LastUsedDate: world.now,
    ServiceName: "ec2",
    Region: "eu-west-1",
  });
});

test("groups give their members what they may, and take it back at once", async (t) => {
  const world = await identityWorld(t);
  const admin = world.first.administrator;
  const bob = await userWith(world, "bob");
  const image = "arn:aws:ec2:us-east-1::image/ami-1";
  await world.call(admin, "CreateGroup", { GroupName: "builders" });
  await world.call(admin, "PutGroupPolicy", {
    GroupName: "builders",
    PolicyName: "p",
    PolicyDocument: allow("ec2:*Image"),
  });
  assert.equal(await world.may(bob, "ec2:CreateImage", image), false);
  await world.call(admin, "AddUserToGroup", { GroupName: "builders", UserName: "bob" });
  await world.call(admin, "AddUserToGroup", { GroupName: "Builders", UserName: "Bob" });
  assert.equal(await world.may(bob, "ec2:CreateImage", image), true);
  assert.deepEqual(
    (await world.call(admin, "GetGroup", { GroupName: "builders" })).Users?.map((u) => u.UserName),
    ["bob"],
  );
  assert.deepEqual(
    (await world.call(admin, "ListGroupsForUser", { UserName: "bob" })).Groups?.map((g) => g.GroupName),
    ["builders"],
  );
  await refused(world.call(admin, "DeleteGroup", { GroupName: "builders" }), "DeleteConflict");
  await world.call(admin, "RemoveUserFromGroup", { GroupName: "builders", UserName: "bob" });
  assert.equal(await world.may(bob, "ec2:CreateImage", image), false);
});

test("managed policies: five versions, one in force, attached by many, deleted last", async (t) => {
  const world = await identityWorld(t);
  const admin = world.first.administrator;
  const bob = await userWith(world, "bob");
  const image = "arn:aws:ec2:us-east-1::image/ami-1";
  const { Policy } = await world.call(admin, "CreatePolicy", {
    PolicyName: "p",
    PolicyDocument: allow("ec2:CreateImage"),
  });
  const PolicyArn = Policy?.Arn ?? "";
  assert.equal(PolicyArn, `arn:aws:iam::${FIRST}:policy/p`);
  await world.call(admin, "AttachUserPolicy", { UserName: "bob", PolicyArn });
  assert.equal(await world.may(bob, "ec2:CreateImage", image), true);
  const second = await world.call(admin, "CreatePolicyVersion", { PolicyArn, PolicyDocument: allow("ec2:CopyImage") });
  assert.deepEqual([second.PolicyVersion.VersionId, second.PolicyVersion.IsDefaultVersion], ["v2", false]);
  assert.equal(await world.may(bob, "ec2:CreateImage", image), true);
  await world.call(admin, "SetDefaultPolicyVersion", { PolicyArn, VersionId: "v2" });
  assert.equal(await world.may(bob, "ec2:CreateImage", image), false);
  assert.equal(await world.may(bob, "ec2:CopyImage", image), true);
  for (const _ of [3, 4, 5]) {
    await world.call(admin, "CreatePolicyVersion", { PolicyArn, PolicyDocument: allow("ec2:*"), SetAsDefault: true });
  }
  await refused(
    world.call(admin, "CreatePolicyVersion", { PolicyArn, PolicyDocument: allow("ec2:*") }),
    "LimitExceeded",
  );
  await refused(
    world.call(admin, "DeletePolicyVersion", { PolicyArn, VersionId: "v5" }),
    "DeleteConflict",
    "Cannot delete the default version of a policy.",
  );
  await world.call(admin, "DeletePolicyVersion", { PolicyArn, VersionId: "v1" });
  const next = await world.call(admin, "CreatePolicyVersion", { PolicyArn, PolicyDocument: allow("ec2:*") });
  assert.equal(next.PolicyVersion.VersionId, "v6", "numbers are never used again");
  const { Versions } = await world.call(admin, "ListPolicyVersions", { PolicyArn });
  assert.deepEqual(
    Versions.map((each) => each.VersionId),
    ["v6", "v5", "v4", "v3", "v2"],
  );
  await refused(
    world.call(admin, "DeletePolicy", { PolicyArn }),
    "DeleteConflict",
    "Cannot delete a policy attached to entities.",
  );
  await world.call(admin, "DetachUserPolicy", { UserName: "bob", PolicyArn });
  await refused(world.call(admin, "DeletePolicy", { PolicyArn }), "DeleteConflict", /more than one version/);
  for (const VersionId of ["v2", "v3", "v4", "v6"]) {
    await world.call(admin, "DeletePolicyVersion", { PolicyArn, VersionId });
  }
  await world.call(admin, "DeletePolicy", { PolicyArn });
  await refused(world.call(admin, "GetPolicy", { PolicyArn }), "NoSuchEntity", `Policy ${PolicyArn} was not found.`);
});

test("documents come back as they were given, percent-encoded", async (t) => {
  const world = await identityWorld(t);
  const admin = world.first.administrator;
  const document = `{\n "Version": "2012-10-17",\n "Statement": [{"Effect":"Allow","Action":"s3:*","Resource":"*","Sid":"A"}]\n}`;
  await world.call(admin, "PutUserPolicy", { UserName: "admin", PolicyName: "p", PolicyDocument: document });
  const answer = await world.call(admin, "GetUserPolicy", { UserName: "admin", PolicyName: "p" });
  assert.ok(!/[*'() ]/.test(answer.PolicyDocument));
  assert.equal(decodeURIComponent(answer.PolicyDocument), document);
  assert.equal(answer.UserName, "admin");
});

test("Amazon's own policies are found, attached, and changed by nobody", async (t) => {
  const world = await identityWorld(t);
  const admin = world.first.administrator;
  const { Policies } = await world.call(admin, "ListPolicies", { Scope: "AWS" });
  for (const name of [
    "ReadOnlyAccess",
    "AdministratorAccess",
    "PowerUserAccess",
    "AmazonEC2FullAccess",
    "AmazonEC2ReadOnlyAccess",
    "IAMFullAccess",
    "AmazonSSMManagedInstanceCore",
  ]) {
    assert.ok(
      Policies.some((policy) => policy.Arn === `arn:aws:iam::aws:policy/${name}`),
      name,
    );
  }
  await refused(world.call(admin, "DeletePolicy", { PolicyArn: READ_ONLY }), "AccessDenied");
  const version = await world.call(admin, "GetPolicyVersion", { PolicyArn: READ_ONLY, VersionId: "v1" });
  assert.match(decodeURIComponent(version.PolicyVersion.Document), /ec2:Describe\*/);
  const attached = await world.call(admin, "ListPolicies", { Scope: "AWS", OnlyAttached: true });
  assert.deepEqual(
    attached.Policies.map((policy) => policy.PolicyName),
    ["AdministratorAccess"],
  );
});

test("ten managed policies and no more; twice the same is once", async (t) => {
  const world = await identityWorld(t);
  const admin = world.first.administrator;
  await world.call(admin, "CreateUser", { UserName: "bob" });
  for (let n = 0; n < 11; n++) {
    const { Policy } = await world.call(admin, "CreatePolicy", { PolicyName: `p${n}`, PolicyDocument: allow("ec2:*") });
    const attach = () => world.call(admin, "AttachUserPolicy", { UserName: "bob", PolicyArn: Policy?.Arn });
    if (n < 10) await attach();
    else await refused(attach(), "LimitExceeded", "Cannot exceed quota for PoliciesPerUser: 10");
    if (n === 9) await attach();
  }
  const missing = `arn:aws:iam::${FIRST}:policy/none`;
  await refused(
    world.call(admin, "AttachUserPolicy", { UserName: "bob", PolicyArn: missing }),
    "NoSuchEntity",
    `Policy ${missing} does not exist or is not attachable.`,
  );
});

test("policies are held to IAM's sizes", async (t) => {
  const world = await identityWorld(t);
  const admin = world.first.administrator;
  const long = (chars: number) => allow("ec2:*", `arn:aws:ec2:*:*:instance/${"x".repeat(chars)}`);
  const put = (PolicyDocument: string) =>
    world.call(admin, "PutUserPolicy", { UserName: "admin", PolicyName: "p", PolicyDocument });
  await put(long(1500));
  await put(`${long(1500)}${" ".repeat(1000)}`);
  await refused(put(long(2048)), "LimitExceeded", "Maximum policy size of 2048 bytes exceeded for user admin");
  await refused(
    world.call(admin, "PutUserPolicy", { UserName: "admin", PolicyName: "q", PolicyDocument: long(1500) }),
    "LimitExceeded",
  );
  await refused(
    world.call(admin, "CreatePolicy", { PolicyName: "p", PolicyDocument: long(6144) }),
    "LimitExceeded",
    "Cannot exceed quota for PolicySize: 6144",
  );
});

test("a boundary bounds, and needs to exist", async (t) => {
  const world = await identityWorld(t);
  const admin = world.first.administrator;
  const bob = await userWith(world, "bob", allow("*"));
  const instance = `arn:aws:ec2:us-east-1:${FIRST}:instance/i-1`;
  await world.call(admin, "PutUserPermissionsBoundary", { UserName: "bob", PermissionsBoundary: READ_ONLY });
  assert.equal(await world.may(bob, "ec2:StopInstances", instance), false);
  assert.equal(await world.may(bob, "ec2:DescribeImages", "*"), true);
  assert.equal(
    (await world.call(admin, "GetUser", { UserName: "bob" })).User?.PermissionsBoundary?.PermissionsBoundaryArn,
    READ_ONLY,
  );
  await refused(
    world.call(admin, "PutUserPermissionsBoundary", {
      UserName: "bob",
      PermissionsBoundary: `arn:aws:iam::${FIRST}:policy/none`,
    }),
    "NoSuchEntity",
  );
  await world.call(admin, "DeleteUserPermissionsBoundary", { UserName: "bob" });
  assert.equal(await world.may(bob, "ec2:StopInstances", instance), true);
});

test("a delegated administrator can only make users within the boundary", async (t) => {
  const world = await identityWorld(t);
  const deputy = await userWith(
    world,
    "deputy",
    allow("iam:CreateUser", "*", { StringEquals: { "iam:PermissionsBoundary": READ_ONLY } }),
  );
  await refused(world.call(deputy, "CreateUser", { UserName: "x" }), "AccessDenied");
  await refused(
    world.call(deputy, "CreateUser", {
      UserName: "x",
      PermissionsBoundary: "arn:aws:iam::aws:policy/AdministratorAccess",
    }),
    "AccessDenied",
  );
  await world.call(deputy, "CreateUser", { UserName: "x", PermissionsBoundary: READ_ONLY });
});

test("roles: trust is checked when written, and given to the user, not to the name", async (t) => {
  const world = await identityWorld(t);
  const admin = world.first.administrator;
  const create = (AssumeRolePolicyDocument: string) =>
    world.call(admin, "CreateRole", { RoleName: "r", AssumeRolePolicyDocument });
  await refused(create("{"), "MalformedPolicyDocument");
  await refused(
    create(allow("sts:AssumeRole")),
    "MalformedPolicyDocument",
    /Has prohibited field Resource|Missing required field Principal/,
  );
  const nobody = `arn:aws:iam::${FIRST}:user/nobody`;
  const trust = documentOf({ Effect: "Allow", Principal: { AWS: nobody }, Action: "sts:AssumeRole" });
  await refused(create(trust), "MalformedPolicyDocument", `Invalid principal in policy: "AWS":"${nobody}"`);
  const nobody1 = await userWith(world, "nobody");
  const { Role } = await create(trust);
  assert.equal(Role?.Arn, `arn:aws:iam::${FIRST}:role/r`);
  assert.equal(decodeURIComponent(Role?.AssumeRolePolicyDocument ?? ""), trust);
  const assume = { RoleArn: Role?.Arn, RoleSessionName: "session" };
  await world.call(nobody1, "AssumeRole", assume);
  await world.call(admin, "DeleteAccessKey", { UserName: "nobody", AccessKeyId: nobody1.accessKeyId });
  await world.call(admin, "DeleteUser", { UserName: "nobody" });
  const nobody2 = await userWith(world, "nobody");
  await refused(world.call(nobody2, "AssumeRole", assume), "AccessDenied");
});

test("instance profiles hold one role, which the caller must be allowed to pass", async (t) => {
  const world = await identityWorld(t);
  const admin = world.first.administrator;
  await world.call(admin, "CreateRole", { RoleName: "web", AssumeRolePolicyDocument: TRUST_EC2, Path: "/app/" });
  await world.call(admin, "CreateRole", { RoleName: "other", AssumeRolePolicyDocument: TRUST_EC2 });
  await world.call(admin, "CreateInstanceProfile", { InstanceProfileName: "web" });
  const deputy = await userWith(world, "deputy", allow("iam:AddRoleToInstanceProfile"));
  const add = { InstanceProfileName: "web", RoleName: "web" };
  await refused(world.call(deputy, "AddRoleToInstanceProfile", add), "AccessDenied", /iam:PassRole/);
  await world.call(admin, "AddRoleToInstanceProfile", add);
  await refused(
    world.call(admin, "AddRoleToInstanceProfile", { ...add, RoleName: "other" }),
    "LimitExceeded",
    "Cannot exceed quota for InstanceSessionsPerInstanceProfile: 1",
  );
  const { InstanceProfile } = await world.call(admin, "GetInstanceProfile", { InstanceProfileName: "web" });
  assert.equal(InstanceProfile?.Roles?.[0]?.Arn, `arn:aws:iam::${FIRST}:role/app/web`);
  const { InstanceProfiles } = await world.call(admin, "ListInstanceProfilesForRole", { RoleName: "web" });
  assert.deepEqual(
    InstanceProfiles.map((profile) => profile.InstanceProfileName),
    ["web"],
  );
  await refused(world.call(admin, "DeleteRole", { RoleName: "web" }), "DeleteConflict");
  await refused(world.call(admin, "DeleteInstanceProfile", { InstanceProfileName: "web" }), "DeleteConflict");
  await world.call(admin, "RemoveRoleFromInstanceProfile", add);
  await world.call(admin, "DeleteInstanceProfile", { InstanceProfileName: "web" });
  await world.call(admin, "DeleteRole", { RoleName: "web" });
});

test("tags: keys whatever their case, fifty of them, none of Amazon's", async (t) => {
  const world = await identityWorld(t);
  const admin = world.first.administrator;
  const tag = (Tags: { Key: string; Value: string }[]) => world.call(admin, "TagUser", { UserName: "admin", Tags });
  await tag([{ Key: "Team", Value: "a" }]);
  await tag([{ Key: "team", Value: "b" }]);
  assert.deepEqual((await world.call(admin, "ListUserTags", { UserName: "admin" })).Tags, [
    { Key: "team", Value: "b" },
  ]);
  await refused(
    tag([
      { Key: "a", Value: "" },
      { Key: "A", Value: "" },
    ]),
    "InvalidInput",
  );
  await refused(tag([{ Key: "aws:x", Value: "" }]), "InvalidInput");
  await refused(tag(Array.from({ length: 50 }, (_, n) => ({ Key: `k${n}`, Value: "" }))), "LimitExceeded");
  await world.call(admin, "UntagUser", { UserName: "admin", TagKeys: ["TEAM"] });
  assert.deepEqual((await world.call(admin, "ListUserTags", { UserName: "admin" })).Tags, []);
});

test("nothing of one account is found in another", async (t) => {
  const world = await identityWorld(t);
  const [one, two] = [world.first.administrator, world.second.administrator];
  await world.call(one, "CreateUser", { UserName: "secret" });
  const { Policy } = await world.call(one, "CreatePolicy", { PolicyName: "secret", PolicyDocument: allow("*") });
  await refused(world.call(two, "GetUser", { UserName: "secret" }), "NoSuchEntity");
  await refused(world.call(two, "GetPolicy", { PolicyArn: Policy?.Arn }), "AccessDenied");
  await refused(world.call(two, "AttachUserPolicy", { UserName: "admin", PolicyArn: Policy?.Arn }), "NoSuchEntity");
  await refused(
    world.call(two, "CreatePolicyVersion", { PolicyArn: Policy?.Arn, PolicyDocument: allow("*") }),
    "AccessDenied",
  );
  assert.deepEqual(
    (await world.call(two, "ListUsers", {})).Users?.map((user) => user.UserName),
    ["admin"],
  );
  const key = { UserName: "admin", AccessKeyId: one.accessKeyId };
  await refused(world.call(two, "DeleteAccessKey", key), "NoSuchEntity");
  assert.equal(world.second.id, SECOND);
});

test("account: alias, summary, and what nobody has here", async (t) => {
  const world = await identityWorld(t);
  const admin = world.first.administrator;
  await world.call(admin, "CreateAccountAlias", { AccountAlias: "first-account" });
  assert.deepEqual((await world.call(admin, "ListAccountAliases", {})).AccountAliases, ["first-account"]);
  await refused(
    world.call(world.second.administrator, "CreateAccountAlias", { AccountAlias: "first-account" }),
    "EntityAlreadyExists",
  );
  await world.call(admin, "DeleteAccountAlias", { AccountAlias: "first-account" });
  const { SummaryMap } = await world.call(admin, "GetAccountSummary", {});
  assert.deepEqual([SummaryMap.Users, SummaryMap.AccountAccessKeysPresent], [1, 1]);
  assert.deepEqual((await world.call(admin, "ListMFADevices", { UserName: "admin" })).MFADevices, []);
  await refused(world.call(admin, "GetLoginProfile", { UserName: "admin" }), "NoSuchEntity");
  await refused(world.call(admin, "GetAccountPasswordPolicy", {}), "NoSuchEntity");
});

test("authorization details hold every document", async (t) => {
  const world = await identityWorld(t);
  const admin = world.first.administrator;
  await userWith(world, "bob", allow("ec2:StopInstances"));
  await world.call(admin, "CreateRole", { RoleName: "r", AssumeRolePolicyDocument: TRUST_EC2 });
  await world.call(admin, "CreatePolicy", { PolicyName: "p", PolicyDocument: allow("ec2:StartInstances") });
  await world.call(admin, "CreateGroup", { GroupName: "g" });
  const all = await world.call(admin, "GetAccountAuthorizationDetails", {});
  assert.deepEqual(
    all.UserDetailList.map((user) => user.UserName),
    ["admin", "bob"],
  );
  assert.match(decodeURIComponent(all.UserDetailList[1]?.UserPolicyList?.[0]?.PolicyDocument ?? ""), /StopInstances/);
  assert.deepEqual(
    all.Policies.map((policy) => policy.PolicyName),
    ["p", "AdministratorAccess"],
  );
  assert.deepEqual([all.RoleDetailList.length, all.GroupDetailList.length], [1, 1]);
  const users = await world.call(admin, "GetAccountAuthorizationDetails", { Filter: ["User"], MaxItems: 1 });
  assert.deepEqual([users.UserDetailList.length, users.IsTruncated, users.Policies.length], [1, true, 0]);
});

test("simulation answers as the door would, and points at the statement", async (t) => {
  const world = await identityWorld(t);
  const admin = world.first.administrator;
  const document = documentOf(
    { Effect: "Allow", Action: "ec2:*", Resource: "*" },
    {
      Effect: "Deny",
      Action: "ec2:TerminateInstances",
      Resource: "*",
      Condition: { Bool: { "aws:MultiFactorAuthPresent": "false" } },
    },
  );
  await userWith(world, "bob", document);
  const { EvaluationResults: results } = await world.call(admin, "SimulatePrincipalPolicy", {
    PolicySourceArn: `arn:aws:iam::${FIRST}:user/bob`,
    ActionNames: ["ec2:StopInstances", "ec2:TerminateInstances", "iam:GetUser"],
    ContextEntries: [
      { ContextKeyName: "aws:MultiFactorAuthPresent", ContextKeyType: "boolean", ContextKeyValues: ["false"] },
    ],
  });
  assert.deepEqual(
    results.map((each) => [each.EvalActionName, each.EvalDecision, each.MatchedStatements?.[0]?.SourcePolicyId]),
    [
      ["ec2:StopInstances", "allowed", "user_bob_policy"],
      ["ec2:TerminateInstances", "explicitDeny", "user_bob_policy"],
      ["iam:GetUser", "implicitDeny", undefined],
    ],
  );
  const deny = results[1]?.MatchedStatements?.[0];
  const [from, to] = [deny?.StartPosition?.Column ?? 0, deny?.EndPosition?.Column ?? 0];
  assert.equal(JSON.parse(document.slice(from - 1, to)).Effect, "Deny");
  const custom = await world.call(admin, "SimulateCustomPolicy", {
    PolicyInputList: [document],
    ActionNames: ["ec2:TerminateInstances"],
  });
  assert.equal(custom.EvaluationResults[0]?.EvalDecision, "allowed");
  assert.deepEqual(custom.EvaluationResults[0]?.MissingContextValues, ["aws:MultiFactorAuthPresent"]);
  const keys = await world.call(admin, "GetContextKeysForCustomPolicy", {
    PolicyInputList: [
      allow("s3:*", "arn:aws:s3:::b/${aws:username}/*", { StringLike: { "s3:prefix": "${aws:PrincipalTag/x, 'a'}" } }),
    ],
  });
  assert.deepEqual(keys.ContextKeyNames, ["aws:username", "s3:prefix", "aws:PrincipalTag/x"]);
});

test("simulation minds boundaries: allowed by one that allows and does not deny", async (t) => {
  const world = await identityWorld(t);
  const admin = world.first.administrator;
  const boundary = documentOf(
    { Effect: "Allow", Action: "ec2:*", Resource: "*" },
    { Effect: "Deny", Action: "ec2:TerminateInstances", Resource: "*" },
  );
  const { Policy } = await world.call(admin, "CreatePolicy", { PolicyName: "limit", PolicyDocument: boundary });
  await userWith(world, "bob", allow(["ec2:StopInstances", "ec2:TerminateInstances", "iam:GetUser"]));
  await world.call(admin, "PutUserPermissionsBoundary", { UserName: "bob", PermissionsBoundary: Policy?.Arn });
  const ActionNames = ["ec2:StopInstances", "ec2:TerminateInstances", "iam:GetUser", "ec2:RunInstances"];
  const verdicts = [
    ["allowed", true],
    ["explicitDeny", false],
    ["implicitDeny", false],
    ["implicitDeny", true],
  ];
  const PolicySourceArn = `arn:aws:iam::${FIRST}:user/bob`;
  const { EvaluationResults: own } = await world.call(admin, "SimulatePrincipalPolicy", {
    PolicySourceArn,
    ActionNames,
  });
  const { EvaluationResults: custom } = await world.call(admin, "SimulateCustomPolicy", {
    PolicyInputList: [allow(["ec2:StopInstances", "ec2:TerminateInstances", "iam:GetUser"])],
    PermissionsBoundaryPolicyInputList: [boundary],
    ActionNames,
  });
  for (const results of [own, custom]) {
    assert.deepEqual(
      results.map((each) => [each.EvalDecision, each.PermissionsBoundaryDecisionDetail?.AllowedByPermissionsBoundary]),
      verdicts,
    );
    assert.ok(results.every((each) => each.OrganizationsDecisionDetail === undefined));
  }
});

test("every action of the table is named as its permission and its schema are", async () => {
  const { iamOperations } = await import("./operations.ts");
  const { stsOperations } = await import("../sts/operations.ts");
  for (const [service, operations] of Object.entries({ iam: iamOperations, sts: stsOperations })) {
    for (const [name, { action, schema }] of Object.entries(operations)) {
      assert.equal(action, `${service}:${name}`);
      assert.equal(schema[2], name);
    }
  }
});

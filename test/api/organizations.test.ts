// Organizations from outside: accounts at once, policies that limit, images shared with an organization and its units.
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  DescribeImagesCommand,
  DescribeRegionsCommand,
  EC2Client,
  ModifyImageAttributeCommand,
  RegisterImageCommand,
  RunInstancesCommand,
} from "@aws-sdk/client-ec2";
import { IAMClient, SimulatePrincipalPolicyCommand } from "@aws-sdk/client-iam";
import {
  AttachPolicyCommand,
  CloseAccountCommand,
  CreateAccountCommand,
  CreateOrganizationalUnitCommand,
  CreateOrganizationCommand,
  CreatePolicyCommand,
  DeleteOrganizationalUnitCommand,
  DeleteOrganizationCommand,
  DeletePolicyCommand,
  DescribeAccountCommand,
  DescribeCreateAccountStatusCommand,
  DescribeOrganizationCommand,
  DetachPolicyCommand,
  DisablePolicyTypeCommand,
  EnablePolicyTypeCommand,
  InviteAccountToOrganizationCommand,
  ListAccountsCommand,
  ListAccountsForParentCommand,
  ListChildrenCommand,
  ListHandshakesForOrganizationCommand,
  ListOrganizationalUnitsForParentCommand,
  ListParentsCommand,
  ListPoliciesForTargetCommand,
  ListRootsCommand,
  ListTargetsForPolicyCommand,
  MoveAccountCommand,
  OrganizationsClient,
  UpdatePolicyCommand,
} from "@aws-sdk/client-organizations";
import { AssumeRoleCommand, GetCallerIdentityCommand, STSClient } from "@aws-sdk/client-sts";
import { type Keys, type Platform, startPlatform } from "../support/platform.ts";
import { smallSnapshot } from "../support/small-snapshot.ts";

const refused = (call: Promise<unknown>): Promise<string> =>
  call.then(
    () => "no error",
    (error: unknown) => (error instanceof Error ? error.name : "?"),
  );

const policyOf = (...statements: object[]): string => JSON.stringify({ Version: "2012-10-17", Statement: statements });

/** An organization of the first account, with one member and its administrator's session. */
async function organization(platform: Platform) {
  const organizations = platform.client(OrganizationsClient);
  const { Organization: made } = await organizations.send(new CreateOrganizationCommand({}));
  const { Roots: roots = [] } = await organizations.send(new ListRootsCommand({}));
  const root = roots[0]?.Id ?? "";
  const { CreateAccountStatus: status } = await organizations.send(
    new CreateAccountCommand({ AccountName: "Builders", Email: "builders@example.com" }),
  );
  assert.equal(status?.State, "SUCCEEDED");
  const member = status.AccountId ?? "";
  return { organizations, made, root, member, status, keys: await administratorOf(platform, member) };
}

async function administratorOf({ sts }: Platform, account: string): Promise<Keys> {
  const { Credentials: found } = await sts.send(
    new AssumeRoleCommand({
      RoleArn: `arn:aws:iam::${account}:role/OrganizationAccountAccessRole`,
      RoleSessionName: "test",
    }),
  );
  return {
    accessKeyId: found?.AccessKeyId ?? "",
    secretAccessKey: found?.SecretAccessKey ?? "",
    sessionToken: found?.SessionToken ?? "",
  };
}

test("an organization, its accounts and its units", async (t) => {
  const platform = await startPlatform(t);
  const { organizations, made, root, member, status } = await organization(platform);
  assert.match(made?.Id ?? "", /^o-[a-z0-9]{10}$/);
  assert.equal(await refused(organizations.send(new CreateOrganizationCommand({}))), "AlreadyInOrganizationException");
  const asked = await organizations.send(
    new DescribeCreateAccountStatusCommand({ CreateAccountRequestId: status.Id ?? "" }),
  );
  assert.equal(asked.CreateAccountStatus?.AccountId, member);
  const again = await organizations.send(
    new CreateAccountCommand({ AccountName: "Others", Email: "builders@example.com" }),
  );
  assert.equal(again.CreateAccountStatus?.FailureReason, "EMAIL_ALREADY_EXISTS");

  const keys = await administratorOf(platform, member);
  const inMember = platform.client(OrganizationsClient, keys);
  const identity = await platform.client(STSClient, keys).send(new GetCallerIdentityCommand({}));
  assert.equal(identity.Account, member);
  assert.equal((await inMember.send(new DescribeOrganizationCommand({}))).Organization?.Id, made?.Id);
  assert.equal(await refused(inMember.send(new ListAccountsCommand({}))), "AccessDeniedException");

  const { OrganizationalUnit: unit } = await organizations.send(
    new CreateOrganizationalUnitCommand({ ParentId: root, Name: "Images" }),
  );
  const ou = unit?.Id ?? "";
  assert.equal(
    await refused(organizations.send(new CreateOrganizationalUnitCommand({ ParentId: root, Name: "Images" }))),
    "DuplicateOrganizationalUnitException",
  );
  const move = { AccountId: member, SourceParentId: root, DestinationParentId: ou };
  await organizations.send(new MoveAccountCommand(move));
  assert.equal(await refused(organizations.send(new MoveAccountCommand(move))), "SourceParentNotFoundException");
  const { Parents: parents } = await organizations.send(new ListParentsCommand({ ChildId: member }));
  assert.deepEqual(parents, [{ Id: ou, Type: "ORGANIZATIONAL_UNIT" }]);
  const below = await organizations.send(new ListAccountsForParentCommand({ ParentId: ou }));
  assert.deepEqual(
    below.Accounts?.map((account) => account.Id),
    [member],
  );
  const children = await organizations.send(new ListChildrenCommand({ ParentId: root, ChildType: "ACCOUNT" }));
  assert.deepEqual(
    children.Children?.map((child) => child.Id),
    [platform.accountId],
  );
  const units = await organizations.send(new ListOrganizationalUnitsForParentCommand({ ParentId: root }));
  assert.equal(units.OrganizationalUnits?.[0]?.Name, "Images");
  assert.equal(
    await refused(organizations.send(new DeleteOrganizationalUnitCommand({ OrganizationalUnitId: ou }))),
    "OrganizationalUnitNotEmptyException",
  );
  assert.equal(await refused(organizations.send(new DeleteOrganizationCommand({}))), "OrganizationNotEmptyException");

  // Who is to join is made here: invitations, and what goes with them, are not answered, and say so.
  const invitation = { Target: { Id: "999999999999", Type: "ACCOUNT" as const } };
  await assert.rejects(organizations.send(new InviteAccountToOrganizationCommand(invitation)), {
    name: "UnknownOperationException",
    message: "Ingot does not answer InviteAccountToOrganization.",
  });
  await assert.rejects(organizations.send(new ListHandshakesForOrganizationCommand({})), {
    name: "UnknownOperationException",
    message: "Ingot does not answer ListHandshakesForOrganization.",
  });

  // The tree is somebody's: another account sees nothing of it, and makes no accounts of its own.
  const stranger = await platform.createAccount("stranger");
  const theirs = platform.client(OrganizationsClient, stranger.credentials);
  assert.equal(await refused(theirs.send(new DescribeOrganizationCommand({}))), "AWSOrganizationsNotInUseException");
  await theirs.send(new CreateOrganizationCommand({ FeatureSet: "ALL" }));
  assert.equal(
    await refused(theirs.send(new CreateAccountCommand({ AccountName: "x", Email: "x@example.com" }))),
    "ConstraintViolationException",
  );
  assert.equal(
    await refused(theirs.send(new DescribeAccountCommand({ AccountId: member }))),
    "AccountNotFoundException",
  );
  assert.equal(
    await refused(theirs.send(new ListAccountsForParentCommand({ ParentId: ou }))),
    "ParentNotFoundException",
  );

  await organizations.send(new CloseAccountCommand({ AccountId: member }));
  assert.equal(
    await refused(platform.client(STSClient, keys).send(new GetCallerIdentityCommand({}))),
    "InvalidClientTokenId",
  );
  const { Accounts: all } = await organizations.send(new ListAccountsCommand({}));
  assert.equal(all?.find((account) => account.Id === member)?.Status, "SUSPENDED");
});

test("service control policies limit members at once, and never the management account", async (t) => {
  const platform = await startPlatform(t);
  const { organizations, root, member, keys } = await organization(platform);
  const ec2 = platform.client(EC2Client, keys);
  const regions = () => refused(ec2.send(new DescribeRegionsCommand({})));
  assert.equal(await regions(), "no error");

  const Content = policyOf({ Effect: "Deny", Action: "ec2:DescribeRegions", Resource: "*" });
  const policy = { Content, Name: "NoRegions", Description: "", Type: "SERVICE_CONTROL_POLICY" } as const;
  const made = await organizations.send(new CreatePolicyCommand(policy));
  const PolicyId = made.Policy?.PolicySummary?.Id ?? "";
  assert.equal(await refused(organizations.send(new CreatePolicyCommand(policy))), "DuplicatePolicyException");
  assert.equal(
    await refused(organizations.send(new CreatePolicyCommand({ ...policy, Name: "x", Content: "{}" }))),
    "MalformedPolicyDocumentException",
  );
  assert.equal(
    await refused(
      organizations.send(new CreatePolicyCommand({ ...policy, Name: "x", Type: "RESOURCE_CONTROL_POLICY" })),
    ),
    "PolicyTypeNotAvailableForOrganizationException",
  );
  const attach = new AttachPolicyCommand({ PolicyId, TargetId: root });
  assert.equal(await refused(organizations.send(attach)), "PolicyTypeNotEnabledException");
  await organizations.send(new EnablePolicyTypeCommand({ RootId: root, PolicyType: "SERVICE_CONTROL_POLICY" }));
  assert.equal(await regions(), "no error");

  await organizations.send(new AttachPolicyCommand({ PolicyId, TargetId: root }));
  assert.equal(await regions(), "UnauthorizedOperation");
  assert.equal(await refused(platform.ec2.send(new DescribeRegionsCommand({}))), "no error");
  // Who simulates hears what the door says, and that it is the organization's doing.
  const iam = platform.client(IAMClient, keys);
  const role = `arn:aws:iam::${member}:role/OrganizationAccountAccessRole`;
  const simulated = await iam.send(
    new SimulatePrincipalPolicyCommand({
      PolicySourceArn: role,
      ActionNames: ["ec2:DescribeRegions", "ec2:DescribeImages"],
    }),
  );
  assert.deepEqual(
    simulated.EvaluationResults?.map((each) => [
      each.EvalDecision,
      each.OrganizationsDecisionDetail?.AllowedByOrganizations,
    ]),
    [
      ["explicitDeny", false],
      ["allowed", true],
    ],
  );
  const refusal = await ec2.send(new DescribeRegionsCommand({})).catch((error: Error) => error.message);
  assert.match(String(refusal), /with an explicit deny in a service control policy/);
  assert.equal(await refused(organizations.send(new DeletePolicyCommand({ PolicyId }))), "PolicyInUseException");
  const { Targets: targets } = await organizations.send(new ListTargetsForPolicyCommand({ PolicyId }));
  assert.deepEqual(
    targets?.map((target) => [target.TargetId, target.Type]),
    [[root, "ROOT"]],
  );

  await organizations.send(
    new UpdatePolicyCommand({ PolicyId, Content: policyOf({ Effect: "Deny", Action: "iam:*", Resource: "*" }) }),
  );
  assert.equal(await regions(), "no error");
  await organizations.send(new DetachPolicyCommand({ PolicyId, TargetId: root }));

  // Every level must allow: with FullAWSAccess gone from the account, only what another policy allows is left.
  const only = await organizations.send(
    new CreatePolicyCommand({
      ...policy,
      Name: "OnlyIam",
      Content: policyOf({ Effect: "Allow", Action: "iam:*", Resource: "*" }),
    }),
  );
  const full = { PolicyId: "p-FullAWSAccess", TargetId: member };
  assert.equal(await refused(organizations.send(new DetachPolicyCommand(full))), "ConstraintViolationException");
  const onlyId = only.Policy?.PolicySummary?.Id ?? "";
  await organizations.send(new AttachPolicyCommand({ PolicyId: onlyId, TargetId: member }));
  assert.equal(
    await refused(organizations.send(new AttachPolicyCommand({ PolicyId: onlyId, TargetId: member }))),
    "DuplicatePolicyAttachmentException",
  );
  await organizations.send(new DetachPolicyCommand(full));
  assert.equal(await regions(), "UnauthorizedOperation");
  const attached = await organizations.send(
    new ListPoliciesForTargetCommand({ TargetId: member, Filter: "SERVICE_CONTROL_POLICY" }),
  );
  assert.deepEqual(
    attached.Policies?.map(({ Name }) => Name),
    ["OnlyIam"],
  );
  await organizations.send(new DisablePolicyTypeCommand({ RootId: root, PolicyType: "SERVICE_CONTROL_POLICY" }));
  assert.equal(await regions(), "no error");
});

test("an image shared with an organization or a unit is its members', for as long as they are members", async (t) => {
  const platform = await startPlatform(t);
  const { organizations, made, root, member, keys } = await organization(platform);
  const ec2 = platform.client(EC2Client, keys);
  const snapshot = await smallSnapshot(platform);
  const { ImageId: id = "" } = await platform.ec2.send(
    new RegisterImageCommand({
      Name: "shared",
      Architecture: "x86_64",
      RootDeviceName: "/dev/xvda",
      VirtualizationType: "hvm",
      BlockDeviceMappings: [{ DeviceName: "/dev/xvda", Ebs: { SnapshotId: snapshot } }],
    }),
  );
  const seen = async () =>
    (await ec2.send(new DescribeImagesCommand({ Filters: [{ Name: "name", Values: ["shared"] }] }))).Images?.length;
  const launch = () =>
    refused(
      ec2.send(
        new RunInstancesCommand({ ImageId: id, InstanceType: "t3.micro", MinCount: 1, MaxCount: 1, DryRun: true }),
      ),
    );
  const share = (LaunchPermission: object) =>
    platform.ec2.send(new ModifyImageAttributeCommand({ ImageId: id, LaunchPermission }));

  assert.deepEqual([await seen(), await launch()], [0, "AuthFailure"]);
  await share({ Add: [{ OrganizationArn: made?.Arn }] });
  assert.deepEqual([await seen(), await launch()], [1, "DryRunOperation"]);
  await share({ Remove: [{ OrganizationArn: made?.Arn }] });
  assert.deepEqual([await seen(), await launch()], [0, "AuthFailure"]);

  const outer = await organizations.send(new CreateOrganizationalUnitCommand({ ParentId: root, Name: "Outer" }));
  const outerId = outer.OrganizationalUnit?.Id ?? "";
  const inner = await organizations.send(new CreateOrganizationalUnitCommand({ ParentId: outerId, Name: "Inner" }));
  const innerId = inner.OrganizationalUnit?.Id ?? "";
  await share({ Add: [{ OrganizationalUnitArn: outer.OrganizationalUnit?.Arn }] });
  assert.deepEqual([await seen(), await launch()], [0, "AuthFailure"]);
  await organizations.send(
    new MoveAccountCommand({ AccountId: member, SourceParentId: root, DestinationParentId: innerId }),
  );
  assert.deepEqual([await seen(), await launch()], [1, "DryRunOperation"]);
  await organizations.send(
    new MoveAccountCommand({ AccountId: member, SourceParentId: innerId, DestinationParentId: root }),
  );
  assert.deepEqual([await seen(), await launch()], [0, "AuthFailure"]);
});

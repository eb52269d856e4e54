import assert from "node:assert/strict";
import { test } from "node:test";
import {
  allow,
  documentOf,
  FIRST,
  type IdentityWorld,
  identityWorld,
  userWith,
} from "../../test/support/identity-world.ts";
import { callerNamed, explain } from "./explain.ts";

const INSTANCE = `arn:aws:ec2:us-east-1:${FIRST}:instance/i-1`;

async function why(world: IdentityWorld, arn: string, keys: Record<string, string> = {}) {
  const caller = await callerNamed(world, arn, world.now);
  assert.ok(caller);
  return explain(world.identity, caller, { action: "ec2:StopInstances", resource: INSTANCE, keys }, {});
}

test("what is allowed names its statement and asks for nothing", async (t) => {
  const world = await identityWorld(t);
  const { decision, toAllow } = await why(world, `arn:aws:iam::${FIRST}:user/admin`);
  assert.equal(decision.allowed, true);
  assert.equal(decision.statement?.policy, "arn:aws:iam::aws:policy/AdministratorAccess");
  assert.deepEqual(toAllow, []);
});

test("what is refused says what came close and what to change", async (t) => {
  const world = await identityWorld(t);
  const arn = `arn:aws:iam::${FIRST}:user/bob`;
  await userWith(world, "bob", allow("ec2:Stop*", "*", { StringEquals: { "aws:ResourceTag/team": "red" } }));
  assert.deepEqual((await why(world, arn)).toAllow, [
    "Meet the conditions of statement 1 of policy (identity): StringEquals aws:ResourceTag/team = red.",
  ]);
  assert.equal((await why(world, arn, { "aws:ResourceTag/team": "red" })).decision.allowed, true);
  const put = (PolicyDocument: string) =>
    world.call(world.first.administrator, "PutUserPolicy", { UserName: "bob", PolicyName: "policy", PolicyDocument });
  await put(allow("ec2:*", "arn:aws:ec2:*:*:volume/*"));
  assert.deepEqual((await why(world, arn)).toAllow, [`Let statement 1 of policy name ${INSTANCE} (identity).`]);
  await put(allow("iam:*"));
  assert.deepEqual((await why(world, arn)).toAllow, [
    `Allow ec2:StopInstances on ${INSTANCE} in a policy of the identity layer: none speaks of it.`,
  ]);
  await put(
    documentOf(
      { Effect: "Allow", Action: "*", Resource: "*" },
      { Sid: "No", Effect: "Deny", Action: "ec2:*", Resource: "*" },
    ),
  );
  assert.deepEqual((await why(world, arn)).toAllow, [
    'Remove or narrow statement "No" of policy: it denies (identity).',
  ]);
});

test("a boundary that leaves it out is told beside the policies that allow", async (t) => {
  const world = await identityWorld(t);
  await userWith(world, "bob", allow("*"));
  await world.call(world.first.administrator, "PutUserPermissionsBoundary", {
    UserName: "bob",
    PermissionsBoundary: "arn:aws:iam::aws:policy/AmazonEC2ReadOnlyAccess",
  });
  const { decision, layers, toAllow } = await why(world, `arn:aws:iam::${FIRST}:user/bob`);
  assert.equal(decision.layer, "boundary");
  assert.deepEqual(
    layers.map(({ layer, allows }) => [layer, allows.length]),
    [
      ["identity", 1],
      ["boundary", 0],
    ],
  );
  assert.deepEqual(toAllow, [
    `Allow ec2:StopInstances on ${INSTANCE} in a policy of the boundary layer: none speaks of it.`,
  ]);
});

test("nobody is explained who is not there", async (t) => {
  const world = await identityWorld(t);
  assert.equal(await callerNamed(world, `arn:aws:iam::${FIRST}:user/nobody`, world.now), null);
  assert.equal(await callerNamed(world, "nonsense", world.now), null);
  assert.equal((await callerNamed(world, `arn:aws:iam::${FIRST}:root`, world.now))?.kind, "root");
});

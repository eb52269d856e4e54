// Whatever one account writes into its policies, another's private resources stay out of reach.
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { documentOf, FIRST, identityWorld, SECOND, userWith } from "../../test/support/identity-world.ts";
import type { Action, ResourceCheck } from "../model/access.ts";

const PRIVATE = [
  `arn:aws:ec2:us-east-1:${SECOND}:instance/i-0abc`,
  `arn:aws:ec2:us-east-1:${SECOND}:volume/vol-0abc`,
  `arn:aws:iam::${SECOND}:role/admin`,
  `arn:aws:iam::${SECOND}:user/admin`,
  `arn:aws:ssm:us-east-1:${SECOND}:parameter/secret`,
  `arn:aws:cloudtrail:us-east-1:${SECOND}:trail/t`,
];
const ACTIONS: Action[] = [
  "ec2:TerminateInstances",
  "iam:PassRole",
  "iam:CreateAccessKey",
  "ssm:GetParameter",
  "sts:AssumeRole",
];

const pattern = fc.oneof(
  fc.constantFrom("*", `arn:aws:*:*:${SECOND}:*`, "arn:aws:*", "arn:*:*:*:*:*", ...PRIVATE),
  fc.tuple(fc.constantFrom(...PRIVATE), fc.nat(60)).map(([arn, at]) => `${arn.slice(0, Math.max(8, at))}*`),
);
const statement = fc.record({
  Effect: fc.constant("Allow"),
  Action: fc.constantFrom("*", "*:*", "ec2:*", "iam:*", ACTIONS),
  Resource: fc.array(pattern, { minLength: 1, maxLength: 3 }),
});

/** Policies of the second account that name others, and such as are no permission for the asker. */
const foreignPolicy = fc.option(
  fc
    .constantFrom<unknown>(
      { AWS: SECOND },
      { AWS: `arn:aws:iam::${SECOND}:user/bob` },
      { AWS: "333333333333" },
      { AWS: `arn:aws:iam::${FIRST}:user/eve` },
      { Service: "ec2.amazonaws.com" },
    )
    .map((Principal) => documentOf({ Effect: "Allow", Principal, Action: "sts:AssumeRole" })),
  { nil: undefined },
);

test("no policy of one account yields another's private resources", async (t) => {
  const world = await identityWorld(t);
  const bob = await userWith(world, "bob");
  const caller = await world.callerOf(bob);
  const rootCaller = await world.callerOf(world.first.root);
  await fc.assert(
    fc.asyncProperty(
      fc.array(statement, { minLength: 1, maxLength: 3 }),
      fc.constantFrom(...PRIVATE),
      fc.constantFrom(...ACTIONS),
      foreignPolicy,
      async (statements, resource, action, document) => {
        await world.call(world.first.administrator, "PutUserPolicy", {
          UserName: "bob",
          PolicyName: "p",
          PolicyDocument: documentOf(...statements),
        });
        const trusts = action === "sts:AssumeRole" && document !== undefined;
        const check: ResourceCheck = {
          action,
          resource,
          keys: {},
          ...(trusts ? { resourcePolicy: { accountId: SECOND, document } } : {}),
        };
        for (const who of [caller, rootCaller]) {
          assert.equal((await world.identity.authorizer.authorize(who, [check], {})).granted, false);
        }
      },
    ),
    { numRuns: 60 },
  );
});

test("policies that allow everything do allow everything of their own account", async (t) => {
  const world = await identityWorld(t);
  for (const resource of PRIVATE) {
    for (const action of ["ec2:TerminateInstances", "iam:PassRole"] as const) {
      assert.equal(await world.may(world.second.administrator, action, resource), true);
      assert.equal(await world.may(world.first.administrator, action, resource), false);
    }
  }
});

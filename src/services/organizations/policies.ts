// Service control policies: made, changed, attached. What they do is decided at the door (identity/evaluate.ts).
import {
  AttachPolicy$,
  type AttachPolicyRequest,
  CreatePolicy$,
  type CreatePolicyRequest,
  DeletePolicy$,
  type DeletePolicyRequest,
  DescribePolicy$,
  type DescribePolicyRequest,
  DetachPolicy$,
  type DetachPolicyRequest,
  ListPolicies$,
  ListPoliciesForTarget$,
  type ListPoliciesForTargetRequest,
  type ListPoliciesRequest,
  ListTargetsForPolicy$,
  type ListTargetsForPolicyRequest,
  UpdatePolicy$,
  type UpdatePolicyRequest,
} from "@aws-sdk/client-organizations";
import { ApiError } from "../../base/api-error.ts";
import type { Db } from "../../database/database.ts";
import { compilePolicy } from "../../identity/policy/compile.ts";
import type { Action } from "../../model/access.ts";
import {
  attachedTo,
  constraint,
  FULL_ACCESS,
  invalidInput,
  mustFind,
  type Organization,
  type OrganizationPolicy,
  policiesOf,
  policyArn,
  policyById,
  targetArn,
  targetType,
} from "../../model/organization.ts";
import {
  attachOrganizationPolicy,
  beginChange,
  deleteOrganizationPolicy,
  detachOrganizationPolicy,
  insertOrganizationPolicy,
  updateOrganizationPolicy,
} from "../../model/organization-rows.ts";
import type { RequestContext } from "../context.ts";
import { onAnything, operation } from "../operation.ts";
import {
  managedOrganization,
  noTags,
  POLICY_KEYS,
  page,
  placeCheck,
  policyAnswer,
  required,
  serviceControlOnly,
  stillManaged,
  targetName,
} from "./answers.ts";
import { notEnabled } from "./organization.ts";

/** Amazon's quotas. */
const MOST_CONTENT_CHARS = 10_240;
const MOST_POLICIES = 10_000;
const MOST_PER_TARGET = 10;

/** @throws ApiError `MalformedPolicyDocumentException`, `ConstraintViolationException` */
function contentOf(content: string | undefined): string {
  const given = required(content, "the policy's content");
  if (given.length > MOST_CONTENT_CHARS) {
    throw constraint("POLICY_CONTENT_LIMIT_EXCEEDED", `A policy has at most ${MOST_CONTENT_CHARS} characters.`);
  }
  try {
    compilePolicy(given, "organization");
  } catch (cause) {
    if (!(cause instanceof ApiError)) throw cause;
    throw new ApiError("MalformedPolicyDocumentException", cause.message);
  }
  return given;
}

function nameOf(name: string | undefined): string {
  const given = required(name, "a name");
  if (given.length > 128) throw invalidInput("MAX_LENGTH_EXCEEDED", "A policy's name has at most 128 characters.");
  return given;
}

function descriptionOf(description: string | undefined): string {
  const given = description ?? "";
  if (given.length > 512) throw invalidInput("MAX_LENGTH_EXCEEDED", "A description has at most 512 characters.");
  return given;
}

/** @throws ApiError `PolicyNotFoundException` */
async function existingPolicy(db: Db, organization: Organization, id: string): Promise<OrganizationPolicy> {
  return mustFind(
    await policyById(db, organization, id),
    "PolicyNotFoundException",
    "You specified a policy that doesn't exist.",
  );
}

async function resolvePolicy<A extends Action>(ctx: RequestContext, action: A, value: string | undefined) {
  const organization = await managedOrganization(ctx);
  const policy = await existingPolicy(ctx.database.read, organization, required(value, "a policy"));
  const check = { action, resource: policyArn(organization, policy.id), keys: POLICY_KEYS };
  return { organization, policy, checks: [check] };
}

/** @throws ApiError `ConstraintViolationException`: nobody changes Amazon's own */
function mustBeOwn(policy: OrganizationPolicy): void {
  if (policy.id === FULL_ACCESS.id) throw invalidInput("IMMUTABLE_POLICY", "Amazon's own policies cannot be changed.");
}

export const createPolicy = operation({
  action: "organizations:CreatePolicy",
  schema: CreatePolicy$,
  access: "write",
  async resolve(ctx: RequestContext, input: CreatePolicyRequest) {
    const organization = await managedOrganization(ctx);
    serviceControlOnly(input.Type);
    const resource = policyArn(organization, "*");
    return { organization, checks: [{ action: "organizations:CreatePolicy" as const, resource, keys: POLICY_KEYS }] };
  },
  async run(ctx, input, { organization }, grant) {
    noTags(input.Tags);
    const content = contentOf(input.Content);
    const name = nameOf(input.Name);
    const description = descriptionOf(input.Description);
    const policy = await ctx.database.transaction(async (tx) => {
      await beginChange(tx, organization);
      if ((await policiesOf(tx, organization)).length > MOST_POLICIES) {
        throw constraint("POLICY_NUMBER_LIMIT_EXCEEDED", "The organization has as many policies as it may.");
      }
      return insertOrganizationPolicy(grant, tx, {
        organization_id: organization.id,
        name,
        description,
        content,
        created_at: ctx.now().toISOString(),
      });
    });
    return { Policy: { PolicySummary: policyAnswer(organization, policy), Content: content } };
  },
});

export const describePolicy = operation({
  action: "organizations:DescribePolicy",
  schema: DescribePolicy$,
  access: "read",
  resolve: (ctx: RequestContext, input: DescribePolicyRequest) =>
    resolvePolicy(ctx, "organizations:DescribePolicy", input.PolicyId),
  run: async (_ctx, _input, { organization, policy }) => ({
    Policy: { PolicySummary: policyAnswer(organization, policy), Content: policy.content },
  }),
});

export const updatePolicy = operation({
  action: "organizations:UpdatePolicy",
  schema: UpdatePolicy$,
  access: "write",
  resolve: (ctx: RequestContext, input: UpdatePolicyRequest) =>
    resolvePolicy(ctx, "organizations:UpdatePolicy", input.PolicyId),
  async run(ctx, input, { organization, policy }, grant) {
    mustBeOwn(policy);
    const changed: OrganizationPolicy = {
      ...policy,
      ...(input.Name === undefined ? {} : { name: nameOf(input.Name) }),
      ...(input.Description === undefined ? {} : { description: descriptionOf(input.Description) }),
      ...(input.Content === undefined ? {} : { content: contentOf(input.Content) }),
    };
    await ctx.database.transaction(async (tx) => {
      await beginChange(tx, organization);
      await updateOrganizationPolicy(grant, tx, changed);
    });
    return { Policy: { PolicySummary: policyAnswer(organization, changed), Content: changed.content } };
  },
});

export const deletePolicy = operation({
  action: "organizations:DeletePolicy",
  schema: DeletePolicy$,
  access: "write",
  resolve: (ctx: RequestContext, input: DeletePolicyRequest) =>
    resolvePolicy(ctx, "organizations:DeletePolicy", input.PolicyId),
  async run(ctx, _input, { organization, policy }, grant) {
    mustBeOwn(policy);
    await ctx.database.transaction(async (tx) => {
      await beginChange(tx, organization);
      if ((await targetsOf(tx, organization, policy.id)).length > 0) {
        throw new ApiError("PolicyInUseException", "The policy is attached to one or more entities. Detach it first.");
      }
      await deleteOrganizationPolicy(grant, tx, policy.id);
    });
  },
});

const targetsOf = async (db: Db, organization: Organization, policy: string): Promise<string[]> =>
  (
    await db
      .selectFrom("organization_attachments")
      .select("target_id")
      .where("organization_id", "=", organization.id)
      .where("policy_id", "=", policy)
      .orderBy("target_id")
      .execute()
  ).map((row) => row.target_id);

export const listPolicies = operation({
  action: "organizations:ListPolicies",
  schema: ListPolicies$,
  access: "read",
  resolve: async (_ctx: RequestContext, _input: ListPoliciesRequest) =>
    onAnything("organizations:ListPolicies", POLICY_KEYS),
  async run(ctx, input) {
    const organization = await managedOrganization(ctx);
    serviceControlOnly(input.Filter);
    const { items, ...more } = page(ctx, "ListPolicies", input, await policiesOf(ctx.database.read, organization));
    return { Policies: items.map((policy) => policyAnswer(organization, policy)), ...more };
  },
});

async function resolveAttachment<A extends Action>(
  ctx: RequestContext,
  action: A,
  input: { readonly PolicyId: string | undefined; readonly TargetId: string | undefined },
) {
  const found = await resolvePolicy(ctx, action, input.PolicyId);
  const target = required(input.TargetId, "a target");
  await targetName(ctx.database.read, found.organization, target);
  const place = placeCheck(action, found.organization, target, POLICY_KEYS);
  return { ...found, target, checks: [...found.checks, place] };
}

export const attachPolicy = operation({
  action: "organizations:AttachPolicy",
  schema: AttachPolicy$,
  access: "write",
  resolve: (ctx: RequestContext, input: AttachPolicyRequest) =>
    resolveAttachment(ctx, "organizations:AttachPolicy", input),
  async run(ctx, _input, { organization, policy, target }, grant) {
    await ctx.database.transaction(async (tx) => {
      await beginChange(tx, organization);
      if (!(await stillManaged(tx, ctx, organization)).serviceControl) throw notEnabled();
      await targetName(tx, organization, target);
      await existingPolicy(tx, organization, policy.id);
      const attached = (await attachedTo(tx, organization, [target])).get(target) ?? [];
      if (attached.length >= MOST_PER_TARGET && !attached.some(({ id }) => id === policy.id)) {
        throw constraint(
          "MAX_POLICY_TYPE_ATTACHMENT_LIMIT_EXCEEDED",
          `A target has at most ${MOST_PER_TARGET} policies.`,
        );
      }
      await attachOrganizationPolicy(grant, tx, organization, target, policy.id);
    });
  },
});

export const detachPolicy = operation({
  action: "organizations:DetachPolicy",
  schema: DetachPolicy$,
  access: "write",
  resolve: (ctx: RequestContext, input: DetachPolicyRequest) =>
    resolveAttachment(ctx, "organizations:DetachPolicy", input),
  async run(ctx, _input, { organization, policy, target }, grant) {
    await ctx.database.transaction(async (tx) => {
      await beginChange(tx, organization);
      const attached = (await attachedTo(tx, organization, [target])).get(target) ?? [];
      if (!attached.some(({ id }) => id === policy.id)) {
        throw new ApiError("PolicyNotAttachedException", "The policy isn't attached to the specified target.");
      }
      if (attached.length === 1) {
        throw constraint(
          "MIN_POLICY_TYPE_ATTACHMENT_LIMIT_EXCEEDED",
          "You cannot detach the last policy from the specified target. You must have at least one attached at all times.",
        );
      }
      await detachOrganizationPolicy(grant, tx, target, policy.id);
    });
  },
});

export const listPoliciesForTarget = operation({
  action: "organizations:ListPoliciesForTarget",
  schema: ListPoliciesForTarget$,
  access: "read",
  async resolve(ctx: RequestContext, input: ListPoliciesForTargetRequest) {
    const organization = await managedOrganization(ctx);
    const target = required(input.TargetId, "a target");
    serviceControlOnly(input.Filter);
    await targetName(ctx.database.read, organization, target);
    const check = placeCheck("organizations:ListPoliciesForTarget", organization, target, POLICY_KEYS);
    return { organization, target, checks: [check] };
  },
  async run(ctx, input, { organization, target }) {
    const attached = (await attachedTo(ctx.database.read, organization, [target])).get(target) ?? [];
    const { items, ...more } = page(ctx, "ListPoliciesForTarget", input, attached);
    return { Policies: items.map((policy) => policyAnswer(organization, policy)), ...more };
  },
});

export const listTargetsForPolicy = operation({
  action: "organizations:ListTargetsForPolicy",
  schema: ListTargetsForPolicy$,
  access: "read",
  resolve: (ctx: RequestContext, input: ListTargetsForPolicyRequest) =>
    resolvePolicy(ctx, "organizations:ListTargetsForPolicy", input.PolicyId),
  async run(ctx, input, { organization, policy }) {
    const ids = await targetsOf(ctx.database.read, organization, policy.id);
    const { items, ...more } = page(ctx, "ListTargetsForPolicy", input, ids);
    const Targets = await Promise.all(
      items.map(async (id) => ({
        TargetId: id,
        Arn: targetArn(organization, id),
        Name: await targetName(ctx.database.read, organization, id),
        Type: targetType(id),
      })),
    );
    return { Targets, ...more };
  },
});

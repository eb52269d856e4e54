// Tags on users, roles, instance profiles and customer managed policies: the same three actions for each.
import {
  ListInstanceProfileTags$,
  type ListInstanceProfileTagsRequest,
  ListPolicyTags$,
  type ListPolicyTagsRequest,
  ListRoleTags$,
  type ListRoleTagsRequest,
  ListUserTags$,
  type ListUserTagsRequest,
  TagInstanceProfile$,
  type TagInstanceProfileRequest,
  TagPolicy$,
  type TagPolicyRequest,
  TagRole$,
  type TagRoleRequest,
  TagUser$,
  type TagUserRequest,
  UntagInstanceProfile$,
  type UntagInstanceProfileRequest,
  UntagPolicy$,
  type UntagPolicyRequest,
  UntagRole$,
  type UntagRoleRequest,
  UntagUser$,
  type UntagUserRequest,
} from "@aws-sdk/client-iam";
import type { StaticOperationSchema } from "@smithy/types";
import type { Db } from "../../database/database.ts";
import type { Action, ConditionKeys } from "../../model/access.ts";
import type { IamTags } from "../../model/identity/entities.ts";
import type { RequestContext } from "../context.ts";
import { operation, type Resolution } from "../operation.ts";
import { change, current, existing, resolveEntity } from "./entity.ts";
import { ownPolicy, policyNotFound, resolvePolicy } from "./managed-policies.ts";
import { type PageInput, pageWithin } from "./paging.ts";
import { parseTags, requestTagKeys, type TagInput, tagged, tagList, untagged } from "./tags.ts";

/** A kind of thing that carries tags: how it is found, and where its tags are kept. */
interface Taggable<R extends Resolution> {
  resolve(ctx: RequestContext, name: string | undefined, action: Action, keys: ConditionKeys): Promise<R>;
  /** @throws ApiError `NoSuchEntity` */
  tags(resolved: R): IamTags;
  /** Reads and rewrites the tags inside a transaction. @throws ApiError `NoSuchEntity` */
  rewrite(tx: Db, ctx: RequestContext, resolved: R, next: (tags: IamTags) => IamTags): Promise<void>;
}

type Kind = "user" | "role" | "instance-profile";
const TABLE = { user: "users", role: "roles", "instance-profile": "instance_profiles" } as const;

const entity = (kind: Kind): Taggable<Awaited<ReturnType<typeof resolveEntity>>> => ({
  resolve: (ctx, name, action, keys) => resolveEntity(ctx, kind, name, action, keys),
  tags: (resolved) => existing(kind, resolved).tags,
  async rewrite(tx, _ctx, resolved, next) {
    const { id, tags } = await current(tx, kind, resolved);
    await tx
      .updateTable(TABLE[kind])
      .set({ tags: JSON.stringify(next(tags)) })
      .where("id", "=", id)
      .execute();
  },
});

const policy: Taggable<Awaited<ReturnType<typeof resolvePolicy>>> = {
  resolve: resolvePolicy,
  tags: (resolved) => {
    if (resolved.aws !== null) return {};
    if (resolved.policy === undefined) throw policyNotFound(resolved.arn);
    return resolved.policy.tags;
  },
  async rewrite(tx, ctx, resolved, next) {
    const { id, tags } = await ownPolicy(tx, ctx, resolved);
    await tx
      .updateTable("policies")
      .set({ tags: JSON.stringify(next(tags)) })
      .where("id", "=", id)
      .execute();
  },
};

const tag = <const A extends Action, R extends Resolution, I extends { Tags: TagInput[] | undefined }>(
  thing: Taggable<R>,
  action: A,
  schema: StaticOperationSchema,
  nameOf: (input: I) => string | undefined,
) =>
  operation({
    action,
    schema,
    access: "write",
    resolve: async (ctx, input: I) => {
      const added = parseTags(input.Tags);
      return { ...(await thing.resolve(ctx, nameOf(input), action, requestTagKeys(added))), added };
    },
    run: async (ctx, _input, resolved, grant) => {
      await change(ctx, grant, (tx) => thing.rewrite(tx, ctx, resolved, (tags) => tagged(tags, resolved.added)));
      return {};
    },
  });

const untag = <const A extends Action, R extends Resolution, I extends { TagKeys: string[] | undefined }>(
  thing: Taggable<R>,
  action: A,
  schema: StaticOperationSchema,
  nameOf: (input: I) => string | undefined,
) =>
  operation({
    action,
    schema,
    access: "write",
    resolve: (ctx, input: I) => {
      const keys = input.TagKeys ?? [];
      return thing.resolve(ctx, nameOf(input), action, keys.length === 0 ? {} : { "aws:TagKeys": keys });
    },
    run: async (ctx, input, resolved, grant) => {
      const keys = input.TagKeys ?? [];
      await change(ctx, grant, (tx) => thing.rewrite(tx, ctx, resolved, (tags) => untagged(tags, keys)));
      return {};
    },
  });

const list = <const A extends Action, R extends Resolution, I extends PageInput>(
  thing: Taggable<R>,
  action: A,
  schema: StaticOperationSchema,
  nameOf: (input: I) => string | undefined,
) =>
  operation({
    action,
    schema,
    access: "read",
    resolve: (ctx, input: I) => thing.resolve(ctx, nameOf(input), action, {}),
    run: async (_ctx, input, resolved) => {
      const [page, more] = pageWithin(tagList(thing.tags(resolved)), input, ({ Key }) => Key);
      return { Tags: page, ...more };
    },
  });

const user = entity("user");
const role = entity("role");
const profile = entity("instance-profile");

export const tagUser = tag(user, "iam:TagUser", TagUser$, (input: TagUserRequest) => input.UserName);
export const tagRole = tag(role, "iam:TagRole", TagRole$, (input: TagRoleRequest) => input.RoleName);
export const tagInstanceProfile = tag(
  profile,
  "iam:TagInstanceProfile",
  TagInstanceProfile$,
  (input: TagInstanceProfileRequest) => input.InstanceProfileName,
);
export const tagPolicy = tag(policy, "iam:TagPolicy", TagPolicy$, (input: TagPolicyRequest) => input.PolicyArn);
export const untagUser = untag(user, "iam:UntagUser", UntagUser$, (input: UntagUserRequest) => input.UserName);
export const untagRole = untag(role, "iam:UntagRole", UntagRole$, (input: UntagRoleRequest) => input.RoleName);
export const untagInstanceProfile = untag(
  profile,
  "iam:UntagInstanceProfile",
  UntagInstanceProfile$,
  (input: UntagInstanceProfileRequest) => input.InstanceProfileName,
);
export const untagPolicy = untag(
  policy,
  "iam:UntagPolicy",
  UntagPolicy$,
  (input: UntagPolicyRequest) => input.PolicyArn,
);
export const listUserTags = list(
  user,
  "iam:ListUserTags",
  ListUserTags$,
  (input: ListUserTagsRequest) => input.UserName,
);
export const listRoleTags = list(
  role,
  "iam:ListRoleTags",
  ListRoleTags$,
  (input: ListRoleTagsRequest) => input.RoleName,
);
export const listInstanceProfileTags = list(
  profile,
  "iam:ListInstanceProfileTags",
  ListInstanceProfileTags$,
  (input: ListInstanceProfileTagsRequest) => input.InstanceProfileName,
);
export const listPolicyTags = list(
  policy,
  "iam:ListPolicyTags",
  ListPolicyTags$,
  (input: ListPolicyTagsRequest) => input.PolicyArn,
);

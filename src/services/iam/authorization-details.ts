// Everything that permission comes from, in one answer: what auditors' tools read.
import {
  type EntityType,
  GetAccountAuthorizationDetails$,
  type GetAccountAuthorizationDetailsRequest,
  type GroupDetail,
  type ManagedPolicyDetail,
  type PolicyDetail,
  type RoleDetail,
  type UserDetail,
} from "@aws-sdk/client-iam";
import type { AccountId } from "../../base/ids.ts";
import type { Db } from "../../database/database.ts";
import { AWS_MANAGED_SINCE, awsManagedPolicies } from "../../identity/aws-managed/index.ts";
import { type Entity, listEntities, listRoles } from "../../model/identity/entities.ts";
import { listManagedPolicies, policyUse, versionsOf } from "../../model/identity/managed-policies.ts";
import { onAnything, operation } from "../operation.ts";
import { encodedDocument, groupAnswer, instanceProfileAnswer, roleAnswer, userAnswer } from "./answers.ts";
import { nameIn } from "./attached-policies.ts";
import { pageWithin } from "./paging.ts";

interface Details {
  readonly UserDetailList: UserDetail[];
  readonly GroupDetailList: GroupDetail[];
  readonly RoleDetailList: RoleDetail[];
  readonly Policies: ManagedPolicyDetail[];
}

interface Item {
  readonly key: string;
  /** Adds itself to the answer. */
  show(to: Details): Promise<void>;
}

export const getAccountAuthorizationDetails = operation({
  action: "iam:GetAccountAuthorizationDetails",
  schema: GetAccountAuthorizationDetails$,
  access: "read",
  resolve: async (_ctx, _input: GetAccountAuthorizationDetailsRequest) =>
    onAnything("iam:GetAccountAuthorizationDetails"),
  run: async (ctx, input) => {
    const db = ctx.database.read;
    const wanted = (type: EntityType) => (input.Filter?.length ?? 0) === 0 || input.Filter?.includes(type) === true;
    const items = await itemsOf(db, ctx.caller.accountId, wanted);
    const [page, more] = pageWithin(items, input, ({ key }) => key);
    const answer: Details = { UserDetailList: [], GroupDetailList: [], RoleDetailList: [], Policies: [] };
    for (const item of page) await item.show(answer);
    return { ...answer, ...more };
  },
});

async function itemsOf(db: Db, account: AccountId, wanted: (type: EntityType) => boolean): Promise<Item[]> {
  const items: Item[] = [];
  if (wanted("Group")) {
    for (const group of await listEntities(db, "group", account, {})) {
      items.push({
        key: `1 ${group.arn}`,
        show: async (to) => {
          const { GroupPolicyList, AttachedManagedPolicies } = await policiesOn(db, group, "GroupPolicyList");
          to.GroupDetailList.push({ ...groupAnswer(group), GroupPolicyList, AttachedManagedPolicies });
        },
      });
    }
  }
  if (wanted("Role")) {
    for (const role of await listRoles(db, account, {})) {
      items.push({
        key: `2 ${role.arn}`,
        show: async (to) => {
          const rows = await db.selectFrom("instance_profiles").select("id").where("role_id", "=", role.id).execute();
          const profiles = await listEntities(db, "instance-profile", account, { ids: rows.map(({ id }) => id) });
          const { Description: _, MaxSessionDuration: __, ...answer } = roleAnswer(role, "full");
          const { RolePolicyList, AttachedManagedPolicies } = await policiesOn(db, role, "RolePolicyList");
          to.RoleDetailList.push({
            ...answer,
            InstanceProfileList: profiles.map((profile) => instanceProfileAnswer(profile, [role], "full")),
            RolePolicyList,
            AttachedManagedPolicies,
          });
        },
      });
    }
  }
  if (wanted("User")) {
    for (const user of await listEntities(db, "user", account, {})) {
      items.push({
        key: `3 ${user.arn}`,
        show: async (to) => {
          const groups = await db
            .selectFrom("group_members")
            .innerJoin("user_groups", "user_groups.id", "group_members.group_id")
            .select("user_groups.name")
            .where("group_members.user_id", "=", user.id)
            .orderBy("user_groups.name_key")
            .execute();
          const { UserPolicyList, AttachedManagedPolicies } = await policiesOn(db, user, "UserPolicyList");
          to.UserDetailList.push({
            ...userAnswer(user, "full"),
            UserPolicyList,
            GroupList: groups.map(({ name }) => name),
            AttachedManagedPolicies,
          });
        },
      });
    }
  }
  const use = await policyUse(db, account);
  if (wanted("LocalManagedPolicy")) {
    for (const policy of await listManagedPolicies(db, account, {})) {
      items.push({
        key: `4 ${policy.arn}`,
        show: async (to) => {
          const versions = await versionsOf(db, policy.id);
          to.Policies.push({
            PolicyName: policy.name,
            PolicyId: policy.id,
            Arn: policy.arn,
            Path: policy.path,
            DefaultVersionId: `v${policy.defaultVersion}`,
            AttachmentCount: use.get(policy.arn)?.attached ?? 0,
            PermissionsBoundaryUsageCount: use.get(policy.arn)?.bounds ?? 0,
            IsAttachable: true,
            CreateDate: policy.createdAt,
            UpdateDate: policy.updatedAt,
            PolicyVersionList: versions.map(({ version, document, createdAt }) => ({
              Document: encodedDocument(document),
              VersionId: `v${version}`,
              IsDefaultVersion: version === policy.defaultVersion,
              CreateDate: createdAt,
            })),
          });
        },
      });
    }
  }
  if (wanted("AWSManagedPolicy")) {
    // Those in use, as AWS has it.
    for (const policy of awsManagedPolicies().filter(({ arn }) => use.has(arn))) {
      items.push({
        key: `5 ${policy.arn}`,
        show: async (to) => {
          to.Policies.push({
            PolicyName: policy.name,
            PolicyId: policy.id,
            Arn: policy.arn,
            Path: policy.path,
            DefaultVersionId: policy.version,
            AttachmentCount: use.get(policy.arn)?.attached ?? 0,
            PermissionsBoundaryUsageCount: use.get(policy.arn)?.bounds ?? 0,
            IsAttachable: true,
            Description: policy.description,
            CreateDate: AWS_MANAGED_SINCE,
            UpdateDate: AWS_MANAGED_SINCE,
            PolicyVersionList: [
              {
                Document: encodedDocument(policy.document),
                VersionId: policy.version,
                IsDefaultVersion: true,
                CreateDate: AWS_MANAGED_SINCE,
              },
            ],
          });
        },
      });
    }
  }
  return items;
}

/** Inline policies under the member that the kind of holder has for them, and attached ones. */
async function policiesOn<M extends string>(
  db: Db,
  { id }: Entity,
  member: M,
): Promise<Record<M, PolicyDetail[]> & { AttachedManagedPolicies: { PolicyName: string; PolicyArn: string }[] }> {
  const inline = await db
    .selectFrom("inline_policies")
    .select(["name", "document"])
    .where("principal_id", "=", id)
    .orderBy("name")
    .execute();
  const attached = await db
    .selectFrom("policy_attachments")
    .select("policy_arn")
    .where("principal_id", "=", id)
    .orderBy("policy_arn")
    .execute();
  const list = inline.map(({ name, document }) => ({ PolicyName: name, PolicyDocument: encodedDocument(document) }));
  return {
    ...({ [member]: list } as Record<M, PolicyDetail[]>),
    AttachedManagedPolicies: attached.map(({ policy_arn: arn }) => ({ PolicyName: nameIn(arn), PolicyArn: arn })),
  };
}

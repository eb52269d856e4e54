// The documents that speak for a user, group or role, with where each comes from.
import type { PolicySourceType } from "@aws-sdk/client-iam";
import type { Db } from "../../database/database.ts";
import { awsManagedPolicy } from "../../identity/aws-managed/index.ts";
import { type Entity, listEntities } from "../../model/identity/entities.ts";
import { findManagedPolicy, versionsOf } from "../../model/identity/managed-policies.ts";

export interface SourcedPolicy {
  /** As the simulator names it: `user_bob_NAME`, or a managed policy's name. */
  readonly id: string;
  readonly type: PolicySourceType;
  /** Managed ones only. */
  readonly arn?: string;
  readonly document: string;
}

/** A user's own and those of its groups. */
export async function policiesInForce(
  db: Db,
  entity: Entity,
): Promise<{ readonly identity: SourcedPolicy[]; readonly boundary: SourcedPolicy | null }> {
  const holders = [entity];
  if (entity.kind === "user") {
    const member = await db.selectFrom("group_members").select("group_id").where("user_id", "=", entity.id).execute();
    holders.push(...(await listEntities(db, "group", entity.accountId, { ids: member.map((each) => each.group_id) })));
  }
  const identity: SourcedPolicy[] = [];
  for (const holder of holders) {
    const inline = await db
      .selectFrom("inline_policies")
      .select(["name", "document"])
      .where("principal_id", "=", holder.id)
      .orderBy("name")
      .execute();
    for (const { name, document } of inline) {
      const type = holder.kind === "instance-profile" ? "none" : holder.kind;
      identity.push({ id: `${holder.kind}_${holder.name}_${name}`, type, document });
    }
    const attached = await db
      .selectFrom("policy_attachments")
      .select("policy_arn")
      .where("principal_id", "=", holder.id)
      .orderBy("policy_arn")
      .execute();
    for (const { policy_arn: arn } of attached) {
      const managed = await managedPolicy(db, entity, arn);
      if (managed !== null) identity.push(managed);
    }
  }
  return {
    identity,
    boundary: entity.boundaryArn === null ? null : await managedPolicy(db, entity, entity.boundaryArn),
  };
}

async function managedPolicy(db: Db, { accountId }: Entity, arn: string): Promise<SourcedPolicy | null> {
  const aws = awsManagedPolicy(arn);
  if (aws !== null) return { id: aws.name, type: "aws-managed", arn, document: aws.document };
  const policy = await findManagedPolicy(db, accountId, arn);
  if (policy === undefined) return null;
  const version = (await versionsOf(db, policy.id)).find((each) => each.version === policy.defaultVersion);
  return version === undefined ? null : { id: policy.name, type: "user-managed", arn, document: version.document };
}

// Users and roles with their policies, compiled, as requests need them. Loaded with four to six queries, then kept as long
// as the account's generation stands: a request costs one small query to learn the generation, and no parsing.
import type { AccountId } from "../base/ids.ts";
import type { Database, Db } from "../database/database.ts";
import { generationOf } from "../model/identity/account.ts";
import { awsManagedPolicy } from "./aws-managed/index.ts";
import { BoundedCache } from "./bounded-cache.ts";
import type { NamedPolicy } from "./evaluate.ts";
import { type CompiledPolicy, compilePolicy } from "./policy/compile.ts";
import type { DocumentKind } from "./policy/document.ts";

/** Principals and documents kept compiled. A principal with its policies is some kilobytes. */
const MOST_PRINCIPALS = 4000;
const MOST_DOCUMENTS = 8000;

export interface PrincipalRecord {
  readonly kind: "user" | "role";
  readonly id: string;
  readonly name: string;
  readonly arn: string;
  readonly tags: Readonly<Record<string, string>>;
  readonly identity: readonly NamedPolicy[];
  readonly boundary: NamedPolicy | null;
}

export interface Principals {
  /** The account's generation; `null` when it does not exist or is suspended. Always read from the database. */
  generation(account: AccountId): Promise<number | null>;
  /** `null` when there is no such user or role now. */
  find(kind: "user" | "role", account: AccountId, id: string, generation: number): Promise<PrincipalRecord | null>;
  /** Managed policies by ARN: Amazon's, or of `account`. Those that do not exist are left out: they grant nothing. */
  managed(account: AccountId, arns: readonly string[], generation: number): Promise<NamedPolicy[]>;
  /**
   * Compiles a document, or finds it compiled.
   * @param principalIds  see `ResourcePolicy.principalIds`
   * @throws ApiError `MalformedPolicyDocument`
   */
  compile(document: string, kind: DocumentKind, principalIds?: Readonly<Record<string, string>>): CompiledPolicy;
}

export function createPrincipals(database: Database): Principals {
  const records = new BoundedCache<{ readonly generation: number; readonly record: PrincipalRecord | null }>(
    MOST_PRINCIPALS,
  );
  const managedSets = new BoundedCache<{ readonly generation: number; readonly policies: NamedPolicy[] }>(
    MOST_PRINCIPALS,
  );
  const documents = new BoundedCache<CompiledPolicy>(MOST_DOCUMENTS);

  const compile: Principals["compile"] = (document, kind, principalIds) => {
    const key = `${kind} ${principalIds === undefined ? "" : JSON.stringify(principalIds)} ${document}`;
    let compiled = documents.get(key);
    if (compiled === undefined) {
      compiled = compilePolicy(document, kind, principalIds);
      documents.set(key, compiled);
    }
    return compiled;
  };

  const loadManaged = async (account: AccountId, arns: readonly string[]): Promise<NamedPolicy[]> => {
    const found: NamedPolicy[] = [];
    const own: string[] = [];
    for (const arn of arns) {
      const aws = awsManagedPolicy(arn);
      if (aws !== null) found.push({ name: arn, policy: compile(aws.document, "managed") });
      else own.push(arn);
    }
    if (own.length === 0) return found;
    for (const { arn, document } of await defaultVersions(database.read, account, own)) {
      found.push({ name: arn, policy: compile(document, "managed") });
    }
    return found;
  };

  const load = async (kind: "user" | "role", account: AccountId, id: string): Promise<PrincipalRecord | null> => {
    const row = await database.read
      .selectFrom(kind === "user" ? "users" : "roles")
      .select(["id", "name", "path", "tags", "boundary_arn"])
      .where("id", "=", id)
      .where("account_id", "=", account)
      .executeTakeFirst();
    if (row === undefined) return null;
    const groups = kind === "user" ? await groupsOf(database.read, id) : [];
    const owners = new Map<string, string | undefined>([[id, undefined]]);
    for (const group of groups) owners.set(group.id, `group/${group.name}`);
    const ids = [...owners.keys()];
    const inline = await database.read
      .selectFrom("inline_policies")
      .select(["principal_id", "name", "document"])
      .where("principal_id", "in", ids)
      .orderBy("principal_id")
      .orderBy("name")
      .execute();
    const attached = await database.read
      .selectFrom("policy_attachments")
      .select(["principal_id", "policy_arn"])
      .where("principal_id", "in", ids)
      .orderBy("principal_id")
      .orderBy("policy_arn")
      .execute();
    const arns = new Set(attached.map((each) => each.policy_arn));
    if (row.boundary_arn !== null) arns.add(row.boundary_arn);
    const managed = new Map((await loadManaged(account, [...arns])).map((each) => [each.name, each.policy]));
    const named = (name: string, policy: CompiledPolicy | undefined, owner: string): NamedPolicy[] => {
      const via = owners.get(owner);
      return policy === undefined ? [] : [via === undefined ? { name, policy } : { name, via, policy }];
    };
    const boundary = row.boundary_arn === null ? undefined : managed.get(row.boundary_arn);
    return {
      kind,
      id,
      name: row.name,
      arn: `arn:aws:iam::${account}:${kind}${row.path}${row.name}`,
      tags: JSON.parse(row.tags) as Record<string, string>,
      identity: [
        ...inline.flatMap((each) => named(each.name, compile(each.document, "inline"), each.principal_id)),
        ...attached.flatMap((each) => named(each.policy_arn, managed.get(each.policy_arn), each.principal_id)),
      ],
      // A boundary whose policy is gone allows nothing, as AWS has it.
      boundary: row.boundary_arn === null ? null : { name: row.boundary_arn, policy: boundary ?? NOTHING },
    };
  };

  return {
    generation: (account) => generationOf(database.read, account),
    compile,
    async find(kind, account, id, generation) {
      const kept = records.get(id);
      if (kept?.generation === generation && kept.record?.kind === kind) return kept.record;
      const record = await load(kind, account, id);
      records.set(id, { generation, record });
      return record;
    },
    async managed(account, arns, generation) {
      if (arns.length === 0) return [];
      const key = `${account} ${arns.join(" ")}`;
      const kept = managedSets.get(key);
      if (kept?.generation === generation) return kept.policies;
      const policies = await loadManaged(account, arns);
      managedSets.set(key, { generation, policies });
      return policies;
    },
  };
}

const NOTHING: CompiledPolicy = { statements: [], about: () => [] };

async function groupsOf(db: Db, userId: string): Promise<{ id: string; name: string }[]> {
  return db
    .selectFrom("group_members")
    .innerJoin("user_groups", "user_groups.id", "group_members.group_id")
    .select(["user_groups.id", "user_groups.name"])
    .where("group_members.user_id", "=", userId)
    .execute();
}

/** Documents in force of the account's managed policies. */
async function defaultVersions(
  db: Db,
  account: AccountId,
  arns: readonly string[],
): Promise<{ arn: string; document: string }[]> {
  return db
    .selectFrom("policies")
    .innerJoin("policy_versions", (join) =>
      join
        .onRef("policy_versions.policy_id", "=", "policies.id")
        .onRef("policy_versions.version", "=", "policies.default_version"),
    )
    .select(["policies.arn", "policy_versions.document"])
    .where("policies.account_id", "=", account)
    .where("policies.arn", "in", arns)
    .execute();
}

// What an account's organization makes of its callers: which policies limit them, and what they are members of. Kept as
// long as the account's generation stands.
import type { AccountId } from "../base/ids.ts";
import type { Database } from "../database/database.ts";
import type { CallerOrganization } from "../model/identity/caller.ts";
import { attachedTo, membershipOf, organizationArn, policyArn, targetArn } from "../model/organization.ts";
import { BoundedCache } from "./bounded-cache.ts";
import type { NamedPolicy } from "./evaluate.ts";
import type { Principals } from "./principals.ts";

export interface Standing {
  readonly organization: CallerOrganization;
  /** Service control policies, one list per level from the root to the account. None for the management account. */
  readonly policies: readonly (readonly NamedPolicy[])[];
}

export interface Organizations {
  /** `null` for accounts that are in none. */
  of(account: AccountId, generation: number): Promise<Standing | null>;
}

const MOST_ACCOUNTS = 4000;

export function createOrganizations(database: Database, principals: Pick<Principals, "compile">): Organizations {
  const kept = new BoundedCache<{ readonly generation: number; readonly standing: Standing | null }>(MOST_ACCOUNTS);

  const load = async (account: AccountId): Promise<Standing | null> => {
    const membership = await membershipOf(database.read, account);
    if (membership === undefined) return null;
    const { organization, parents } = membership;
    const units = parents.slice(1);
    const caller: CallerOrganization = {
      id: organization.id,
      path: `${[organization.id, ...parents].join("/")}/`,
      memberOf: [organizationArn(organization), ...units.map((unit) => targetArn(organization, unit))],
    };
    if (!organization.serviceControl || account === organization.managementAccount) {
      return { organization: caller, policies: [] };
    }
    const levels = [...parents, account];
    const attached = await attachedTo(database.read, organization, levels);
    const policies = levels.map((level) =>
      (attached.get(level) ?? []).map(({ id, content }) => ({
        name: policyArn(organization, id),
        via: level,
        policy: principals.compile(content, "organization"),
      })),
    );
    return { organization: caller, policies };
  };

  return {
    async of(account, generation) {
      const found = kept.get(account);
      if (found?.generation === generation) return found.standing;
      const standing = await load(account);
      kept.set(account, { generation, standing });
      return standing;
    },
  };
}

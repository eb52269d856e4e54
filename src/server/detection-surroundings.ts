// What detections may know beyond the records.
import type { Surroundings } from "../audit/detections/surroundings.ts";
import type { Db } from "../database/database.ts";
import { organizationOf } from "../model/organization.ts";

export function detectionSurroundings(db: Db): Surroundings {
  return {
    async organization(accountId) {
      const organization = await organizationOf(db, accountId);
      if (organization === undefined) return null;
      const members = await db
        .selectFrom("organization_accounts")
        .select("account_id")
        .where("organization_id", "=", organization.id)
        .execute();
      const ids = new Set(members.map((member) => member.account_id));
      // `arn:aws:organizations::ACCOUNT:organization/o-…`, `…:ou/o-…/ou-…`
      const mine = new RegExp(`^arn:aws:organizations::\\d{12}:(organization|ou)/${organization.id}(/|$)`);
      return { has: (one) => ids.has(one) || mine.test(one) };
    },
  };
}

import {
  DeleteRolePermissionsBoundary$,
  type DeleteRolePermissionsBoundaryRequest,
  DeleteUserPermissionsBoundary$,
  type DeleteUserPermissionsBoundaryRequest,
  PutRolePermissionsBoundary$,
  type PutRolePermissionsBoundaryRequest,
  PutUserPermissionsBoundary$,
  type PutUserPermissionsBoundaryRequest,
} from "@aws-sdk/client-iam";
import type { StaticOperationSchema } from "@smithy/types";
import { ApiError } from "../../base/api-error.ts";
import type { AccountId } from "../../base/ids.ts";
import type { Db } from "../../database/database.ts";
import { awsManagedPolicy } from "../../identity/aws-managed/index.ts";
import type { Action, ConditionKeys } from "../../model/access.ts";
import type { Entity } from "../../model/identity/entities.ts";
import { operation } from "../operation.ts";
import { change, current, resolveEntity } from "./entity.ts";
import { arnOf } from "./input.ts";

/** The condition key by which a delegated administrator is held to giving out bounded principals only. */
export const boundaryKeys = (arn: string | null): ConditionKeys =>
  arn === null ? {} : { "iam:PermissionsBoundary": arn };

/** The boundary that a request names; null when it names none. @throws ApiError `ValidationError` */
export const boundaryArnOf = (value: string | undefined): string | null =>
  value === undefined ? null : arnOf(value, "permissionsBoundary");

/** @throws ApiError `NoSuchEntity` when it is neither Amazon's nor the account's */
export async function mustExist(tx: Db, account: AccountId, boundaryArn: string | null): Promise<void> {
  if (boundaryArn === null || awsManagedPolicy(boundaryArn) !== null) return;
  const row = await tx
    .selectFrom("policies")
    .select("arn")
    .where("arn", "=", boundaryArn)
    .where("account_id", "=", account)
    .executeTakeFirst();
  if (row === undefined) {
    throw new ApiError("NoSuchEntity", `Scope ARN: ${boundaryArn} does not exist or is not attachable.`);
  }
}

/** Keys of a call on an entity that has a boundary. */
export const boundOf = (entity: Entity | undefined): ConditionKeys => boundaryKeys(entity?.boundaryArn ?? null);

type Bounded = "user" | "role";

const put = <const A extends Action, I extends { PermissionsBoundary: string | undefined }>(
  kind: Bounded,
  action: A,
  schema: StaticOperationSchema,
  nameOf: (input: I) => string | undefined,
) =>
  operation({
    action,
    schema,
    access: "write",
    resolve: async (ctx, input: I) => {
      const boundaryArn = arnOf(input.PermissionsBoundary, "permissionsBoundary");
      const resolved = await resolveEntity(ctx, kind, nameOf(input), action, boundaryKeys(boundaryArn));
      return { ...resolved, boundaryArn };
    },
    run: async (ctx, _input, resolved, grant) => {
      await change(ctx, grant, async (tx) => {
        const { id, accountId } = await current(tx, kind, resolved);
        await mustExist(tx, accountId, resolved.boundaryArn);
        await tx
          .updateTable(kind === "user" ? "users" : "roles")
          .set({ boundary_arn: resolved.boundaryArn })
          .where("id", "=", id)
          .execute();
      });
      return {};
    },
  });

const remove = <const A extends Action, I>(
  kind: Bounded,
  action: A,
  schema: StaticOperationSchema,
  nameOf: (input: I) => string | undefined,
) =>
  operation({
    action,
    schema,
    access: "write",
    resolve: async (ctx, input: I) => {
      const resolved = await resolveEntity(ctx, kind, nameOf(input), action);
      const checks = resolved.checks.map((each) => ({ ...each, keys: { ...each.keys, ...boundOf(resolved.entity) } }));
      return { ...resolved, checks };
    },
    run: async (ctx, _input, resolved, grant) => {
      await change(ctx, grant, async (tx) => {
        const { id } = await current(tx, kind, resolved);
        await tx
          .updateTable(kind === "user" ? "users" : "roles")
          .set({ boundary_arn: null })
          .where("id", "=", id)
          .execute();
      });
      return {};
    },
  });

export const putUserPermissionsBoundary = put(
  "user",
  "iam:PutUserPermissionsBoundary",
  PutUserPermissionsBoundary$,
  (input: PutUserPermissionsBoundaryRequest) => input.UserName,
);
export const putRolePermissionsBoundary = put(
  "role",
  "iam:PutRolePermissionsBoundary",
  PutRolePermissionsBoundary$,
  (input: PutRolePermissionsBoundaryRequest) => input.RoleName,
);
export const deleteUserPermissionsBoundary = remove(
  "user",
  "iam:DeleteUserPermissionsBoundary",
  DeleteUserPermissionsBoundary$,
  (input: DeleteUserPermissionsBoundaryRequest) => input.UserName,
);
export const deleteRolePermissionsBoundary = remove(
  "role",
  "iam:DeleteRolePermissionsBoundary",
  DeleteRolePermissionsBoundary$,
  (input: DeleteRolePermissionsBoundaryRequest) => input.RoleName,
);

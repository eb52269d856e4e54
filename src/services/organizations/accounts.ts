import {
  CloseAccount$,
  type CloseAccountRequest,
  CreateAccount$,
  type CreateAccountRequest,
  type CreateAccountStatus,
  DescribeAccount$,
  type DescribeAccountRequest,
  DescribeCreateAccountStatus$,
  type DescribeCreateAccountStatusRequest,
  ListAccounts$,
  type ListAccountsRequest,
  MoveAccount$,
  type MoveAccountRequest,
  RemoveAccountFromOrganization$,
  type RemoveAccountFromOrganizationRequest,
} from "@aws-sdk/client-organizations";
import { ApiError } from "../../base/api-error.ts";
import type { AccountId } from "../../base/ids.ts";
import type { OrganizationRequestsTable } from "../../database/tables/organizations.ts";
import { insertDelegatedAccount } from "../../identity/bootstrap.ts";
import type { Action } from "../../model/access.ts";
import { operatorAccount } from "../../model/identity/account.ts";
import { newAccountId } from "../../model/identity/ids.ts";
import { constraint, invalidInput, membersOf, mustFind, targetArn } from "../../model/organization.ts";
import {
  beginChange,
  closeAccountRow,
  insertMember,
  insertRequest,
  placeAccount,
  removeMember,
} from "../../model/organization-rows.ts";
import type { RequestContext } from "../context.ts";
import { onAnything, operation } from "../operation.ts";
import {
  accountAnswer,
  existingParent,
  managedOrganization,
  member,
  noTags,
  page,
  placeCheck,
  required,
  stillManaged,
} from "./answers.ts";

/** What Amazon calls the way in from the management account. */
const DEFAULT_ROLE = "OrganizationAccountAccessRole";

/**
 * Makes an account at once. It has no user: the management account assumes the role `OrganizationAccountAccessRole` in it.
 * Accounts are the operator's to make, so other organizations can make none.
 */
export const createAccount = operation({
  action: "organizations:CreateAccount",
  schema: CreateAccount$,
  access: "write",
  resolve: async (_ctx: RequestContext, _input: CreateAccountRequest) => onAnything("organizations:CreateAccount"),
  async run(ctx, input, _resolved, grant) {
    const organization = await managedOrganization(ctx);
    if (organization.managementAccount !== (await operatorAccount(ctx.database.read))) {
      throw constraint(
        "ACCOUNT_NUMBER_LIMIT_EXCEEDED",
        "Accounts are made by whoever operates this platform: ask there for one more.",
      );
    }
    noTags(input.Tags);
    const name = required(input.AccountName, "a name");
    if (name.length > 50) throw invalidInput("MAX_LENGTH_EXCEEDED", "An account's name has at most 50 characters.");
    const email = required(input.Email, "an email address");
    if (!/^[^\s@]{1,64}@[^\s@]+$/.test(email) || email.length > 64) {
      throw invalidInput("INVALID_EMAIL_ADDRESS_TARGET", "You specified an invalid email address.");
    }
    const roleName = input.RoleName ?? DEFAULT_ROLE;
    if (!/^[\w+=,.@-]{1,64}$/.test(roleName)) {
      throw invalidInput("INVALID_ROLE_NAME", "A role's name has letters, digits and _+=,.@-, at most 64 characters.");
    }
    const now = ctx.now();
    const made = await ctx.database.transaction(async (tx) => {
      await beginChange(tx, organization);
      const current = await stillManaged(tx, ctx, organization);
      const taken = (await membersOf(tx, current)).some((each) => each.email.toLowerCase() === email.toLowerCase());
      const request = { organization_id: organization.id, account_name: name, requested_at: now.toISOString() };
      if (taken) {
        const failed = { ...request, state: "FAILED" as const, account_id: null, failure: "EMAIL_ALREADY_EXISTS" };
        return { id: await insertRequest(grant, tx, failed), ...failed };
      }
      const id = newAccountId();
      await insertDelegatedAccount(tx, { id, name, email, now }, { roleName, trusts: organization.managementAccount });
      await insertMember(tx, current, id, "CREATED", now);
      const done = { ...request, state: "SUCCEEDED" as const, account_id: id, failure: null };
      return { id: await insertRequest(grant, tx, done), ...done };
    });
    return { CreateAccountStatus: statusAnswer(made) };
  },
});

const statusAnswer = (request: OrganizationRequestsTable): CreateAccountStatus => ({
  Id: request.id,
  AccountName: request.account_name,
  State: request.state,
  RequestedTimestamp: new Date(request.requested_at),
  CompletedTimestamp: new Date(request.requested_at),
  ...(request.account_id === null ? {} : { AccountId: request.account_id }),
  ...(request.failure === null ? {} : { FailureReason: "EMAIL_ALREADY_EXISTS" }),
});

export const describeCreateAccountStatus = operation({
  action: "organizations:DescribeCreateAccountStatus",
  schema: DescribeCreateAccountStatus$,
  access: "read",
  resolve: async (_ctx: RequestContext, _input: DescribeCreateAccountStatusRequest) =>
    onAnything("organizations:DescribeCreateAccountStatus"),
  async run(ctx, input) {
    const organization = await managedOrganization(ctx);
    const row = await ctx.database.read
      .selectFrom("organization_requests")
      .selectAll()
      .where("organization_id", "=", organization.id)
      .where("id", "=", required(input.CreateAccountRequestId, "a request"))
      .executeTakeFirst();
    const request = mustFind(
      row,
      "CreateAccountStatusNotFoundException",
      "We can't find a create account request with the CreateAccountRequestId that you specified.",
    );
    return { CreateAccountStatus: statusAnswer(request) };
  },
});

export const listAccounts = operation({
  action: "organizations:ListAccounts",
  schema: ListAccounts$,
  access: "read",
  resolve: async (_ctx: RequestContext, _input: ListAccountsRequest) => onAnything("organizations:ListAccounts"),
  async run(ctx, input) {
    const organization = await managedOrganization(ctx);
    const { items, ...more } = page(ctx, "ListAccounts", input, await membersOf(ctx.database.read, organization));
    return { Accounts: items.map((account) => accountAnswer(organization, account)), ...more };
  },
});

async function resolveAccount<A extends Action>(ctx: RequestContext, action: A, value: string | undefined) {
  const organization = await managedOrganization(ctx);
  const account = await member(ctx.database.read, organization, required(value, "an account"));
  return { organization, account, checks: [placeCheck(action, organization, account.id)] };
}

export const describeAccount = operation({
  action: "organizations:DescribeAccount",
  schema: DescribeAccount$,
  access: "read",
  resolve: (ctx: RequestContext, input: DescribeAccountRequest) =>
    resolveAccount(ctx, "organizations:DescribeAccount", input.AccountId),
  run: async (_ctx, _input, { organization, account }) => ({ Account: accountAnswer(organization, account) }),
});

export const moveAccount = operation({
  action: "organizations:MoveAccount",
  schema: MoveAccount$,
  access: "write",
  async resolve(ctx: RequestContext, input: MoveAccountRequest) {
    const found = await resolveAccount(ctx, "organizations:MoveAccount", input.AccountId);
    const from = required(input.SourceParentId, "a source");
    const to = required(input.DestinationParentId, "a destination");
    const places = [from, to].map((id) => ({
      action: "organizations:MoveAccount" as const,
      resource: targetArn(found.organization, id),
      keys: {},
    }));
    return { ...found, from, to, checks: [...found.checks, ...places] };
  },
  async run(ctx, _input, { organization, account, from, to }, grant) {
    await ctx.database.transaction(async (tx) => {
      await beginChange(tx, organization);
      const current = await member(tx, organization, account.id);
      try {
        await existingParent(tx, organization, to);
      } catch (cause) {
        if (!(cause instanceof ApiError) || cause.code !== "ParentNotFoundException") throw cause;
        throw new ApiError("DestinationParentNotFoundException", "We can't find the destination that you specified.");
      }
      if (current.parentId !== from) {
        throw new ApiError("SourceParentNotFoundException", "The account is not right below the source you specified.");
      }
      if (from === to) {
        throw new ApiError(
          "DuplicateAccountException",
          "That account is already present in the specified destination.",
        );
      }
      await placeAccount(grant, tx, account.id, to);
    });
  },
});

/** From now its credentials are refused; what it owns stays, and is its own no more than before. */
export const closeAccount = operation({
  action: "organizations:CloseAccount",
  schema: CloseAccount$,
  access: "write",
  resolve: (ctx: RequestContext, input: CloseAccountRequest) =>
    resolveAccount(ctx, "organizations:CloseAccount", input.AccountId),
  async run(ctx, _input, { organization, account }, grant) {
    if (account.id === organization.managementAccount) {
      throw constraint("CANNOT_CLOSE_MANAGEMENT_ACCOUNT", "You cannot close the organization's management account.");
    }
    await ctx.database.transaction(async (tx) => {
      await beginChange(tx, organization);
      if ((await member(tx, organization, account.id)).status === "SUSPENDED") {
        throw new ApiError(
          "AccountAlreadyClosedException",
          "You attempted to close an account that is already closed.",
        );
      }
      await closeAccountRow(grant, tx, account.id);
    });
  },
});

/** It goes on by itself; its users and roles stay. */
export const removeAccountFromOrganization = operation({
  action: "organizations:RemoveAccountFromOrganization",
  schema: RemoveAccountFromOrganization$,
  access: "write",
  resolve: (ctx: RequestContext, input: RemoveAccountFromOrganizationRequest) =>
    resolveAccount(ctx, "organizations:RemoveAccountFromOrganization", input.AccountId),
  async run(ctx, _input, { organization, account }, grant) {
    if (account.id === organization.managementAccount) {
      throw new ApiError("MasterCannotLeaveOrganizationException", "The management account cannot leave.");
    }
    const id: AccountId = account.id;
    await ctx.database.transaction(async (tx) => {
      await beginChange(tx, organization);
      await removeMember(grant, tx, id);
    });
  },
});

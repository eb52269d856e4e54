import { ApiError } from "../../base/api-error.ts";
import { type AccountId, isAccountId } from "../../base/ids.ts";
import { createAccount as makeAccount } from "../../identity/bootstrap.ts";
import { PLATFORM_ACCOUNT } from "../../model/identity/account.ts";
import type { RequestContext } from "../context.ts";
import { operation } from "../operation.ts";
import { operatorCheck } from "./operator.ts";
import {
  type AccountSummary$,
  CreateAccount$,
  type CreateAccountRequest$,
  type CreateAccountResponse$,
  ListAccounts$,
  type ListAccountsRequest$,
  type ListAccountsResponse$,
} from "./schema.ts";
import type { Of } from "./shapes.ts";

/** Every account has one; accounts that nobody writes to need none that is real. */
const addressOf = (name: string): string => `${name.toLowerCase().replace(/[^a-z0-9]+/g, "-")}@localhost`;

export const createAccount = operation({
  action: "ingot:CreateAccount",
  schema: CreateAccount$.schema,
  access: "write",
  async resolve(ctx: RequestContext, _input: Of<typeof CreateAccountRequest$>) {
    return { checks: [await operatorCheck(ctx, "ingot:CreateAccount")] };
  },
  async run(ctx, input): Promise<Of<typeof CreateAccountResponse$>> {
    const name = input.Name.trim();
    if (name === "" || name.length > 50) throw invalid("Name takes 1 to 50 characters.");
    const email = input.Email ?? addressOf(name);
    if (!/^[^\s@]+@[^\s@]+$/.test(email) || email.length > 64) throw invalid("Email takes an address.");
    if (input.AccountId !== undefined && !isAccountId(input.AccountId)) throw invalid("AccountId takes 12 digits.");
    const id: { id?: AccountId } = input.AccountId === undefined ? {} : { id: input.AccountId };
    const { identity } = ctx.parts;
    const made = await makeAccount(
      { database: ctx.database, masterKey: identity.masterKey, now: ctx.now() },
      { ...id, name, email },
    );
    const { accessKeyId, secretAccessKey, userName } = made.administrator;
    return {
      Account: { AccountId: made.id, Name: name, Email: email, Status: "ACTIVE", CreatedAt: ctx.now() },
      Administrator: { UserName: userName, AccessKeyId: accessKeyId, SecretAccessKey: secretAccessKey },
    };
  },
});

const MOST_ACCOUNTS = 1000;

export const listAccounts = operation({
  action: "ingot:ListAccounts",
  schema: ListAccounts$.schema,
  access: "read",
  async resolve(ctx: RequestContext, _input: Of<typeof ListAccountsRequest$>) {
    return { checks: [await operatorCheck(ctx, "ingot:ListAccounts")] };
  },
  async run(ctx, input): Promise<Of<typeof ListAccountsResponse$>> {
    const most = input.MaxResults ?? MOST_ACCOUNTS;
    if (most < 1 || most > MOST_ACCOUNTS) throw invalid(`MaxResults takes 1 to ${MOST_ACCOUNTS}.`);
    const after = input.NextToken ?? "";
    if (after !== "" && !isAccountId(after)) throw invalid("NextToken is not one of ours.");
    const rows = await ctx.database.read
      .selectFrom("accounts")
      .select(["id", "name", "email", "alias", "status", "created_at"])
      .where("id", "<>", PLATFORM_ACCOUNT)
      .where("id", ">", after)
      .orderBy("id")
      .limit(most + 1)
      .execute();
    const page = rows.slice(0, most);
    const last = page.at(-1);
    return {
      Accounts: page.map(
        (row): Of<typeof AccountSummary$> => ({
          AccountId: row.id,
          Name: row.name,
          Email: row.email,
          Status: row.status,
          CreatedAt: new Date(row.created_at),
          ...(row.alias === null ? {} : { Alias: row.alias }),
        }),
      ),
      ...(rows.length > most && last !== undefined ? { NextToken: last.id } : {}),
    };
  },
});

const invalid = (sentence: string): ApiError => new ApiError("ValidationException", sentence);

// ingot account create, list: what the operator does, who is whoever administrates the first account.
import { CreateAccount$, ListAccounts$, type ListAccountsResponse$ } from "../../services/ingot/schema.ts";
import type { Of } from "../../services/ingot/shapes.ts";
import { ingotClient } from "../clients/ingot.ts";
import { table } from "../output.ts";
import { type CommonOptions, openSession } from "../session.ts";

export interface CreateAccountOptions extends CommonOptions {
  readonly id?: string;
  readonly name: string;
  readonly email?: string;
}

export async function create(options: CreateAccountOptions): Promise<void> {
  const { connection, output } = openSession(options);
  const { id, name, email } = options;
  const { Account: account, Administrator: administrator } = await ingotClient(connection).send(CreateAccount$, {
    Name: name,
    ...(id === undefined ? {} : { AccountId: id }),
    ...(email === undefined ? {} : { Email: email }),
  });
  const { UserName: user = "", AccessKeyId: key, SecretAccessKey: secret } = administrator;
  output.result(
    { AccountId: account.AccountId, Name: name, UserName: user, AccessKeyId: key, SecretAccessKey: secret },
    [
      `# Account ${account.AccountId} (${name}), its user ${user}. The secret is shown this once.`,
      `export AWS_ACCESS_KEY_ID=${key}`,
      `export AWS_SECRET_ACCESS_KEY=${secret}`,
    ].join("\n"),
  );
}

export async function list(options: CommonOptions): Promise<void> {
  const { connection, output } = openSession(options);
  const client = ingotClient(connection);
  const accounts: Of<typeof ListAccountsResponse$>["Accounts"][number][] = [];
  let token: string | undefined;
  do {
    const page = await client.send(ListAccounts$, token === undefined ? {} : { NextToken: token });
    accounts.push(...page.Accounts);
    token = page.NextToken;
  } while (token !== undefined);
  const shown = accounts
    .sort((a, b) => a.CreatedAt.getTime() - b.CreatedAt.getTime())
    .map((each) => ({
      Id: each.AccountId,
      Name: each.Name,
      Email: each.Email,
      Alias: each.Alias ?? null,
      Status: each.Status,
      CreatedAt: each.CreatedAt.toISOString(),
    }));
  const rows = shown.map((each) => [each.Id, each.Name, each.Email, each.Status, each.CreatedAt]);
  output.result({ Accounts: shown }, await table(["ACCOUNT", "NAME", "EMAIL", "STATUS", "MADE"], rows));
}

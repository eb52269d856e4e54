// ingot account create, list: what the operator does, on the machine that has the data directory and its master key.
// There is no door for it in the API: whoever can read these files can do anything anyway.
import { isAccountId } from "../../base/ids.ts";
import { type Database, openDatabase } from "../../database/database.ts";
import { createAccount } from "../../identity/bootstrap.ts";
import { loadMasterKey } from "../../identity/master-key.ts";
import { PLATFORM_ACCOUNT } from "../../model/identity/account.ts";
import { dataDirectoryOf, readCredentials } from "../connection.ts";
import { CliError, EXIT } from "../failure.ts";
import { Output, table } from "../output.ts";
import type { CommonOptions } from "../session.ts";

export interface AccountOptions extends CommonOptions {
  readonly database?: string;
}

export interface CreateAccountOptions extends AccountOptions {
  readonly id?: string;
  readonly name: string;
  readonly email: string;
}

export async function create(options: CreateAccountOptions): Promise<void> {
  const { id, name, email } = options;
  if (id !== undefined && !isAccountId(id)) {
    throw new CliError(`--id takes 12 digits, not ${id}`, { exitCode: EXIT.usage });
  }
  const directory = dataDirectoryOf(options.data);
  // Refuses a directory that no server has made: opening the database would begin one.
  readCredentials(directory);
  const made = await withDatabase(directory, options, async (database) => {
    const masterKey = await loadMasterKey(`${directory}/master.key`, process.env.INGOT_MASTER_KEY);
    return createAccount(
      { database, masterKey, now: new Date() },
      { ...(id === undefined ? {} : { id }), name, email },
    );
  });
  const { accessKeyId, secretAccessKey, userName } = made.administrator;
  new Output(options.json === true).result(
    { AccountId: made.id, Name: name, UserName: userName, AccessKeyId: accessKeyId, SecretAccessKey: secretAccessKey },
    [
      `# Account ${made.id} (${name}), its user ${userName}. The secret is shown this once.`,
      `export AWS_ACCESS_KEY_ID=${accessKeyId}`,
      `export AWS_SECRET_ACCESS_KEY=${secretAccessKey}`,
    ].join("\n"),
  );
}

export async function list(options: AccountOptions): Promise<void> {
  const directory = dataDirectoryOf(options.data);
  readCredentials(directory);
  const accounts = await withDatabase(directory, options, (database) =>
    database.read
      .selectFrom("accounts")
      .select(["id", "name", "email", "alias", "status", "created_at"])
      .where("id", "<>", PLATFORM_ACCOUNT)
      .orderBy("created_at")
      .execute(),
  );
  const rows = accounts.map(({ id, name, email, status, created_at }) => [id, name, email, status, created_at]);
  new Output(options.json === true).result(
    {
      Accounts: accounts.map(({ id, name, email, alias, status, created_at }) => ({
        Id: id,
        Name: name,
        Email: email,
        Alias: alias,
        Status: status,
        CreatedAt: created_at,
      })),
    },
    await table(["ACCOUNT", "NAME", "EMAIL", "STATUS", "MADE"], rows),
  );
}

async function withDatabase<T>(
  directory: string,
  options: AccountOptions,
  work: (database: Database) => Promise<T>,
): Promise<T> {
  const database = await openDatabase(
    options.database === undefined
      ? { engine: "sqlite", path: `${directory}/ingot.sqlite` }
      : { engine: "postgres", url: options.database },
  );
  try {
    return await work(database);
  } finally {
    await database.close();
  }
}

// What every command is given: where the server is, and how to show a result.
import { type Connection, connect } from "./connection.ts";
import { Output } from "./output.ts";

/** The options that every command takes. */
export interface CommonOptions {
  readonly data?: string;
  readonly json?: boolean;
}

export interface Session {
  readonly connection: Connection;
  readonly output: Output;
}

/** For commands that call the API. @throws CliError when no server runs */
export function openSession(options: CommonOptions): Session {
  const connection = connect(options.data);
  return { connection, output: new Output(options.json === true) };
}

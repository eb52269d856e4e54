// ingot env: what a shell must export so that the AWS CLI and every SDK talk to the server that runs.
import { connect, dataDirectoryOf, notRunning } from "../connection.ts";
import { Output } from "../output.ts";
import type { CommonOptions } from "../session.ts";

export async function env(options: CommonOptions): Promise<void> {
  const { endpoint, region, credentials, dataDirectory } = connect(dataDirectoryOf(options.data));
  await fetch(new URL("/healthz", endpoint), { signal: AbortSignal.timeout(5_000) }).catch(() => {
    throw notRunning(dataDirectory, options.data);
  });
  const variables = {
    AWS_ENDPOINT_URL: endpoint,
    AWS_ACCESS_KEY_ID: credentials.accessKeyId,
    AWS_SECRET_ACCESS_KEY: credentials.secretAccessKey,
    AWS_DEFAULT_REGION: region,
  };
  // Left over from another account's session they would be sent with these keys; and a Region set in AWS_REGION wins.
  const unset = ["AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_REGION"].filter((name) => process.env[name] !== undefined);
  new Output(options.json === true).result(
    variables,
    [
      ...(unset.length === 0 ? [] : [`unset ${unset.join(" ")}`]),
      ...Object.entries(variables).map(([name, value]) => `export ${name}=${shellWord(value)}`),
    ].join("\n"),
  );
}

/** A word that a POSIX shell reads as exactly this text; bare where that is safe. */
const shellWord = (text: string): string =>
  /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;

// Whom a command talks to, and as whom.
//
// `--data` named: that directory's server and administrator. Else AWS_ENDPOINT_URL with AWS_ACCESS_KEY_ID and
// AWS_SECRET_ACCESS_KEY, all three, as `ingot env` sets them. Else the default data directory. Keys without an endpoint
// are meant for Amazon: they are left alone, so that nobody's real key is ever sent to a server here, and the other way round.
import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { systemCode } from "../base/errors.ts";
import { defaultDataDirectory } from "../server/config.ts";
import type { ServerInfo, StoredCredentials } from "../server/data-directory.ts";
import { replaceText } from "./aws-profile.ts";
import { CliError, EXIT } from "./failure.ts";

export interface Keys {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly sessionToken?: string;
}

export interface Connection {
  readonly endpoint: string;
  readonly region: string;
  readonly credentials: Keys;
  /** Where this user's own files for it are: private keys, known hosts. */
  readonly dataDirectory: string;
}

/** @param named what `--data` was given */
export function dataDirectoryOf(named: string | undefined): string {
  return resolve(named ?? process.env.INGOT_DATA ?? defaultDataDirectory(process.env));
}

/** @throws CliError when there is no server, with the way to start one */
export function connect(named: string | undefined): Connection {
  const dataDirectory = dataDirectoryOf(named);
  const env = process.env;
  if (named === undefined && env.AWS_ENDPOINT_URL && env.AWS_ACCESS_KEY_ID && env.AWS_SECRET_ACCESS_KEY) {
    return {
      endpoint: env.AWS_ENDPOINT_URL,
      region: env.AWS_REGION ?? env.AWS_DEFAULT_REGION ?? "us-east-1",
      credentials: {
        accessKeyId: env.AWS_ACCESS_KEY_ID,
        secretAccessKey: env.AWS_SECRET_ACCESS_KEY,
        ...(env.AWS_SESSION_TOKEN ? { sessionToken: env.AWS_SESSION_TOKEN } : {}),
      },
      dataDirectory,
    };
  }
  const server = readServerInfo(dataDirectory);
  if (server === null) throw notRunning(dataDirectory, named);
  const { administrator, region } = readCredentials(dataDirectory);
  return {
    endpoint: server.url,
    region,
    credentials: { accessKeyId: administrator.accessKeyId, secretAccessKey: administrator.secretAccessKey },
    dataDirectory,
  };
}

export function notRunning(dataDirectory: string, named: string | undefined): CliError {
  const how = named === undefined ? "ingot serve" : `ingot serve --data ${named}`;
  return new CliError(`no server runs on the data directory ${dataDirectory}: start it with ${how}`, {
    exitCode: EXIT.unreachable,
  });
}

/** null: no server runs, or its last one was killed together with its machine. */
export function readServerInfo(dataDirectory: string): ServerInfo | null {
  return readJson<ServerInfo>(`${dataDirectory}/server.json`);
}

/** @throws CliError when the file is not there */
export function readCredentials(dataDirectory: string): StoredCredentials {
  const stored = readJson<StoredCredentials>(`${dataDirectory}/credentials.json`);
  if (stored === null) {
    throw new CliError(
      `${dataDirectory} holds no credentials.json: another machine's first start has made this account; set AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY`,
    );
  }
  return stored;
}

/** Puts a new key where `credentials.json` has another, so that commands go on with it. */
export async function replaceStoredKey(dataDirectory: string, replaced: string, made: Keys): Promise<void> {
  const path = `${dataDirectory}/credentials.json`;
  const stored = readJson<StoredCredentials>(path);
  if (stored === null) return;
  const { administrator, root } = stored;
  const renewed = {
    ...stored,
    administrator: administrator.accessKeyId === replaced ? { ...administrator, ...made } : administrator,
    root: root.accessKeyId === replaced ? { ...root, ...made } : root,
  };
  if (JSON.stringify(renewed) !== JSON.stringify(stored))
    await replaceText(path, `${JSON.stringify(renewed, null, 2)}\n`);
}

function readJson<T>(path: string): T | null {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (cause) {
    const code = systemCode(cause);
    if (code === "ENOENT" || code === "ENOTDIR") return null;
    if (code === "EACCES") throw new CliError(`${path} is another user's: give --data, or run as that user`);
    throw new CliError(`read ${path}`, { cause });
  }
  try {
    return JSON.parse(text) as T;
  } catch (cause) {
    throw new CliError(`${path} is damaged`, { cause });
  }
}

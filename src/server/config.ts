// What the server is started with: options of `ingot serve`, with defaults that suit one user on one machine.
import { homedir } from "node:os";
import { isAbsolute, join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { type BucketLocation, parseBucketUrl } from "../base/external-bucket.ts";
import { type AccountId, isAccountId } from "../base/ids.ts";
import type { DatabaseLocation } from "../database/database.ts";

export interface ServerConfig {
  /** Absolute. */
  readonly dataDirectory: string;
  readonly host: string;
  readonly port: number;
  /** The first account's id; drawn at the first start when absent. */
  readonly accountId: AccountId | undefined;
  readonly database: DatabaseLocation;
  /** Where snapshots' content is kept; `undefined`: in the data directory. */
  readonly bucket: BucketLocation | undefined;
  /** Where the content of S3 objects is kept; `undefined`: in the data directory. */
  readonly objectsBucket: BucketLocation | undefined;
  /** Memory for instances; default: the host's, but for what it needs itself. */
  readonly memoryMib: number | undefined;
  readonly network: "kernel" | "user" | undefined;
  /** Skip building and registering `ingot/tiny` at the first start. */
  readonly bare: boolean;
  /** Between deliveries of trails, and between their digests. */
  readonly trailSeconds: number;
  readonly digestSeconds: number;
  /** Audit events older than this are dropped; default: kept for ever. */
  readonly auditDays: number | undefined;
  /** The operator's own rules, besides those that are shipped. */
  readonly detections: string | undefined;
  /** Where findings are told. */
  readonly webhook: { readonly url: string; readonly secret?: string } | undefined;
  /** 64 hex digits or base64; instead of any file. */
  readonly masterKey: string | undefined;
  /** Absolute; instead of the data directory's own. */
  readonly masterKeyFile: string | undefined;
}

const STORE_OPTION = { name: "--store", variables: "INGOT_STORE" };
const OBJECTS_OPTION = { name: "--objects", variables: "INGOT_OBJECTS" };

export const DEFAULT_PORT = 8773;
/** CloudTrail's own. */
const TRAIL_SECONDS = 5 * 60;
const DIGEST_SECONDS = 60 * 60;
const DEFAULT_HOST = "127.0.0.1";

/** `$XDG_DATA_HOME/ingot`, else `~/.local/share/ingot`. */
export function defaultDataDirectory(environment: NodeJS.ProcessEnv): string {
  const base = environment.XDG_DATA_HOME;
  return join(base !== undefined && isAbsolute(base) ? base : join(homedir(), ".local", "share"), "ingot");
}

export const SERVE_USAGE = `ingot serve: runs the server in the foreground

  --data DIR       where everything is kept (default: the user's data directory)
  --port N         port to listen on (default ${DEFAULT_PORT}; 0: any free one)
  --host ADDRESS   address to listen on (default ${DEFAULT_HOST})
  --account ID     12 digits of the first account (default: drawn at the first start)
  --database URL   postgres://… instead of SQLite in the data directory
  --store URL      s3://BUCKET/PREFIX?endpoint=URL&region=NAME instead of the data directory, for snapshots' content;
                   keys in INGOT_STORE_ACCESS_KEY_ID and INGOT_STORE_SECRET_ACCESS_KEY
  --objects URL    the same for the content of S3 objects (trails' files among them);
                   keys in INGOT_OBJECTS_ACCESS_KEY_ID and INGOT_OBJECTS_SECRET_ACCESS_KEY
  --memory MIB     memory for instances (default: the host's, less what it needs itself)
  --network KIND   kernel or user (default: the best that works here)
  --trail-interval SECONDS   between deliveries of trails (default 300)
  --digest-interval SECONDS  between their signed digests (default 3600)
  --audit-days N   drop audit events older than this (default: never)
  --detections DIR more detection rules, Sigma files, besides those that come along
  --webhook URL    gets each finding by POST, signed with INGOT_WEBHOOK_SECRET where that is set
  --master-key FILE          the key that seals every secret (default: in the data directory); made when it is missing
  --no-image       do not build the image ingot/tiny at the first start

  INGOT_MASTER_KEY in the environment takes the place of the key file.`;

/** @throws Error in a sentence for the person who typed it */
export function parseConfig(args: readonly string[], environment: NodeJS.ProcessEnv): ServerConfig {
  const { values } = parseArgs({
    args: [...args],
    options: {
      data: { type: "string" },
      port: { type: "string" },
      host: { type: "string" },
      account: { type: "string" },
      database: { type: "string" },
      store: { type: "string" },
      objects: { type: "string" },
      memory: { type: "string" },
      network: { type: "string" },
      "trail-interval": { type: "string" },
      "digest-interval": { type: "string" },
      "audit-days": { type: "string" },
      detections: { type: "string" },
      webhook: { type: "string" },
      "master-key": { type: "string" },
      "no-image": { type: "boolean" },
    },
  });
  const dataDirectory = resolve(values.data ?? environment.INGOT_DATA ?? defaultDataDirectory(environment));
  const port = values.port ?? String(DEFAULT_PORT);
  if (!/^\d{1,5}$/.test(port) || Number(port) > 65_535)
    throw new Error(`--port takes a number up to 65535, not ${port}`);
  if (values.account !== undefined && !isAccountId(values.account)) {
    throw new Error(`--account takes 12 digits, not ${values.account}`);
  }
  if (values.memory !== undefined && !/^\d{2,9}$/.test(values.memory)) {
    throw new Error(`--memory takes a number of MiB, not ${values.memory}`);
  }
  for (const name of ["trail-interval", "digest-interval", "audit-days"] as const) {
    const value = values[name];
    if (value !== undefined && !/^[1-9]\d{0,5}$/.test(value)) {
      throw new Error(`--${name} takes a whole number from 1, not ${value}`);
    }
  }
  if (values.network !== undefined && values.network !== "kernel" && values.network !== "user") {
    throw new Error(`--network is kernel or user, not ${values.network}`);
  }
  if (values.database !== undefined && !/^postgres(ql)?:\/\//.test(values.database)) {
    throw new Error("--database takes a postgres:// URL");
  }
  if (values.webhook !== undefined && !/^https?:\/\//.test(values.webhook)) {
    throw new Error("--webhook takes an http:// or https:// URL");
  }
  const secret = environment.INGOT_WEBHOOK_SECRET;
  const masterKeyFile = values["master-key"];
  if (masterKeyFile !== undefined && environment.INGOT_MASTER_KEY) {
    throw new Error("--master-key and INGOT_MASTER_KEY each name the master key: give one of them");
  }
  return {
    dataDirectory,
    host: values.host ?? DEFAULT_HOST,
    port: Number(port),
    accountId: values.account as AccountId | undefined,
    database:
      values.database === undefined
        ? { engine: "sqlite", path: join(dataDirectory, "ingot.sqlite") }
        : { engine: "postgres", url: values.database },
    bucket: values.store === undefined ? undefined : parseBucketUrl(values.store, environment, STORE_OPTION),
    objectsBucket:
      values.objects === undefined ? undefined : parseBucketUrl(values.objects, environment, OBJECTS_OPTION),
    memoryMib: values.memory === undefined ? undefined : Number(values.memory),
    network: values.network,
    bare: values["no-image"] === true,
    trailSeconds: Number(values["trail-interval"] ?? TRAIL_SECONDS),
    digestSeconds: Number(values["digest-interval"] ?? DIGEST_SECONDS),
    auditDays: values["audit-days"] === undefined ? undefined : Number(values["audit-days"]),
    detections: values.detections === undefined ? undefined : resolve(values.detections),
    webhook:
      values.webhook === undefined ? undefined : { url: values.webhook, ...(secret === undefined ? {} : { secret }) },
    masterKey: environment.INGOT_MASTER_KEY || undefined,
    masterKeyFile: masterKeyFile === undefined ? undefined : resolve(masterKeyFile),
  };
}

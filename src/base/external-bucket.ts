// A bucket of somebody's S3 as the home of what Ingot keeps: where it is, a client for it, and whose it is. The SDK's S3
// client is loaded only where a bucket is used: it costs 100 ms and 35 MB.
import { randomBytes } from "node:crypto";
import { readFile, writeFile } from "node:fs/promises";
import { hostname } from "node:os";
import type { S3Client } from "@aws-sdk/client-s3";

/** Travels to workers and to the block server as JSON. */
export interface BucketLocation {
  readonly bucket: string;
  /** Before every name: empty, or with a slash at its end. */
  readonly prefix: string;
  /** `null`: Amazon's. */
  readonly endpoint: string | null;
  readonly region: string;
  /** `null`: what the SDK finds by itself (profile, instance role). */
  readonly credentials: { readonly accessKeyId: string; readonly secretAccessKey: string } | null;
}

/** The option that names a bucket, and its variables' beginning. */
export interface BucketOption {
  /** `--store`. */
  readonly name: string;
  /** `INGOT_STORE`: keys are in INGOT_STORE_ACCESS_KEY_ID and INGOT_STORE_SECRET_ACCESS_KEY. */
  readonly variables: string;
}

/**
 * `s3://BUCKET/PREFIX?endpoint=URL&region=NAME`, and keys from variables of Ingot's own (not AWS_…: those are, after
 * `ingot env`, keys of Ingot itself).
 * @throws Error in a sentence for whoever wrote it
 */
export function parseBucketUrl(text: string, environment: NodeJS.ProcessEnv, option: BucketOption): BucketLocation {
  const { name, variables } = option;
  const unclear = () => new Error(`${name} takes s3://BUCKET/PREFIX?endpoint=URL, not ${text}`);
  let url: URL;
  try {
    url = new URL(text);
  } catch {
    throw unclear();
  }
  if (url.protocol !== "s3:" || !/^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/.test(url.hostname)) throw unclear();
  for (const key of url.searchParams.keys()) {
    if (key !== "endpoint" && key !== "region") throw new Error(`${name} knows endpoint and region, not ${key}`);
  }
  const endpoint = url.searchParams.get("endpoint");
  if (endpoint !== null && !/^https?:\/\/[^/]/.test(endpoint)) {
    throw new Error(`the endpoint of ${name} is an http:// or https:// URL, not ${endpoint}`);
  }
  const prefix = decodeURIComponent(url.pathname).replace(/^\/+|\/+$/g, "");
  const accessKeyId = environment[`${variables}_ACCESS_KEY_ID`];
  const secretAccessKey = environment[`${variables}_SECRET_ACCESS_KEY`];
  if ((accessKeyId === undefined) !== (secretAccessKey === undefined)) {
    throw new Error(`${variables}_ACCESS_KEY_ID and ${variables}_SECRET_ACCESS_KEY go together`);
  }
  return {
    bucket: url.hostname,
    prefix: prefix === "" ? "" : `${prefix}/`,
    endpoint,
    region: url.searchParams.get("region") ?? "us-east-1",
    credentials: accessKeyId === undefined || secretAccessKey === undefined ? null : { accessKeyId, secretAccessKey },
  };
}

export async function openBucketClient({ endpoint, region, credentials }: BucketLocation): Promise<S3Client> {
  const { S3Client } = await import("@aws-sdk/client-s3");
  return new S3Client({
    region,
    maxAttempts: 5,
    ...(endpoint === null ? {} : { endpoint, forcePathStyle: true }),
    ...(credentials === null ? {} : { credentials }),
  });
}

/** HTTP status of a refusal; undefined where there was no answer. */
export function refusalStatus(error: unknown): number | undefined {
  if (!(error instanceof Error) || !("$metadata" in error)) return undefined;
  const { httpStatusCode } = error.$metadata as { httpStatusCode?: number };
  return httpStatusCode;
}

const TAKE_ATTEMPTS = 4;

/**
 * Takes the bucket (below its prefix) for this data directory: two owners would remove each other's objects. The mark is the
 * object `owner`, and the same bytes at `path`.
 * @throws Error when another directory has it
 */
export async function takeBucket(client: S3Client, location: BucketLocation, path: string): Promise<void> {
  const { GetObjectCommand, PutObjectCommand } = await import("@aws-sdk/client-s3");
  const owner = { Bucket: location.bucket, Key: `${location.prefix}owner` };
  const mine = await readFile(path).catch(async () => {
    const mark = { version: 1, host: hostname(), owner: randomBytes(16).toString("hex") };
    const made = Buffer.from(`${JSON.stringify(mark)}\n`);
    await writeFile(path, made, { mode: 0o600, flush: true });
    return made;
  });
  for (let attempt = 1; ; attempt++) {
    let theirs: Buffer | null = null;
    try {
      const { Body } = await client.send(new GetObjectCommand(owner));
      theirs = Buffer.from((await Body?.transformToByteArray()) ?? []);
    } catch (cause) {
      if (refusalStatus(cause) !== 404) throw new Error(`ask whose the bucket ${location.bucket} is`, { cause });
    }
    if (theirs?.equals(mine)) return;
    if (theirs !== null) {
      const { host } = JSON.parse(theirs.toString("utf8")) as { host?: string };
      throw new Error(
        `the bucket ${location.bucket} is in use by another data directory, on ${host}: when that is gone for good, remove the object ${owner.Key}`,
      );
    }
    if (attempt === TAKE_ATTEMPTS) throw new Error(`take the bucket ${location.bucket}`);
    try {
      await client.send(new PutObjectCommand({ ...owner, Body: mine, IfNoneMatch: "*" }));
    } catch (cause) {
      // Somebody else was quicker, or an attempt of ours whose answer was lost: it is looked at again.
      const status = refusalStatus(cause);
      if (status !== 409 && status !== 412) throw new Error(`take the bucket ${location.bucket}`, { cause });
    }
  }
}

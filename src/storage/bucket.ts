// A bucket as a store's home: where it is, and a client for it. The SDK's S3 client is loaded only where a bucket is used:
// it costs 100 ms and 35 MB.
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

/**
 * `s3://BUCKET/PREFIX?endpoint=URL&region=NAME`, and keys from INGOT_STORE_ACCESS_KEY_ID and
 * INGOT_STORE_SECRET_ACCESS_KEY (not AWS_…: those are, after `ingot env`, keys of Ingot itself).
 * @throws Error in a sentence for whoever wrote it
 */
export function parseBucketUrl(text: string, environment: NodeJS.ProcessEnv): BucketLocation {
  let url: URL;
  try {
    url = new URL(text);
  } catch {
    throw new Error(`--store takes s3://BUCKET/PREFIX?endpoint=URL, not ${text}`);
  }
  if (url.protocol !== "s3:" || !/^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/.test(url.hostname)) {
    throw new Error(`--store takes s3://BUCKET/PREFIX?endpoint=URL, not ${text}`);
  }
  for (const key of url.searchParams.keys()) {
    if (key !== "endpoint" && key !== "region") throw new Error(`--store knows endpoint and region, not ${key}`);
  }
  const endpoint = url.searchParams.get("endpoint");
  if (endpoint !== null && !/^https?:\/\/[^/]/.test(endpoint)) {
    throw new Error(`the store's endpoint is an http:// or https:// URL, not ${endpoint}`);
  }
  const prefix = decodeURIComponent(url.pathname).replace(/^\/+|\/+$/g, "");
  const accessKeyId = environment.INGOT_STORE_ACCESS_KEY_ID;
  const secretAccessKey = environment.INGOT_STORE_SECRET_ACCESS_KEY;
  if ((accessKeyId === undefined) !== (secretAccessKey === undefined)) {
    throw new Error("INGOT_STORE_ACCESS_KEY_ID and INGOT_STORE_SECRET_ACCESS_KEY go together");
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

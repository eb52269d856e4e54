// Which bucket and which key a request means: in its path, or the bucket in the host's name.
//
//   path style       http://host:port/bucket/key
//   virtual hosts    http://bucket.localhost:port/key      http://bucket.s3.anything/key      http://bucket.s3-region.anything/key
import { ApiError } from "../base/api-error.ts";
import type { WireRequest } from "./wire.ts";

export interface S3Address {
  /** Not checked for form; absent in a call to the service itself. */
  readonly bucket?: string;
  /** Any text. Never a path of ours. */
  readonly key?: string;
}

/** @throws ApiError `InvalidURI` */
export function addressOf(request: Pick<WireRequest, "path" | "headers">): S3Address {
  const named = bucketOfHost(request.headers.host ?? "");
  const path = request.path.slice(1);
  if (named !== undefined) return path === "" ? { bucket: named } : { bucket: named, key: decode(path) };
  if (path === "") return {};
  const slash = path.indexOf("/");
  const bucket = decode(slash < 0 ? path : path.slice(0, slash));
  const key = slash < 0 ? "" : path.slice(slash + 1);
  return key === "" ? { bucket } : { bucket, key: decode(key) };
}

export function bucketOfHost(host: string): string | undefined {
  const name = host.replace(/:\d*$/, "").toLowerCase();
  return /^(.+)\.localhost$/.exec(name)?.[1] ?? /^(.+?)\.s3[.-]/.exec(name)?.[1];
}

function decode(text: string): string {
  try {
    const decoded = decodeURIComponent(text);
    if (!/[^\0-\x7f]/.test(text)) return decoded;
  } catch {
    // Told below.
  }
  throw new ApiError("InvalidURI", "Couldn't parse the specified URI.");
}

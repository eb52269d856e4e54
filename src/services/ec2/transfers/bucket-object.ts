// Objects and buckets as the calls about disks name them.
import { ApiError } from "../../../base/api-error.ts";
import { type Bucket, findBucket } from "../../../objects/buckets.ts";
import type { ObjectRecord } from "../../../objects/object.ts";
import type { RequestContext } from "../../context.ts";

export interface ObjectName {
  readonly bucket: string;
  readonly key: string;
}

/**
 * `UserBucket`, or `Url`: `s3://bucket/key`, or the object's https address in either of S3's forms.
 * @throws ApiError `InvalidParameter`
 */
export function objectName(container: {
  readonly Url?: string | undefined;
  readonly UserBucket?: { readonly S3Bucket?: string | undefined; readonly S3Key?: string | undefined } | undefined;
}): ObjectName {
  const { Url: url, UserBucket: named } = container;
  if (named?.S3Bucket && named.S3Key) return { bucket: named.S3Bucket, key: named.S3Key };
  const found = url === undefined ? undefined : objectAt(url);
  if (found !== undefined) return found;
  throw new ApiError(
    "InvalidParameter",
    url === undefined
      ? "A disk container must have a UserBucket with an S3Bucket and an S3Key, or a Url."
      : `The Url '${url}' does not name an object in S3.`,
  );
}

function objectAt(url: string): ObjectName | undefined {
  if (!URL.canParse(url)) return undefined;
  const { protocol, hostname, pathname } = new URL(url);
  const path = decoded(pathname.slice(1));
  if (path === undefined) return undefined;
  if (protocol === "s3:") return hostname === "" || path === "" ? undefined : { bucket: hostname, key: path };
  if (protocol !== "https:") return undefined;
  const host = /^(?:([a-z0-9.-]+)\.)?s3(?:[.-][a-z0-9-]+)?\.amazonaws\.com$/.exec(hostname);
  if (host === null) return undefined;
  const [bucket = "", key = ""] = host[1] === undefined ? cut(path) : [host[1], path];
  return bucket === "" || key === "" ? undefined : { bucket, key };
}

const cut = (path: string): [string, string] => {
  const at = path.indexOf("/");
  return at < 0 ? [path, ""] : [path.slice(0, at), path.slice(at + 1)];
};

function decoded(text: string): string | undefined {
  try {
    return decodeURIComponent(text);
  } catch {
    return undefined;
  }
}

/** @throws ApiError `InvalidParameter`, as these calls of EC2 say it */
export async function bucketOf(ctx: RequestContext, name: string): Promise<Bucket> {
  const bucket = await findBucket(ctx.database.read, name);
  if (bucket === undefined) throw new ApiError("InvalidParameter", `The given S3 bucket does not exist: ${name}`);
  return bucket;
}

/** An object that is there. @throws ApiError `InvalidParameter` */
export async function objectOf(ctx: RequestContext, name: ObjectName): Promise<ObjectRecord> {
  const object = await ctx.parts.objects.find(name.bucket, name.key);
  if (object === undefined) throw noAccess(name);
  return object;
}

/** EC2 says the same of what is not there and of what may not be read. */
export const noAccess = ({ bucket, key }: ObjectName): ApiError =>
  new ApiError("InvalidParameter", `User does not have access to the S3 object.(${bucket}/${key})`);

// What a client says of an object besides its bytes, and what of that Ingot can't honour: that is refused, not dropped.
import { ApiError } from "../../base/api-error.ts";
import type { ObjectDescription, ObjectHeaders } from "../../objects/object.ts";
import { tagsOfHeader } from "./tag-set.ts";

/** S3's limit for names and values together. */
const MAX_METADATA_BYTES = 2048;

/** The members that PutObject, CopyObject and CreateMultipartUpload have in common. */
export interface DescribesObject {
  readonly ACL?: string | undefined;
  readonly CacheControl?: string | undefined;
  readonly ContentDisposition?: string | undefined;
  readonly ContentEncoding?: string | undefined;
  readonly ContentLanguage?: string | undefined;
  readonly ContentType?: string | undefined;
  readonly Expires?: Date | undefined;
  readonly Metadata?: Record<string, string> | undefined;
  readonly Tagging?: string | undefined;
  readonly StorageClass?: string | undefined;
  readonly ServerSideEncryption?: string | undefined;
  readonly SSECustomerAlgorithm?: string | undefined;
  readonly SSEKMSKeyId?: string | undefined;
  readonly ObjectLockMode?: string | undefined;
  readonly ObjectLockLegalHoldStatus?: string | undefined;
  readonly WebsiteRedirectLocation?: string | undefined;
  readonly GrantFullControl?: string | undefined;
  readonly GrantRead?: string | undefined;
  readonly GrantReadACP?: string | undefined;
  readonly GrantWriteACP?: string | undefined;
}

/** @throws ApiError `MetadataTooLarge`, `InvalidTag`, and those of `refuseUnsupported` */
export function describedBy(input: DescribesObject): ObjectDescription {
  refuseUnsupported(input);
  const metadata = input.Metadata ?? {};
  const bytes = Object.entries(metadata).reduce((sum, [name, value]) => sum + name.length + value.length, 0);
  if (bytes > MAX_METADATA_BYTES) {
    throw new ApiError("MetadataTooLarge", "Your metadata headers exceed the maximum allowed metadata size", {
      fields: { Size: String(bytes), MaxSizeAllowed: String(MAX_METADATA_BYTES) },
    });
  }
  return { headers: headersOf(input), metadata, tags: tagsOfHeader(input.Tagging) };
}

function headersOf(input: DescribesObject): ObjectHeaders {
  // aws-chunked is how the body travelled, not how the object is encoded.
  const encoding = (input.ContentEncoding ?? "")
    .split(",")
    .map((one) => one.trim())
    .filter((one) => one !== "" && one !== "aws-chunked")
    .join(",");
  return {
    ...(input.ContentType === undefined ? {} : { contentType: input.ContentType }),
    ...(encoding === "" ? {} : { contentEncoding: encoding }),
    ...(input.ContentDisposition === undefined ? {} : { contentDisposition: input.ContentDisposition }),
    ...(input.ContentLanguage === undefined ? {} : { contentLanguage: input.ContentLanguage }),
    ...(input.CacheControl === undefined ? {} : { cacheControl: input.CacheControl }),
    ...(input.Expires === undefined ? {} : { expires: input.Expires.toISOString() }),
  };
}

const notImplemented = (what: string) =>
  new ApiError("NotImplemented", `A header you provided implies functionality that is not implemented: ${what}`);

/** @throws ApiError `AccessControlListNotSupported`, `InvalidStorageClass`, `NotImplemented` */
function refuseUnsupported(input: DescribesObject): void {
  const grants = [input.GrantFullControl, input.GrantRead, input.GrantReadACP, input.GrantWriteACP];
  // Both say what is so anyway: the object is the bucket owner's.
  const acl = input.ACL ?? "private";
  if (grants.some((grant) => grant !== undefined) || (acl !== "private" && acl !== "bucket-owner-full-control")) {
    throw new ApiError("AccessControlListNotSupported", "The bucket does not allow ACLs");
  }
  if (input.StorageClass !== undefined && input.StorageClass !== "STANDARD") {
    throw new ApiError("InvalidStorageClass", "The storage class you specified is not valid: there is STANDARD");
  }
  if (
    input.ServerSideEncryption !== undefined ||
    input.SSECustomerAlgorithm !== undefined ||
    input.SSEKMSKeyId !== undefined
  ) {
    throw notImplemented("server-side encryption of objects");
  }
  if (input.ObjectLockMode !== undefined || input.ObjectLockLegalHoldStatus !== undefined) {
    throw notImplemented("object lock");
  }
  if (input.WebsiteRedirectLocation !== undefined) throw notImplemented("websites");
}

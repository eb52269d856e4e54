// Tags of buckets and objects.
import { ApiError } from "../../base/api-error.ts";
import { readQuery } from "../../protocol/scalars.ts";

type Tags = Readonly<Record<string, string>>;

export const MOST_OBJECT_TAGS = 10;
export const MOST_BUCKET_TAGS = 50;

/** @throws ApiError `InvalidTag`, `BadRequest` */
export function tagsOf(
  set: readonly { readonly Key?: string | undefined; readonly Value?: string | undefined }[] | undefined,
  most: number,
): Tags {
  return checked(
    (set ?? []).map(({ Key = "", Value = "" }) => [Key, Value] as const),
    most,
  );
}

/** `a=b&c=d`, percent-encoded: the header `x-amz-tagging`. */
export function tagsOfHeader(text: string | undefined): Tags {
  const pairs = readQuery(text ?? "");
  if (pairs === undefined)
    throw new ApiError("InvalidArgument", "The header 'x-amz-tagging' shall be encoded as UTF-8.");
  return checked(pairs, MOST_OBJECT_TAGS);
}

export const tagSetOf = (tags: Tags): { Key: string; Value: string }[] =>
  Object.entries(tags).map(([Key, Value]) => ({ Key, Value }));

function checked(pairs: readonly (readonly [string, string])[], most: number): Tags {
  if (pairs.length > most) throw new ApiError("InvalidTag", `There can be no more than ${most} tags.`);
  const tags = new Map<string, string>();
  for (const [key, value] of pairs) {
    if (!/^(?!aws:)[\p{L}\p{Z}\p{N}_.:/=+\-@]{1,128}$/iu.test(key)) {
      throw new ApiError("InvalidTag", "The TagKey you have provided is invalid", {
        fields: { TagKey: key.slice(0, 128) },
      });
    }
    if (!/^[\p{L}\p{Z}\p{N}_.:/=+\-@]{0,256}$/u.test(value)) {
      throw new ApiError("InvalidTag", "The TagValue you have provided is invalid", { fields: { TagKey: key } });
    }
    if (tags.has(key)) throw new ApiError("InvalidTag", "Cannot provide multiple Tags with the same key");
    tags.set(key, value);
  }
  return Object.fromEntries(tags);
}

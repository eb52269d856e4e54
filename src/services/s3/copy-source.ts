// What CopyObject and UploadPartCopy copy from: the header `x-amz-copy-source`, and the conditions on it.
import { ApiError } from "../../base/api-error.ts";
import { checkReadConditions, type ObjectRecord } from "../../objects/object.ts";
import { checkVersion } from "./version.ts";

export interface NamedSource {
  readonly bucket: string;
  readonly key: string;
}

/** @param text `/bucket/key` or `bucket/key`, percent-encoded, perhaps with `?versionId=…`. @throws ApiError `InvalidArgument` */
export function copySourceOf(text: string | undefined): NamedSource {
  const [path = "", query = ""] = (text ?? "").split("?");
  const slashed = path.startsWith("/") ? path.slice(1) : path;
  // Some clients encode the slash between bucket and key too.
  const decoded = decode(slashed);
  const slash = decoded?.indexOf("/") ?? -1;
  if (decoded === undefined || slash < 1 || slash === decoded.length - 1) {
    throw new ApiError(
      "InvalidArgument",
      "Copy Source must mention the source bucket and key: sourcebucket/sourcekey",
      {
        fields: { ArgumentName: "x-amz-copy-source", ArgumentValue: (text ?? "").slice(0, 256) },
      },
    );
  }
  checkVersion(new URLSearchParams(query).get("versionId") ?? undefined);
  return { bucket: decoded.slice(0, slash), key: decoded.slice(slash + 1) };
}

function decode(text: string): string | undefined {
  try {
    return decodeURIComponent(text);
  } catch {
    return undefined;
  }
}

interface SourceConditions {
  readonly CopySourceIfMatch?: string | undefined;
  readonly CopySourceIfNoneMatch?: string | undefined;
  readonly CopySourceIfModifiedSince?: Date | undefined;
  readonly CopySourceIfUnmodifiedSince?: Date | undefined;
}

/** @returns a judge that throws ApiError `PreconditionFailed` */
export function sourceConditions(input: SourceConditions): (object: ObjectRecord) => void {
  return (object) => {
    const state = checkReadConditions(object, {
      ifMatch: input.CopySourceIfMatch,
      ifNoneMatch: input.CopySourceIfNoneMatch,
      ifModifiedSince: input.CopySourceIfModifiedSince,
      ifUnmodifiedSince: input.CopySourceIfUnmodifiedSince,
    });
    if (state === "not modified") {
      throw new ApiError("PreconditionFailed", "At least one of the pre-conditions you specified did not hold", {
        fields: { Condition: "x-amz-copy-source-If-None-Match" },
      });
    }
  };
}

// Ranges of bytes, as HTTP and S3 ask for them.
import { ApiError } from "../../base/api-error.ts";
import type { ObjectRecord } from "../../objects/object.ts";

/** Both ends included. */
export interface ByteRange {
  readonly first: number;
  readonly last: number;
}

/**
 * @param text `bytes=0-9`, `bytes=5-`, `bytes=-5`; anything else (and several at once) means the whole, as HTTP has it
 * @returns undefined: the whole
 * @throws ApiError `InvalidRange` when nothing of it is there
 */
export function wantedRange(text: string | undefined, bytes: number): ByteRange | undefined {
  const match = /^bytes=(\d{0,15})-(\d{0,15})$/.exec(text?.replaceAll(" ", "") ?? "");
  const [from = "", to = ""] = match?.slice(1) ?? [];
  if (match === null || (from === "" && to === "")) return undefined;
  const last = from === "" || to === "" ? bytes - 1 : Math.min(Number(to), bytes - 1);
  const first = from === "" ? Math.max(0, bytes - Number(to)) : Number(from);
  if (from !== "" && to !== "" && Number(to) < Number(from)) return undefined;
  if (first >= bytes || last < first) {
    throw new ApiError("InvalidRange", "The requested range is not satisfiable", {
      fields: { RangeRequested: text ?? "", ActualObjectSize: String(bytes) },
    });
  }
  return { first, last };
}

/**
 * Of a copy's source: both ends must be given and be there.
 * @throws ApiError `InvalidArgument`
 */
export function copiedRange(text: string | undefined, bytes: number): ByteRange {
  if (text === undefined) return { first: 0, last: bytes - 1 };
  const match = /^bytes=(\d{1,15})-(\d{1,15})$/.exec(text);
  const [first, last] = [Number(match?.[1]), Number(match?.[2])];
  if (match === null || first > last || last >= bytes) {
    throw new ApiError("InvalidArgument", `Range specified is not valid for source object of size: ${bytes}`, {
      fields: { ArgumentName: "x-amz-copy-source-range", ArgumentValue: text.slice(0, 64) },
    });
  }
  return { first, last };
}

/** Where one part of an object that was uploaded in parts lies. @throws ApiError `InvalidPartNumber` */
export function partRange(object: ObjectRecord, number: number): ByteRange | undefined {
  const parts = object.partBytes ?? [object.bytes];
  const bytes = parts[number - 1];
  if (bytes === undefined) {
    throw new ApiError("InvalidPartNumber", "The requested partnumber is not satisfiable", {
      fields: { ActualPartCount: String(parts.length), PartNumberRequested: String(number) },
    });
  }
  if (bytes === 0) return undefined;
  const first = parts.slice(0, number - 1).reduce((sum, part) => sum + part, 0);
  return { first, last: first + bytes - 1 };
}

// IAM's pages: `MaxItems` (100 unless told, at most 1000), `Marker`, `IsTruncated`.
import { ApiError } from "../../base/api-error.ts";
import { numberWithin } from "./input.ts";

export interface PageInput {
  Marker?: string | undefined;
  MaxItems?: number | undefined;
}

export interface PageRequest {
  /** Key of the last item of the page before. */
  readonly after: string | undefined;
  readonly limit: number;
}

export interface PageOutput {
  IsTruncated: boolean;
  Marker?: string;
}

/** @throws ApiError `ValidationError` */
export function pageOf(input: PageInput): PageRequest {
  const limit = numberWithin(input.MaxItems, "maxItems", 1, 1000) ?? 100;
  if (input.Marker === undefined || input.Marker === "") return { after: undefined, limit };
  const after = Buffer.from(input.Marker, "base64url").toString();
  // A marker is opaque to clients; one that we would not write ourselves was made up.
  if (Buffer.from(after).toString("base64url") !== input.Marker) {
    throw new ApiError("ValidationError", `Invalid Marker: ${input.Marker}`);
  }
  return { after, limit };
}

/**
 * @param found  one item more than the page holds, when there are more
 * @param keyOf  what `after` of the next page is compared with
 */
export function paged<T>(found: readonly T[], page: PageRequest, keyOf: (item: T) => string): [T[], PageOutput] {
  const items = found.slice(0, page.limit);
  const last = items[items.length - 1];
  if (found.length <= page.limit || last === undefined) return [items, { IsTruncated: false }];
  return [items, { IsTruncated: true, Marker: Buffer.from(keyOf(last)).toString("base64url") }];
}

/** Pages a list that is whole in memory: the short ones, such as the policies of one user. */
export function pageWithin<T>(all: readonly T[], input: PageInput, keyOf: (item: T) => string): [T[], PageOutput] {
  const page = pageOf(input);
  const sorted = [...all].sort((a, b) => compare(keyOf(a), keyOf(b)));
  const { after } = page;
  const rest = after === undefined ? sorted : sorted.filter((item) => compare(keyOf(item), after) > 0);
  return paged(rest, page, keyOf);
}

const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);

// Continuation tokens: where a listing goes on, in letters that survive any URL. They give nothing away that the listing
// has not said, and one that a client makes up begins a listing that it may ask for anyway.
import { ApiError } from "../../base/api-error.ts";
import { readUtf8 } from "../../protocol/scalars.ts";

export const tokenOf = (cursor: string): string => `1${Buffer.from(cursor).toString("base64url")}`;

/** @throws ApiError `InvalidArgument` */
export function cursorOf(token: string): string {
  const cursor = /^1[A-Za-z0-9_-]*$/.test(token) ? readUtf8(Buffer.from(token.slice(1), "base64url")) : undefined;
  if (cursor === undefined || cursor.includes("\0")) {
    throw new ApiError("InvalidArgument", "The continuation token provided is incorrect", {
      fields: { ArgumentName: "continuation-token" },
    });
  }
  return cursor;
}

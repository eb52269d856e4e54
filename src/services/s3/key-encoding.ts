// Keys in listings. XML has no way to write some characters that a key may have: a client that knows asks for `url`.
import { ApiError } from "../../base/api-error.ts";

/** @throws ApiError `InvalidArgument` */
export function keyWriter(encoding: string | undefined): (key: string) => string {
  switch (encoding) {
    case undefined:
      return (key) => key;
    case "url":
      return (key) => encodeURIComponent(key).replaceAll("%2F", "/");
    default:
      throw new ApiError("InvalidArgument", "Invalid Encoding Method specified in Request", {
        fields: { ArgumentName: "encoding-type", ArgumentValue: encoding.slice(0, 64) },
      });
  }
}

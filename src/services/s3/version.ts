import { ApiError } from "../../base/api-error.ts";

/** Buckets keep no versions: an object's only one is called `null`. @throws ApiError `InvalidArgument` */
export function checkVersion(id: string | undefined): void {
  if (id === undefined || id === "" || id === "null") return;
  throw new ApiError("InvalidArgument", "Invalid version id specified", {
    fields: { ArgumentName: "versionId", ArgumentValue: id.slice(0, 128) },
  });
}

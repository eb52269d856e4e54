// How an instance's metadata service is set: what the launch says, else the account's default for the Region, else what
// the image asks for, else EC2's own.
import { ApiError } from "../../../base/api-error.ts";
import type { Db } from "../../../database/database.ts";
import type { InstancesTable } from "../../../database/tables/ec2.ts";
import { settingOf } from "../../../model/settings.ts";
import type { Owner } from "../../../model/vpc.ts";
import type { MetadataRequest } from "./launch-request.ts";

export interface MetadataDefaults extends MetadataRequest {
  /** No instance without IMDSv2 may be launched or made, whatever the defaults say. */
  readonly tokensEnforced: "enabled" | "disabled" | undefined;
}

const NO_DEFAULTS: MetadataDefaults = {
  httpTokens: undefined,
  httpEndpoint: undefined,
  httpHopLimit: undefined,
  metadataTags: undefined,
  tokensEnforced: undefined,
};

/** The account's defaults in the Region. */
export async function metadataDefaults(db: Db, owner: Owner): Promise<MetadataDefaults> {
  const kept = await settingOf(db, owner, "instance-metadata-defaults");
  return kept === undefined ? NO_DEFAULTS : { ...NO_DEFAULTS, ...(JSON.parse(kept) as Partial<MetadataDefaults>) };
}

/**
 * @param imdsSupport  `v2.0` when the image says that its software speaks version 2 only
 * @throws ApiError `UnsupportedOperation` when that leaves tokens optional where they are enforced
 */
export function metadataSettings(
  request: MetadataRequest,
  defaults: MetadataDefaults,
  imdsSupport: string | null,
): Pick<InstancesTable, "http_tokens" | "http_hop_limit" | "http_endpoint" | "metadata_tags"> {
  const v2 = imdsSupport === "v2.0";
  const tokens = request.httpTokens ?? defaults.httpTokens ?? (v2 ? "required" : "optional");
  if (tokens === "optional" && defaults.tokensEnforced === "enabled") {
    throw new ApiError(
      "UnsupportedOperation",
      "You can't launch instances with IMDSv1 because httpTokensEnforced is enabled for this account. Either launch the instance with httpTokens=required or contact your account owner to disable httpTokensEnforced using the ModifyInstanceMetadataDefaults API or the account settings in the EC2 console.",
    );
  }
  return {
    http_tokens: tokens,
    http_hop_limit: request.httpHopLimit ?? defaults.httpHopLimit ?? (v2 ? 2 : 1),
    http_endpoint: request.httpEndpoint ?? defaults.httpEndpoint ?? "enabled",
    metadata_tags: request.metadataTags ?? defaults.metadataTags ?? "disabled",
  };
}

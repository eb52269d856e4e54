// How an instance's metadata service is set: what the launch says, else the account's default for the Region, else what
// the image asks for, else EC2's own.
import type { Db } from "../../../database/database.ts";
import type { InstancesTable } from "../../../database/tables/ec2.ts";
import { settingOf } from "../../../model/settings.ts";
import type { Owner } from "../../../model/vpc.ts";
import type { MetadataRequest } from "./launch-request.ts";

export const NO_DEFAULTS: MetadataRequest = {
  httpTokens: undefined,
  httpEndpoint: undefined,
  httpHopLimit: undefined,
  metadataTags: undefined,
};

/** The account's defaults in the Region. */
export async function metadataDefaults(db: Db, owner: Owner): Promise<MetadataRequest> {
  const kept = await settingOf(db, owner, "instance-metadata-defaults");
  return kept === undefined ? NO_DEFAULTS : { ...NO_DEFAULTS, ...(JSON.parse(kept) as Partial<MetadataRequest>) };
}

/** @param imdsSupport  `v2.0` when the image says that its software speaks version 2 only */
export function metadataSettings(
  request: MetadataRequest,
  defaults: MetadataRequest,
  imdsSupport: string | null,
): Pick<InstancesTable, "http_tokens" | "http_hop_limit" | "http_endpoint" | "metadata_tags"> {
  const v2 = imdsSupport === "v2.0";
  return {
    http_tokens: request.httpTokens ?? defaults.httpTokens ?? (v2 ? "required" : "optional"),
    http_hop_limit: request.httpHopLimit ?? defaults.httpHopLimit ?? (v2 ? 2 : 1),
    http_endpoint: request.httpEndpoint ?? defaults.httpEndpoint ?? "enabled",
    metadata_tags: request.metadataTags ?? defaults.metadataTags ?? "disabled",
  };
}

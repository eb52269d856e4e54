// Resources that a call names or gives back, found in its record by the look of their ids. CloudTrail's look-ups by resource
// work so too: CreateImage is found by the new image's id, a refused TerminateInstances by the instance it was aimed at.
import type { Json } from "./json.ts";
import type { Resource } from "./record.ts";

const KINDS: Readonly<Record<string, readonly [type: string, arnType: string]>> = {
  ami: ["AWS::EC2::Ami", "image"],
  snap: ["AWS::EC2::Snapshot", "snapshot"],
  i: ["AWS::EC2::Instance", "instance"],
  vol: ["AWS::EC2::Volume", "volume"],
  sg: ["AWS::EC2::SecurityGroup", "security-group"],
  eni: ["AWS::EC2::NetworkInterface", "network-interface"],
  subnet: ["AWS::EC2::Subnet", "subnet"],
  vpc: ["AWS::EC2::VPC", "vpc"],
};

/** What a person wrote may look like an id and means nothing. */
const FREE_TEXT = new Set(["clientToken", "description", "filterSet", "name", "tagSet", "tags", "tagSpecificationSet"]);

/** A reply that lists more than this is no one's search result. */
const MOST = 200;

/** What an answer names is the caller's; an image or a snapshot in a request may be anybody's. */
export type Part = "request" | "answer";

/** @param known  resources that are listed already */
export function mentioned(
  value: Json,
  part: Part,
  known: readonly Resource[],
  place: { readonly region: string; readonly accountId: string | null },
): Resource[] {
  const arns = new Set(known.map((resource) => resource.arn));
  const found: Resource[] = [];
  const walk = (at: Json): void => {
    if (found.length >= MOST || at === null) return;
    if (typeof at === "string") {
      const resource = resourceOf(at, part, place.region, place.accountId ?? "");
      if (resource === null || arns.has(resource.arn)) return;
      arns.add(resource.arn);
      found.push(resource);
    } else if (Array.isArray(at)) {
      for (const one of at) walk(one);
    } else if (typeof at === "object") {
      for (const [name, one] of Object.entries(at)) if (!FREE_TEXT.has(name)) walk(one);
    }
  };
  walk(value);
  return found;
}

function resourceOf(text: string, part: Part, region: string, caller: string): Resource | null {
  const prefix = /^([a-z]+)-(?:[0-9a-f]{17}|[0-9a-f]{8})$/.exec(text)?.[1];
  const kind = prefix === undefined ? undefined : KINDS[prefix];
  if (kind === undefined) return null;
  const [type, arnType] = kind;
  // IAM names images and snapshots without their owner, and only these are used by others.
  const shareable = arnType === "image" || arnType === "snapshot";
  return {
    arn: `arn:aws:ec2:${region}:${shareable ? "" : caller}:${arnType}/${text}`,
    type,
    accountId: shareable && part === "request" ? "" : caller,
  };
}

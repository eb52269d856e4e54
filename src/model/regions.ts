// Regions are names: one server hosts them all, each its own catalogue. The list is Amazon's, since clients check a
// Region's name against the list that DescribeRegions gives them.
import type { Region } from "../base/ids.ts";

const NAMES = [
  "us-east-1",
  "us-east-2",
  "us-west-1",
  "us-west-2",
  "af-south-1",
  "ap-east-1",
  "ap-northeast-1",
  "ap-northeast-2",
  "ap-northeast-3",
  "ap-south-1",
  "ap-south-2",
  "ap-southeast-1",
  "ap-southeast-2",
  "ap-southeast-3",
  "ap-southeast-4",
  "ca-central-1",
  "ca-west-1",
  "eu-central-1",
  "eu-central-2",
  "eu-north-1",
  "eu-south-1",
  "eu-south-2",
  "eu-west-1",
  "eu-west-2",
  "eu-west-3",
  "il-central-1",
  "me-central-1",
  "me-south-1",
  "sa-east-1",
] as const;

export const REGIONS: readonly Region[] = NAMES as readonly string[] as readonly Region[];

/** Region of a client that names none. */
export const DEFAULT_REGION = "us-east-1" as Region;

export const isRegion = (text: string): text is Region => (REGIONS as readonly string[]).includes(text);

/** Every Region has three zones. */
const ZONE_LETTERS = ["a", "b", "c"] as const;

export interface Zone {
  /** `us-east-1a`. */
  readonly name: string;
  /** `use1-az1`: the same place under one name for all accounts. */
  readonly id: string;
}

/** A Region's zones, `a` first. */
export const zonesOf = (region: Region): readonly Zone[] =>
  ZONE_LETTERS.map((letter, index) => ({ name: `${region}${letter}`, id: `${shortName(region)}-az${index + 1}` }));

/** `us-east-1` → `use1`, `ap-northeast-1` → `apne1`, as AWS shortens them in zone ids. */
function shortName(region: Region): string {
  const [area = "", direction = "", number = ""] = region.split("-");
  const compass: Record<string, string> = {
    north: "n",
    south: "s",
    east: "e",
    west: "w",
    central: "c",
    northeast: "ne",
    southeast: "se",
  };
  return `${area}${compass[direction] ?? direction}${number}`;
}

/** Domain of private host names: `ec2.internal` in us-east-1, `REGION.compute.internal` elsewhere. */
export const privateDomain = (region: Region): string =>
  region === "us-east-1" ? "ec2.internal" : `${region}.compute.internal`;

/** `ip-172-31-5-6.ec2.internal`. */
export const privateDnsName = (region: Region, privateIp: string): string =>
  `ip-${privateIp.replaceAll(".", "-")}.${privateDomain(region)}`;

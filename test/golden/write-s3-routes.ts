// Writes src/protocol/s3-routes.ts's table from the SDK's schemas. Run by hand after an upgrade of @aws-sdk/client-s3:
// node test/golden/write-s3-routes.ts
import { readFileSync, writeFileSync } from "node:fs";
import { sdkS3Subresources } from "../../src/protocol/sdk.fixture.ts";

const file = new URL("../../src/protocol/s3-routes.ts", import.meta.url);
const source = readFileSync(file, "utf8");
const start = source.indexOf("SUBRESOURCES = `\n") + "SUBRESOURCES = `\n".length;
writeFileSync(
  file,
  source.slice(0, start) +
    sdkS3Subresources()
      .map((line) => `  ${line}\n`)
      .join("") +
    source.slice(source.indexOf("`;\n", start)),
);

// Writes src/protocol/known-actions.ts from the SDK's schemas. Run by hand after an upgrade of @aws-sdk/client-*:
// node test/golden/write-known-actions.ts

import { readFileSync, writeFileSync } from "node:fs";
import { sdkOperations } from "../../src/protocol/sdk.fixture.ts";
import { AWS_SERVICES } from "../../src/protocol/wire.ts";

const WIDTH = 112;
const file = new URL("../../src/protocol/known-actions.ts", import.meta.url);

function wrapped(names: readonly string[]): string {
  const lines: string[] = [""];
  for (const name of names) {
    const line = lines[lines.length - 1] ?? "";
    if (line === "") lines[lines.length - 1] = name;
    else if (line.length + 1 + name.length <= WIDTH) lines[lines.length - 1] = `${line} ${name}`;
    else lines.push(name);
  }
  return lines.map((line) => `    ${line}\n`).join("");
}

const lists = AWS_SERVICES.map((service) => {
  const names = sdkOperations(service).map((operation) => operation.name);
  return `  ${service}: \`\n${wrapped(names.sort())}  \`,\n`;
});
const source = readFileSync(file, "utf8");
const start = source.indexOf("= {\n") + 4;
writeFileSync(file, source.slice(0, start) + lists.join("") + source.slice(source.indexOf("};\n", start)));

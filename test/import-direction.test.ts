// Later rows import earlier ones; siblings in a row meet only through what `main.ts` hands them. Cycles cannot be then,
// between folders; within a folder they are looked for too.
import assert from "node:assert/strict";
import { globSync, readFileSync } from "node:fs";
import { dirname, join, normalize } from "node:path";
import { test } from "node:test";

const ROWS = [
  ["base"],
  ["protocol"],
  ["database"],
  ["model"],
  ["storage", "objects", "compute", "network", "identity", "audit", "metadata", "image-builder", "transfers"],
  ["services"],
  ["server"],
  // The command line is a client; of the server it knows where its data directory is and what lies at its top.
  ["cli"],
  ["main.ts"],
];
const rowOf = new Map(ROWS.flatMap((folders, row) => folders.map((folder) => [folder, row] as const)));
const root = new URL("../src/", import.meta.url).pathname;
const files = globSync("**/*.ts", { cwd: root });
const isTest = (file: string) => file.endsWith(".test.ts") || file.includes("fixture");

/** Relative imports of a file, as paths below src/. */
function importsOf(file: string, options: { readonly types: boolean }): string[] {
  const source = readFileSync(join(root, file), "utf8");
  const text = options.types ? source : source.replaceAll(/^(import|export) type [^;]*;$/gm, "");
  return [...text.matchAll(/(?:from|import)\s*\(?\s*"(\.{1,2}\/[^"]+)"/g)].flatMap(([, path]) =>
    path?.endsWith(".ts") ? [normalize(join(dirname(file), path))] : [],
  );
}

const folderOf = (file: string): string => file.split("/")[0] ?? file;

test("imports go one way: base, protocol, database, model, the parts, services, server and CLI, main", () => {
  const wrong: string[] = [];
  for (const file of files.filter((name) => !isTest(name))) {
    const from = folderOf(file);
    for (const to of importsOf(file, { types: true }).map(folderOf)) {
      if (to === from) continue;
      const [own, other] = [rowOf.get(from), rowOf.get(to)];
      if (own === undefined || other === undefined) wrong.push(`${file}: ${from} or ${to} has no row`);
      else if (other >= own) wrong.push(`${file} imports ${to}`);
    }
  }
  assert.deepEqual(wrong, []);
});

// Two files may speak of each other's types: nothing of that is left at run time.
test("no file imports itself by a way round", () => {
  const graph = new Map(files.map((file) => [file, importsOf(file, { types: false })]));
  const done = new Set<string>();
  const cycles: string[] = [];
  const visit = (file: string, path: readonly string[]) => {
    if (path.includes(file)) {
      cycles.push([...path.slice(path.indexOf(file)), file].join(" → "));
      return;
    }
    if (done.has(file)) return;
    for (const next of graph.get(file) ?? []) visit(next, [...path, file]);
    done.add(file);
  };
  for (const file of files) visit(file, []);
  assert.deepEqual(cycles, []);
});

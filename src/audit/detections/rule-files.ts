// Where rules come from: `detections/` of the program, and a directory of the operator's own.
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { parseRules, type Rule } from "./sigma.ts";

/** The shipped rules' documents by file name, written by the build: as YAML they take a tenth of a second of a start. */
const BUNDLED = join(import.meta.dirname, "detections.json");

/** `detections/` lies beside `src` and beside the bundled program alike. */
export function shippedRules(): string {
  for (let directory = import.meta.dirname; ; directory = dirname(directory)) {
    // The folder of this file has the name too, and no rules.
    const candidate = join(directory, "detections");
    if (existsSync(join(candidate, "image-made-public.yml"))) return candidate;
    if (dirname(directory) === directory) throw new Error(`no detections/ above ${import.meta.dirname}`);
  }
}

/**
 * All rules of the directories; a few milliseconds.
 * @throws SigmaError with the file and what is wrong with it; Error when a directory can't be read
 */
export function loadRules(directories: readonly string[]): Rule[] {
  const shipped = shippedRules();
  return parseRules(
    directories.flatMap((directory): (readonly [name: string, content: string | readonly unknown[]])[] =>
      directory === shipped && existsSync(BUNDLED) ? JSON.parse(readFileSync(BUNDLED, "utf8")) : ruleFiles(directory),
    ),
  );
}

/** A directory's rule files, by name. */
export const ruleFiles = (directory: string): (readonly [name: string, text: string])[] =>
  readdirSync(directory)
    .filter((name) => /\.ya?ml$/.test(name))
    .sort()
    .map((name) => [name, readFileSync(join(directory, name), "utf8")]);

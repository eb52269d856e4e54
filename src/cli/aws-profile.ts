// A profile in the AWS CLI's two files, which people edit by hand: everything else in them stays as it is, byte for byte.
import { mkdir, open, readFile, rename } from "node:fs/promises";
import { homedir } from "node:os";
import { dirname, join } from "node:path";
import { systemCode } from "../base/errors.ts";
import { CliError } from "./failure.ts";

/** Marks a section as ours to write again. */
const OURS = "# kept by ingot login";

export const configFile = (): string => process.env.AWS_CONFIG_FILE ?? join(homedir(), ".aws", "config");
export const credentialsFile = (): string =>
  process.env.AWS_SHARED_CREDENTIALS_FILE ?? join(homedir(), ".aws", "credentials");

/**
 * The text with the section `name` set to these values.
 * @throws CliError when such a section is there that `ingot login` has not written
 */
export function withSection(text: string, name: string, values: Readonly<Record<string, string>>): string {
  const section = [`[${name}]`, OURS, ...Object.entries(values).map(([key, value]) => `${key} = ${value}`)];
  const lines = text.split("\n");
  const isHeader = (line: string) => /^\s*\[.*\]/.test(line);
  const start = lines.findIndex((line) => headerName(line) === name);
  if (start < 0) {
    const before = text === "" ? "" : text.endsWith("\n\n") ? text : text.endsWith("\n") ? `${text}\n` : `${text}\n\n`;
    return `${before}${section.join("\n")}\n`;
  }
  const next = lines.findIndex((line, index) => index > start && isHeader(line));
  let end = next < 0 ? lines.length : next;
  if (!lines.slice(start + 1, end).some((line) => line.trim() === OURS)) {
    throw new CliError(
      `the profile ${name.replace(/^profile /, "")} is yours already: give --profile with another name`,
    );
  }
  // Blank lines before the next section belong to whoever put them there.
  while (end > start + 1 && lines[end - 1]?.trim() === "") end--;
  return [...lines.slice(0, start), ...section, ...lines.slice(end)].join("\n");
}

/** Names of the credentials file's sections that hold this access key: those that `ingot login` has written, and others. */
export function profilesWith(
  text: string,
  accessKeyId: string,
): { readonly ours: string[]; readonly others: string[] } {
  const found = { ours: [] as string[], others: [] as string[] };
  let name = "";
  let ours = false;
  for (const line of text.split("\n")) {
    const header = headerName(line);
    if (header !== undefined) [name, ours] = [header, false];
    else if (line.trim() === OURS) ours = true;
    else if (/^\s*aws_access_key_id\s*=\s*(\S+)\s*$/.exec(line)?.[1] === accessKeyId) {
      found[ours ? "ours" : "others"].push(name);
    }
  }
  return found;
}

const headerName = (line: string): string | undefined =>
  /^\s*\[\s*(.*?)\s*\]/.exec(line)?.[1]?.replace(/\s+/g, " ").replaceAll(/["']/g, "");

/** The text of a file, empty when it is not there. */
export async function readText(path: string): Promise<string> {
  try {
    return await readFile(path, "utf8");
  } catch (cause) {
    if (systemCode(cause) === "ENOENT") return "";
    throw new CliError(`read ${path}`, { cause });
  }
}

/** Replaces the file as a whole, or not at all; for its owner alone. */
export async function replaceText(path: string, text: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  const temporary = `${path}.${process.pid}.new`;
  const file = await open(temporary, "w", 0o600);
  try {
    await file.writeFile(text);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(temporary, path);
  const directory = await open(dirname(path), "r");
  await directory.sync().finally(() => directory.close());
}

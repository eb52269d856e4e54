// Which condition keys a document asks for, by condition or by variable.
import type { PolicyDocument } from "./document.ts";

/** In the order in which they appear, each once, in the document's own spelling. */
export function keysOf(document: PolicyDocument): string[] {
  const keys = new Map<string, string>();
  const add = (key: string) => {
    if (!keys.has(key.toLowerCase())) keys.set(key.toLowerCase(), key);
  };
  const addVariables = (text: string) => {
    if (document.version !== "2012-10-17") return;
    for (const match of text.matchAll(/\$\{\s*([^,}'*?$][^,}]*?)\s*(?:,[^}]*)?\}/g)) if (match[1]) add(match[1]);
  };
  for (const { resources, conditions } of document.statements) {
    for (const resource of resources?.patterns ?? []) addVariables(resource);
    for (const { key, values } of conditions) {
      add(key);
      for (const value of values) addVariables(value);
    }
  }
  return [...keys.values()];
}

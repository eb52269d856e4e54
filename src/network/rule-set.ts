// Keeps the kernel's table equal to what `nft-rules.ts` computes, by differences.
import type { Nic, SecurityGroupRules } from "../model/nic.ts";
import type { KernelMode } from "./namespace.ts";
import { baseRules, type RuleObject, ruleObjects, TABLE, VERSION_CHAIN } from "./nft-rules.ts";

export interface NftRun {
  /** One program, run to its end: for what no session can, such as blocks of several lines. */
  once(argv: readonly string[], input: string): Promise<string>;
  /** One transaction through the session. */
  session(line: string): Promise<void>;
}

/** Statements per nft transaction in a user namespace: its socket buffer holds some 400 rules. */
const ROOTLESS_STATEMENTS = 200;

export class RuleSet {
  readonly #run: NftRun;
  readonly #mode: KernelMode;
  /** What the table holds, as far as we know; `put: ""` where we do not. */
  #applied = new Map<string, RuleObject>();
  #forbidden = "";

  constructor(run: NftRun, mode: KernelMode) {
    this.#run = run;
    this.#mode = mode;
  }

  /** Into a new namespace, or over a table of another version. */
  async load(): Promise<void> {
    this.#applied.clear();
    this.#forbidden = "";
    const fresh = `add table ${TABLE}\ndelete table ${TABLE}\n`;
    try {
      await this.#run.once(["nft", "-f", "-"], fresh + baseRules(true));
    } catch {
      await this.#run.once(["nft", "-f", "-"], fresh + baseRules(false));
    }
  }

  /** Takes over the table of an earlier server, which held these or, after a crash, less. */
  async find(nics: readonly Nic[], groups: readonly SecurityGroupRules[]): Promise<void> {
    try {
      await this.#run.once(["nft", "list", "chain", ...TABLE.split(" "), VERSION_CHAIN], "");
    } catch {
      await this.load();
      return;
    }
    this.#applied.clear();
    this.#forbidden = "";
    for (const [key, object] of ruleObjects(nics, groups)) this.#applied.set(key, { ...object, put: "" });
  }

  async apply(
    nics: readonly Nic[],
    groups: readonly SecurityGroupRules[],
    forbidden: readonly string[],
  ): Promise<void> {
    const wanted = ruleObjects(nics, groups);
    const puts = [...wanted].filter(([key, object]) => this.#applied.get(key)?.put !== object.put);
    const gone = [...this.#applied].filter(([key]) => !wanted.has(key)).reverse();
    const texts = puts.map(([, object]) => object.put);
    const unreachable = `flush set ${TABLE} forbidden\nadd element ${TABLE} forbidden { ${forbidden.join(", ")} }\n`;
    if (unreachable !== this.#forbidden) texts.unshift(unreachable);
    for (const [key, object] of puts) this.#applied.set(key, { ...object, put: "" });
    for (const transaction of transactions(texts, this.#mode)) await this.#nft(transaction);
    this.#forbidden = unreachable;
    for (const [key, object] of puts) this.#applied.set(key, object);
    if (gone.length > 0) await this.#remove(gone);
  }

  async #remove(gone: readonly [string, RuleObject][]): Promise<void> {
    const texts = gone.map(([, object]) => object.remove);
    try {
      for (const transaction of transactions(texts, this.#mode)) await this.#nft(transaction);
    } catch {
      // Some of it has gone already, in a crash between two steps: then each by itself.
      for (const line of texts.flatMap((text) => text.trim().split("\n"))) await this.#nft(`${line}\n`).catch(() => {});
    }
    for (const [key] of gone) this.#applied.delete(key);
  }

  /** Statements on one line are one transaction. */
  #nft(text: string): Promise<void> {
    return this.#run.session(text.trim().replaceAll("\n", "; "));
  }
}

/** Root sends all in one transaction; a user namespace's socket takes only so much. No text is ever split. */
function transactions(texts: readonly string[], mode: KernelMode): string[] {
  const out: string[] = [];
  let statements = 0;
  for (const text of texts) {
    const count = text.split("\n").length;
    if (out.length === 0 || (mode === "rootless" && statements + count > ROOTLESS_STATEMENTS)) {
      out.push(text);
      statements = count;
    } else {
      out[out.length - 1] += text;
      statements += count;
    }
  }
  return out;
}

// Random values of schemas, for tests of codecs.
import type { NormalizedSchema } from "@smithy/core/schema";
import { FRACTIONS, kindOf, membersOf } from "./schema.ts";

/** Mulberry32: small, seeded, good enough to vary values. */
export function randomFrom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

export type Random = () => number;
export const below = (random: Random, n: number) => Math.floor(random() * n);

const LETTERS = [..."abcXYZ019-_./:%+&=<>\"'\\ \n\té€😀{}[]#;,@~*?"];
function randomText(random: Random): string {
  const text = Array.from({ length: 1 + below(random, 8) }, () => LETTERS[below(random, LETTERS.length)]).join("");
  // XML readers differ on white space at the edges; no real value has any.
  return `a${text}z`;
}
export const randomToken = (random: Random) => `t${below(random, 1e9).toString(36)}`;

/** A random value of a schema. With `full`, no list or structure is empty: EC2's requests cannot say so. */
function someOf(schema: NormalizedSchema, random: Random, full: boolean, owner: string, depth = 0): unknown {
  const traits = schema.getMergedTraits();
  switch (kindOf(schema)) {
    case "string":
      return traits.httpHeader === undefined ? randomText(random) : randomToken(random);
    case "number":
      return FRACTIONS.has(owner) ? below(random, 1e6) / 64 : below(random, 1e9);
    case "boolean":
      return random() < 0.5;
    case "timestamp":
      return new Date(1_700_000_000_000 + below(random, 1e9) * (random() < 0.5 ? 1000 : 1));
    case "blob":
      return Uint8Array.from({ length: full ? 1 + below(random, 9) : below(random, 9) }, () => below(random, 256));
    case "list": {
      const length = (depth > 6 ? 0 : below(random, 3)) + (full ? 1 : 0);
      return Array.from({ length }, () => someOf(schema.getValueSchema(), random, full, "", depth + 1));
    }
    case "map": {
      const pairs = Array.from({ length: below(random, 3) + (full ? 1 : 0) }, () => [
        randomText(random),
        someOf(schema.getValueSchema(), random, full, "", depth + 1),
      ]);
      return Object.fromEntries(pairs);
    }
    case "struct":
      return structOf(schema, random, full, depth);
  }
}

export function structOf(
  schema: NormalizedSchema,
  random: Random,
  full: boolean,
  depth: number,
): Record<string, unknown> {
  const members = membersOf(schema);
  const result: Record<string, unknown> = {};
  const chosen = schema.isUnionSchema() ? below(random, members.length) : -1;
  members.forEach((member, index) => {
    const nested = kindOf(member.schema) === "struct" || kindOf(member.schema) === "list";
    const wanted =
      chosen >= 0
        ? index === chosen
        : member.required ||
          member.traits.idempotencyToken ||
          member.traits.httpPayload ||
          depth === 0 ||
          random() < (nested ? 0.5 : 0.7);
    if (!wanted || (nested && depth > 7 && !member.required)) return;
    result[member.name] = someOf(member.schema, random, full, `${schema.getName()}.${member.name}`, depth + 1);
  });
  if (full && Object.keys(result).length === 0) {
    const scalar = members.find((m) => kindOf(m.schema) !== "struct" && kindOf(m.schema) !== "list") ?? members[0];
    if (scalar)
      result[scalar.name] = someOf(scalar.schema, random, full, `${schema.getName()}.${scalar.name}`, depth + 1);
  }
  return result;
}

/** Bytes of every kind as hex, so that deepEqual compares content. */
export function plain(value: unknown): unknown {
  if (value instanceof Uint8Array) return { bytes: Buffer.from(value).toString("hex") };
  if (value instanceof Date || typeof value !== "object" || value === null) return value;
  if (Array.isArray(value)) return value.map(plain);
  return Object.fromEntries(
    Object.entries(value)
      .filter(([key, v]) => v !== undefined && key !== "$metadata")
      .map(([key, v]) => [key, plain(v)]),
  );
}

import type { SchemaRef } from "@smithy/types";

export type Json = string | number | boolean | null | readonly Json[] | JsonObject;
export interface JsonObject {
  readonly [name: string]: Json;
}

/** An operation's schema, as `protocol/schema.ts` gives it. */
export interface AuditedOperation {
  readonly name: string;
  readonly input: SchemaRef;
  readonly output: SchemaRef;
}

export const lowerFirst = (name: string): string => name.charAt(0).toLowerCase() + name.slice(1);

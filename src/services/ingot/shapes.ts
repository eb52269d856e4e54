// Schemas written by hand, in the form that the SDK's code generator writes (protocol/schema.ts), together with their
// TypeScript types: one declaration serves the codec, the audit record, the action and the client.
//
//   export const ListAccounts$ = operationShape("ListAccounts", structure("ListAccountsRequest", {}, {}), …);
//   export type ListAccountsRequest = Of<typeof ListAccountsRequest$>;
import type { $SchemaRef, StaticOperationSchema } from "@smithy/types";

/** Where the SDK's schemas say `com.amazonaws.ec2`. */
const NAMESPACE = "ingot";

declare const described: unique symbol;

/** A schema that knows the type of what it describes. */
export interface Shape<T> {
  readonly schema: $SchemaRef;
  readonly [described]?: T;
}
export type Of<S> = S extends Shape<infer T> ? T : never;

type Members = Readonly<Record<string, Shape<unknown>>>;
type Structure<R extends Members, O extends Members> = {
  readonly [M in keyof R]: Of<R[M]>;
} & { readonly [M in keyof O]?: Of<O[M]> | undefined };

const simple = <T>(schema: $SchemaRef): Shape<T> => ({ schema });

export const text: Shape<string> = simple(0);
/** Whole numbers only. */
export const integer: Shape<number> = simple(1);
export const bool: Shape<boolean> = simple(2);
/** Seconds since 1970 on the wire. */
export const timestamp: Shape<Date> = simple(4);

export const listOf = <T>(item: Shape<T>): Shape<readonly T[]> => ({
  schema: [1, NAMESPACE, "List", 0, item.schema],
});

export const mapOf = <T>(value: Shape<T>): Shape<Readonly<Record<string, T>>> => ({
  schema: [2, NAMESPACE, "Map", 0, 0, value.schema],
});

/** A value that no record keeps, such as a secret. */
export const secret: Shape<string> = simple([0, NAMESPACE, "Secret", 8, 0]);

/** A structure of members that are always there, and such as may be absent. */
export const structure = <R extends Members, O extends Members>(
  name: string,
  required: R,
  optional: O,
): Shape<Structure<R, O>> => {
  const members = { ...required, ...optional };
  return {
    schema: [
      3,
      NAMESPACE,
      name,
      0,
      Object.keys(members),
      Object.values(members).map((member) => member.schema),
      Object.keys(required).length,
    ],
  };
};

/** An operation that knows the types of its input and output. */
export interface IngotOperation<I, O> {
  readonly schema: StaticOperationSchema;
  readonly [described]?: { readonly input: I; readonly output: O };
}

export const operationShape = <I, O>(name: string, input: Shape<I>, output: Shape<O>): IngotOperation<I, O> => ({
  schema: [9, NAMESPACE, name, 0, input.schema, output.schema],
});

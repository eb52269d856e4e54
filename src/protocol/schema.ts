// A typed view of what `@aws-sdk/client-*` exports for each operation: the schema is the API.
//
//   const describeImages = operationOf<DescribeImagesRequest, DescribeImagesResult>(DescribeImages$);
//
// The raw form, which the SDK's code generator writes (see @smithy/types, static-schemas.d.ts):
//   operation  [9, namespace, name, traits, input, output]
//   structure  [3, namespace, name, traits, memberNames, memberSchemas, requiredCount]: required members come first
//   union      [4, …]   error [-3, …]   list [1, namespace, name, traits, item]   map [2, …, key, value]
// Docs, enum values and ranges are not in it. Import operations by name, never `* as`: the bundle must stay small.

import { NormalizedSchema } from "@smithy/core/schema";
import type { $SchemaRef, SchemaTraitsObject, StaticOperationSchema } from "@smithy/types";

declare const types: unique symbol;

export interface HttpBinding {
  readonly method: string;
  /** Segments, of which `{Member}` stands for one label; a query part if the operation has a fixed one. */
  readonly path: string;
  /** Of a success. */
  readonly status: number;
}

/** An operation that knows the TypeScript types of its input and output. */
export interface Operation<Input, Output> {
  /** Such as `com.amazonaws.ec2`. */
  readonly namespace: string;
  /** Such as `DescribeImages`. */
  readonly name: string;
  readonly traits: SchemaTraitsObject;
  readonly input: $SchemaRef;
  readonly output: $SchemaRef;
  /** Only in rest services. */
  readonly http: HttpBinding | undefined;
  readonly [types]?: { readonly input: Input; readonly output: Output };
}

/**
 * @typeParam Input   the SDK's type for it, such as `DescribeImagesRequest`; `object` where it has no members
 * @typeParam Output  likewise; `void` or `object` where the API returns nothing
 */
export function operationOf<Input, Output>(schema: StaticOperationSchema): Operation<Input, Output> {
  const [, namespace, name, traits, input, output] = schema;
  const merged = typeof traits === "object" ? traits : {};
  const http = merged.http;
  return {
    namespace,
    name,
    traits: merged,
    input,
    output,
    http: http === undefined ? undefined : { method: http[0], path: http[1], status: http[2] },
  };
}

/** A structure's member, resolved once when a codec is compiled. */
export interface Member {
  /** As in the SDK's types. */
  readonly name: string;
  readonly schema: NormalizedSchema;
  readonly traits: SchemaTraitsObject;
  readonly required: boolean;
}

/** The members of a structure or union, in the model's order; none for the unit schema. */
export function membersOf(schema: NormalizedSchema): Member[] {
  if (schema.isUnitSchema()) return [];
  const raw = schema.getSchema();
  const required = Array.isArray(raw) && raw[0] !== 4 && typeof raw[6] === "number" ? raw[6] : 0;
  return [...schema.structIterator()].map(([name, member], index) => ({
    name,
    schema: member,
    traits: member.getMergedTraits(),
    required: index < required,
  }));
}

/** Does the API take, or return, nothing at all? */
export const isUnit = (ref: $SchemaRef): boolean => NormalizedSchema.of(ref).isUnitSchema();

/** What a codec has to tell apart. */
export type ShapeKind = "string" | "number" | "boolean" | "timestamp" | "blob" | "list" | "map" | "struct";

/** @throws Error for kinds that no service of ours uses (documents, big numbers): better at compile than as silence. */
export function kindOf(schema: NormalizedSchema): ShapeKind {
  if (schema.isStructSchema()) return "struct";
  if (schema.isListSchema()) return "list";
  if (schema.isMapSchema()) return "map";
  if (schema.isStringSchema()) return "string";
  if (schema.isNumericSchema()) return "number";
  if (schema.isBooleanSchema()) return "boolean";
  if (schema.isTimestampSchema()) return "timestamp";
  if (schema.isBlobSchema()) return "blob";
  throw new Error(`no codec for the schema ${schema.getName(true)}`);
}

/**
 * Numbers that may have a fraction, as `Structure.Member`. The SDK's schemas call every number alike, so this list is
 * botocore's (test/golden/fractions.json); all others must be integers.
 */
export const FRACTIONS: ReadonlySet<string> = new Set([
  "ClientData.UploadSize",
  "FleetLaunchTemplateOverridesRequest.Priority",
  "FleetLaunchTemplateOverridesRequest.WeightedCapacity",
  "LaunchTemplateOverrides.Priority",
  "LaunchTemplateOverrides.WeightedCapacity",
  "MemoryGiBPerVCpu.Max",
  "MemoryGiBPerVCpu.Min",
  "MemoryGiBPerVCpuRequest.Max",
  "MemoryGiBPerVCpuRequest.Min",
  "NetworkBandwidthGbps.Max",
  "NetworkBandwidthGbps.Min",
  "NetworkBandwidthGbpsRequest.Max",
  "NetworkBandwidthGbpsRequest.Min",
  "PriceScheduleSpecification.Price",
  "ReservationFleetInstanceSpecification.Weight",
  "ReservedInstanceLimitPrice.Amount",
  "SpotFleetLaunchSpecification.WeightedCapacity",
  "SpotFleetRequestConfigData.FulfilledCapacity",
  "SpotFleetRequestConfigData.OnDemandFulfilledCapacity",
  "TotalLocalStorageGB.Max",
  "TotalLocalStorageGB.Min",
  "TotalLocalStorageGBRequest.Max",
  "TotalLocalStorageGBRequest.Min",
]);

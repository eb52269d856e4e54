// Requests and answers as CloudTrail writes them, which is not as the API names them. Detection rules key on these shapes.
//
//   EC2, most actions   `instancesSet.items[].instanceId`, times in epoch milliseconds: ec2-shapes.ts
//   EC2, newer actions  `DescribeInstanceTypesRequest.InstanceType.content`, XML turned into JSON: ec2-shapes.ts
//   everything else     the SDK's names with a small first letter, times as `Nov 24, 2026, 7:45:03 AM`: here
//
// Secrets never get in: what the schema calls sensitive, the members listed below, and bytes.
import { NormalizedSchema } from "@smithy/core/schema";
import type { SchemaRef } from "@smithy/types";
import { KIB } from "../base/units.ts";
import { kindOf, membersOf, type ShapeKind } from "../protocol/schema.ts";
import { ec2Request, ec2Response } from "./ec2-shapes.ts";
import { type AuditedOperation, type Json, lowerFirst } from "./json.ts";
import { isSecret, REMOVED } from "./secrets.ts";
import { javaDate } from "./times.ts";

/** The same for SSM, which has a text of its own. */
const HIDDEN = "HIDDEN_DUE_TO_SECURITY_REASONS";

/** CloudTrail keeps at most this much of a request, and of an answer. */
const MOST_BYTES = 100 * KIB;

/** `requestParameters`, or null when the call has none. */
export function requestParameters(service: string, operation: AuditedOperation, input: object): Json {
  const shaped = service === "ec2" ? ec2Request(operation, input) : plain(service, operation.input)(input);
  return withinLimit(isEmpty(shaped) ? null : shaped);
}

/** `responseElements` of an action that changed something; reads have none (the caller of this knows). */
export function responseElements(
  service: string,
  operation: AuditedOperation,
  output: object | undefined,
  requestId: string,
): Json {
  if (service === "ec2") return withinLimit(ec2Response(operation, output ?? {}, requestId));
  const shaped = output === undefined ? null : plain(service, operation.output)(output);
  return withinLimit(isEmpty(shaped) ? null : shaped);
}

const isEmpty = (value: Json): boolean =>
  value !== null && typeof value === "object" && Object.keys(value).length === 0;

/** Too much is left out, and the record says so. */
function withinLimit(value: Json): Json {
  if (value === null) return null;
  const originalSize = Buffer.byteLength(JSON.stringify(value));
  if (originalSize <= MOST_BYTES) return value;
  return { omitted: true, originalSize, reason: `larger than ${MOST_BYTES / KIB} KB` };
}

type Shaper = (value: unknown) => Json | undefined;

/** Compiled once per service and schema; a schema belongs to one service, so it alone is the key. */
const compiled = new WeakMap<object, Shaper>();

function plain(service: string, ref: SchemaRef): (value: unknown) => Json {
  const schema = NormalizedSchema.of(ref);
  const shaper = shaperOf(service, schema);
  return (value) => shaper(value) ?? null;
}

function shaperOf(service: string, schema: NormalizedSchema): Shaper {
  const raw = schema.getSchema();
  const key = typeof raw === "object" ? raw : undefined;
  const known = key && compiled.get(key);
  if (known !== undefined) return known;
  let made: Shaper | undefined;
  // Shapes can contain themselves: the entry must be there before its members are compiled.
  const shaper: Shaper = (value) => (value === undefined || value === null ? undefined : made?.(value));
  if (key !== undefined) compiled.set(key, shaper);
  made = compile(service, schema, schema.isUnitSchema() ? "struct" : kindOf(schema));
  return shaper;
}

function compile(service: string, schema: NormalizedSchema, kind: ShapeKind): Shaper {
  switch (kind) {
    case "struct": {
      const members = membersOf(schema).map((member) => ({
        name: member.name,
        // S3's records have had their own name for it from the beginning, and detection rules go by it.
        as: service === "s3" && member.name === "Bucket" ? "bucketName" : lowerFirst(member.name),
        shape: isSecret(member.name, member.schema) ? secretOf(service) : shaperOf(service, member.schema),
      }));
      return (value) => {
        const from = value as Record<string, unknown>;
        const to: Record<string, Json> = {};
        for (const member of members) {
          const shaped = from[member.name] === undefined ? undefined : member.shape(from[member.name]);
          if (shaped !== undefined) to[member.as] = shaped;
        }
        return to;
      };
    }
    case "list": {
      const item = shaperOf(service, schema.getValueSchema());
      return (value) => (value as readonly unknown[]).map((one) => item(one) ?? null);
    }
    case "map": {
      const item = shaperOf(service, schema.getValueSchema());
      return (value) =>
        Object.fromEntries(
          Object.entries(value as Record<string, unknown>).map(([name, one]) => [name, item(one) ?? null]),
        );
    }
    case "timestamp":
      return (value) => (value instanceof Date ? javaDate(value) : String(value));
    case "blob":
      return () => REMOVED;
    case "string":
    case "number":
    case "boolean":
      return (value) => value as string | number | boolean;
  }
}

/** What stands for a secret: SSM has its own word; IAM and STS leave it out. */
function secretOf(service: string): Shaper {
  if (service === "ssm") return () => HIDDEN;
  if (service === "iam" || service === "sts") return () => undefined;
  return () => REMOVED;
}

// The SDK's exports, enumerated: for tests only. Production code imports operations by name.

import * as cloudtrail from "@aws-sdk/client-cloudtrail";
import * as ebs from "@aws-sdk/client-ebs";
import * as ec2 from "@aws-sdk/client-ec2";
import * as iam from "@aws-sdk/client-iam";
import * as organizations from "@aws-sdk/client-organizations";
import * as s3 from "@aws-sdk/client-s3";
import * as ssm from "@aws-sdk/client-ssm";
import * as sts from "@aws-sdk/client-sts";
import type { StaticErrorSchema, StaticOperationSchema } from "@smithy/types";
import { type Operation, operationOf } from "./schema.ts";
import type { AwsServiceName } from "./wire.ts";

export const SDK: Readonly<Record<AwsServiceName, Readonly<Record<string, unknown>>>> = {
  ec2,
  iam,
  sts,
  cloudtrail,
  ssm,
  ebs,
  organizations,
  s3,
};

export type AnyOperation = Operation<Record<string, unknown>, Record<string, unknown>>;

const isSchema = (value: unknown, kind: number): boolean =>
  Array.isArray(value) && value[0] === kind && value.length >= 6;

/** All operations of a service. */
export function sdkOperations(service: AwsServiceName): AnyOperation[] {
  return Object.values(SDK[service])
    .filter((value): value is StaticOperationSchema => isSchema(value, 9))
    .map((schema) => operationOf<Record<string, unknown>, Record<string, unknown>>(schema));
}

/** S3's operations that a query's name tells apart, as s3-routes.ts has them. */
export function sdkS3Subresources(): string[] {
  return (
    sdkOperations("s3")
      .flatMap(({ name, http, traits }) => {
        if (http === undefined || traits.endpoint !== undefined) return [];
        const [path = "", query = ""] = http.path.split("?");
        const fixed = query.split("&").find((part) => part !== "" && !part.includes("="));
        const about = path.includes("{Key") ? "object" : "bucket";
        return fixed === undefined ? [] : [`${http.method} ${about} ${fixed} ${name}`];
      })
      // Of two that differ in a query's value alone, the listing is the one without; none of them is answered.
      .sort()
  );
}

/** Modelled errors: their shape's name, their code in the query protocols, their status. */
export function sdkErrors(service: AwsServiceName): { name: string; code: string; status: number }[] {
  return Object.values(SDK[service])
    .filter((value): value is StaticErrorSchema => isSchema(value, -3))
    .flatMap(([, , name, traits]) => {
      if (typeof traits !== "object") return [];
      const query: unknown = traits.awsQueryError;
      const code: unknown = Array.isArray(query) ? query[0] : name;
      const fallback = traits.error === "server" ? 500 : 400;
      const status = Number(Array.isArray(query) ? query[1] : (traits.httpError ?? fallback));
      return [{ name, code: String(code), status }];
    });
}

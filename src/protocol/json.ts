// AWS JSON 1.1 (CloudTrail, SSM): the operation in a header, JSON both ways.

import { NormalizedSchema } from "@smithy/core/schema";
import { ApiError } from "../base/api-error.ts";
import { type JsonVisit, jsonReader, jsonWriter, parseJsonObject } from "./json-shapes.ts";
import { missingMembers } from "./query.ts";
import type { Operation } from "./schema.ts";
import type { Route, ServiceCodec, ServiceName, WireRequest, WireResponse } from "./wire.ts";

/** @param targets  what may stand before `.Action` in `X-Amz-Target`: botocore and the SDKs differ for CloudTrail */
export function jsonCodec(service: ServiceName, targets: readonly string[]): ServiceCodec {
  const response = (status: number, body: unknown, requestId: string): WireResponse => ({
    status,
    headers: { "x-amzn-requestid": requestId, "content-type": "application/x-amz-json-1.1" },
    body: Buffer.from(JSON.stringify(body)),
  });

  return {
    service,

    route(request: WireRequest): Route {
      const target = request.headers["x-amz-target"] ?? "";
      const dot = target.lastIndexOf(".");
      const action = target.slice(dot + 1);
      if (dot === -1 || action === "" || !targets.includes(target.slice(0, dot))) {
        throw new ApiError("UnknownOperationException", "The X-Amz-Target header names no operation of this service");
      }
      return { action };
    },

    decode<Input, Output>(operation: Operation<Input, Output>, request: WireRequest): Input {
      const schema = NormalizedSchema.of(operation.input);
      const body = parseJsonObject(request.body, "SerializationException");
      // The reader was made from the schema of `Input`, which here has no members.
      if (schema.isUnitSchema()) return {} as Input;
      const visit: JsonVisit = { missing: [], code: "SerializationException" };
      const input = jsonReader(schema, "")(body, visit, "", 0);
      if (visit.missing.length > 0) throw new ApiError("ValidationException", missingMembers(visit.missing));
      return input as Input;
    },

    encode<Input, Output>(operation: Operation<Input, Output>, output: Output, requestId: string): WireResponse {
      const schema = NormalizedSchema.of(operation.output);
      return response(200, schema.isUnitSchema() ? {} : jsonWriter(schema)(output), requestId);
    },

    encodeError(error: ApiError, requestId: string): WireResponse {
      // This protocol has one status for whatever is the client's fault; the rest says `__type`.
      const status = error.httpStatus >= 500 ? error.httpStatus : 400;
      return response(status, { ...error.fields, __type: error.code, message: error.message }, requestId);
    },
  };
}

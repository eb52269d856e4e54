// The query protocol of IAM and STS: form parameters in, XML with a `…Result` element out.

import { ApiError } from "../base/api-error.ts";
import { shortened } from "./ec2.ts";
import { inputDecoders, type MissingName, type QueryDialect } from "./query-input.ts";
import { parametersOf, topParameter } from "./query-parameters.ts";
import { writeTimestamp } from "./scalars.ts";
import { isUnit, type Operation } from "./schema.ts";
import type { Route, ServiceCodec, ServiceName, WireRequest, WireResponse } from "./wire.ts";
import { escapeXml, outputWriters } from "./xml-output.ts";

/** What the newer services say when members are missing; IAM, STS, SSM, CloudTrail and EBS direct alike. */
export function missingMembers(names: readonly MissingName[]): string {
  const found = names.length === 1 ? "1 validation error detected" : `${names.length} validation errors detected`;
  const each = names
    .slice(0, 10)
    .map(({ path }) => `Value null at '${path}' failed to satisfy constraint: Member must not be null`);
  return `${found}: ${each.join("; ")}`;
}

const dialect: QueryDialect = {
  memberName: ({ name, traits }) => traits.xmlName ?? name,
  listItem: (item) => item.getMergedTraits().xmlName ?? "member",
  emptyIsAbsent: false,
  isTolerated: () => true,
  unknown: () => undefined,
  missing: (names) => new ApiError("ValidationError", missingMembers(names)),
  wrong: (name, value, why) =>
    new ApiError("ValidationError", `Value '${shortened(value)}' for parameter ${name} is invalid. ${why}`),
};

const decoderOf = inputDecoders(dialect);
const writerOf = outputWriters({ writeTimestamp });

/** @param namespace  of the reply's XML, such as `https://iam.amazonaws.com/doc/2010-05-08/` */
export function queryCodec(service: ServiceName, namespace: string): ServiceCodec {
  const response = (status: number, xml: string, requestId: string): WireResponse => ({
    status,
    headers: { "x-amzn-requestid": requestId, "content-type": "text/xml" },
    body: Buffer.from(xml),
  });

  return {
    service,

    route(request: WireRequest): Route {
      const root = parametersOf(request);
      const action = topParameter(root, "Action");
      if (action === undefined)
        throw new ApiError("MissingAction", "The request is missing an action or a required parameter");
      const version = topParameter(root, "Version");
      return version === undefined ? { action } : { action, version };
    },

    decode<Input, Output>(operation: Operation<Input, Output>, request: WireRequest): Input {
      // The decoder was made from the schema of `Input`.
      return decoderOf(operation.input)(parametersOf(request)) as Input;
    },

    encode<Input, Output>(operation: Operation<Input, Output>, output: Output, requestId: string): WireResponse {
      const { name } = operation;
      const result = isUnit(operation.output)
        ? ""
        : `<${name}Result>${writerOf(operation.output)(output)}</${name}Result>`;
      const metadata = `<ResponseMetadata><RequestId>${escapeXml(requestId)}</RequestId></ResponseMetadata>`;
      return response(200, `<${name}Response xmlns="${namespace}">${result}${metadata}</${name}Response>`, requestId);
    },

    encodeError(error: ApiError, requestId: string): WireResponse {
      const type = error.httpStatus < 500 ? "Sender" : "Receiver";
      const fields = Object.entries(error.fields).map(([name, value]) => `<${name}>${escapeXml(value)}</${name}>`);
      const detail = `<Type>${type}</Type><Code>${escapeXml(error.code)}</Code><Message>${escapeXml(error.message)}</Message>`;
      const body = `<Error>${detail}${fields.join("")}</Error><RequestId>${escapeXml(requestId)}</RequestId>`;
      return response(error.httpStatus, `<ErrorResponse xmlns="${namespace}">${body}</ErrorResponse>`, requestId);
    },
  };
}

// EC2's protocol: form parameters in, XML out. One codec for the 823 operations.

import { ApiError } from "../base/api-error.ts";
import { inputDecoders, type QueryDialect } from "./query-input.ts";
import { parametersOf, topParameter } from "./query-parameters.ts";
import { writeTimestampMs } from "./scalars.ts";
import { isUnit, type Member, type Operation } from "./schema.ts";
import type { Route, ServiceCodec, WireRequest, WireResponse } from "./wire.ts";
import { escapeXml, outputWriters } from "./xml-output.ts";

const NAMESPACE = "http://ec2.amazonaws.com/doc/2016-11-15/";
const DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>\n';

/**
 * Beside an operation's own parameters. botocore adds `PresignedUrl` and `DestinationRegion` to copies whether or not
 * the operation has them.
 */
const TOLERATED: ReadonlySet<string> = new Set(["Action", "Version", "PresignedUrl", "DestinationRegion"]);

/** An input member's name on the wire. */
export function ec2MemberName({ name, traits }: Member): string {
  if (typeof traits.ec2QueryName === "string") return traits.ec2QueryName;
  const xmlName = traits.xmlName ?? name;
  return xmlName.charAt(0).toUpperCase() + xmlName.slice(1);
}

const dialect: QueryDialect = {
  memberName: ec2MemberName,
  listItem: () => undefined,
  emptyIsAbsent: true,
  isTolerated: (name) => TOLERATED.has(name),
  unknown: (name) => new ApiError("UnknownParameter", `The parameter ${name} is not recognized`),
  missing: ([first]) =>
    new ApiError("MissingParameter", `The request must contain the parameter ${first?.wire ?? "Action"}`),
  wrong: (name, value, why) =>
    new ApiError("InvalidParameterValue", `Value (${shortened(value)}) for parameter ${name} is invalid. ${why}`),
};

/** A client's text in our message: enough to find it again, not enough to fill a log. */
export const shortened = (text: string): string => (text.length <= 128 ? text : `${text.slice(0, 128)}…`);

const decoderOf = inputDecoders(dialect);
const writerOf = outputWriters({ writeTimestamp: writeTimestampMs });

function response(status: number, xml: string, requestId: string): WireResponse {
  return {
    status,
    headers: {
      "x-amzn-requestid": requestId,
      "cache-control": "no-cache, no-store",
      "content-type": "text/xml;charset=UTF-8",
    },
    body: Buffer.from(DECLARATION + xml),
  };
}

export const ec2Codec: ServiceCodec = {
  service: "ec2",

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
    // Clients older than the models look for `return` where the model says that nothing comes back.
    const content = isUnit(operation.output) ? "<return>true</return>" : writerOf(operation.output)(output);
    const head = `<${name}Response xmlns="${NAMESPACE}"><requestId>${escapeXml(requestId)}</requestId>`;
    return response(200, `${head}${content}</${name}Response>`, requestId);
  },

  encodeError(error: ApiError, requestId: string): WireResponse {
    const code = `<Code>${escapeXml(error.code)}</Code><Message>${escapeXml(error.message)}</Message>`;
    const xml = `<Response><Errors><Error>${code}</Error></Errors><RequestID>${escapeXml(requestId)}</RequestID></Response>`;
    return response(error.httpStatus, xml, requestId);
  },
};

// Ingot's own service, as a client calls it: typed by the operations of services/ingot/schema.ts.
//
//   const { Accounts } = await ingotClient(connection).send(ListAccounts$, {});
import { NormalizedSchema } from "@smithy/core/schema";
import { jsonReader, jsonWriter, parseJsonObject } from "../../protocol/json-shapes.ts";
import { signRequest } from "../../protocol/sigv4.ts";
import type { IngotOperation } from "../../services/ingot/shapes.ts";
import type { Connection } from "../connection.ts";

export interface IngotClient {
  /** @throws IngotServiceException what the server refuses; Error when it does not answer */
  send<I extends object, O>(operation: IngotOperation<I, O>, input: I): Promise<O>;
}

/** A refusal, as the SDK's clients throw theirs: `name` is the code. */
export class IngotServiceException extends Error {
  readonly $fault: "client" | "server";
  readonly $metadata: { readonly httpStatusCode: number; readonly requestId: string | undefined };
  constructor(code: string, message: string, status: number, requestId: string | undefined) {
    super(message);
    this.name = code;
    this.$fault = status >= 500 ? "server" : "client";
    this.$metadata = { httpStatusCode: status, requestId };
  }
}

export function ingotClient(connection: Pick<Connection, "endpoint" | "region" | "credentials">): IngotClient {
  const { endpoint, region, credentials } = connection;
  const url = new URL(endpoint);
  return {
    async send<I extends object, O>({ schema }: IngotOperation<I, O>, input: I): Promise<O> {
      const [, , name, , inputSchema, outputSchema] = schema;
      const body = Buffer.from(JSON.stringify(jsonWriter(NormalizedSchema.of(inputSchema))(input)));
      const headers = signRequest(
        {
          method: "POST",
          path: "/",
          query: "",
          headers: { host: url.host, "content-type": "application/x-amz-json-1.1", "x-amz-target": `Ingot.${name}` },
          body,
        },
        credentials,
        { region, service: "ingot" },
        new Date(),
      );
      const { host: _, ...rest } = headers;
      const response = await fetch(url, { method: "POST", headers: rest, body });
      const answer = parseJsonObject(Buffer.from(await response.arrayBuffer()), "SerializationException");
      if (!response.ok) {
        throw new IngotServiceException(
          String(answer.__type ?? "InternalFailure"),
          String(answer.message ?? `HTTP ${response.status}`),
          response.status,
          response.headers.get("x-amzn-requestid") ?? undefined,
        );
      }
      // The reader was made from the schema of `O`.
      return jsonReader(NormalizedSchema.of(outputSchema), "")(
        answer,
        { missing: [], code: "SerializationException" },
        "",
        0,
      ) as O;
    },
  };
}

import { STSClient } from "@aws-sdk/client-sts";
import type { Connection } from "../connection.ts";
import { configuration } from "./configuration.ts";

export const stsClient = (connection: Connection): STSClient => new STSClient(configuration(connection));

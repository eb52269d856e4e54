import { IAMClient } from "@aws-sdk/client-iam";
import type { Connection } from "../connection.ts";
import { configuration } from "./configuration.ts";

export const iamClient = (connection: Connection): IAMClient => new IAMClient(configuration(connection));

import { EBSClient } from "@aws-sdk/client-ebs";
import type { Connection } from "../connection.ts";
import { configuration } from "./configuration.ts";

export const ebsClient = (connection: Connection): EBSClient => new EBSClient(configuration(connection));

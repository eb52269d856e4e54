import { EC2Client } from "@aws-sdk/client-ec2";
import type { Connection } from "../connection.ts";
import { configuration } from "./configuration.ts";

export const ec2Client = (connection: Connection): EC2Client => new EC2Client(configuration(connection));

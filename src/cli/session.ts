// What every command is given: where the server is, and how to show a result.
import type { CloudTrailClient } from "@aws-sdk/client-cloudtrail";
import type { EBSClient } from "@aws-sdk/client-ebs";
import type { EC2Client } from "@aws-sdk/client-ec2";
import type { STSClient } from "@aws-sdk/client-sts";
import { type Connection, connect } from "./connection.ts";
import { Output } from "./output.ts";

/** The options that every command takes. */
export interface CommonOptions {
  readonly data?: string;
  readonly json?: boolean;
}

export interface Session {
  readonly connection: Connection;
  readonly output: Output;
}

/** For commands that call the API. @throws CliError when no server runs */
export function openSession(options: CommonOptions): Session {
  const connection = connect(options.data);
  return { connection, output: new Output(options.json === true) };
}

// A client's module takes tens of milliseconds to load: only what a command calls.

const configuration = ({ endpoint, region, credentials }: Connection) => ({
  endpoint,
  region,
  credentials,
  maxAttempts: 3,
});

export async function ec2Client(connection: Connection): Promise<EC2Client> {
  const { EC2Client } = await import("@aws-sdk/client-ec2");
  return new EC2Client(configuration(connection));
}

export async function ebsClient(connection: Connection): Promise<EBSClient> {
  const { EBSClient } = await import("@aws-sdk/client-ebs");
  return new EBSClient(configuration(connection));
}

export async function stsClient(connection: Connection): Promise<STSClient> {
  const { STSClient } = await import("@aws-sdk/client-sts");
  return new STSClient(configuration(connection));
}

export async function cloudtrailClient(connection: Connection): Promise<CloudTrailClient> {
  const { CloudTrailClient } = await import("@aws-sdk/client-cloudtrail");
  return new CloudTrailClient(configuration(connection));
}

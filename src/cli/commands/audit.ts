// ingot audit verify, find, deliver

import { readFileSync } from "node:fs";
import { gunzipSync } from "node:zlib";
import { DeliverTrails$, FindEvents$, type FoundEvent$, VerifyEvents$ } from "../../services/ingot/schema.ts";
import type { Of } from "../../services/ingot/shapes.ts";
import { ingotClient } from "../clients/ingot.ts";
import { CliError, EXIT } from "../failure.ts";
import { table } from "../output.ts";
import { type CommonOptions, openSession } from "../session.ts";

export interface VerifyOptions extends CommonOptions {
  /** A digest file, as downloaded from a trail's bucket. */
  readonly digest?: string;
}

/** Exits with 1 when anything is not as it was written. */
export async function verify(options: VerifyOptions): Promise<void> {
  const known = options.digest === undefined ? undefined : chainOf(options.digest);
  const { connection, output } = openSession(options);
  const report = await ingotClient(connection).send(VerifyEvents$, {
    ...(known === undefined ? {} : { Sequence: known.sequence, Hash: known.hash }),
  });
  const good = report.Damage.length === 0 && report.MissingDigests.length === 0;
  const lines = [
    ...report.Damage.map(({ Sequence, What }) => `event ${Sequence}: ${What}`),
    ...report.MissingDigests.map(({ Bucket, Key, What }) => `digest s3://${Bucket}/${Key}: ${What}`),
    good
      ? `${report.Events} events, ${report.First} to ${report.HeadSequence}: all are as they were written.`
      : `${report.Events} events read: they are not as they were written.`,
    `head: ${report.HeadSequence} ${report.HeadHash}`,
  ];
  output.result(report, lines.join("\n"));
  if (!good) process.exitCode = EXIT.failed;
}

function chainOf(file: string): { readonly sequence: number; readonly hash: string } {
  try {
    const bytes = readFileSync(file);
    const text = bytes[0] === 0x1f && bytes[1] === 0x8b ? gunzipSync(bytes).toString() : bytes.toString();
    const { ingotAuditChain: chain } = JSON.parse(text) as { ingotAuditChain?: { sequence?: unknown; hash?: unknown } };
    if (typeof chain?.sequence !== "number" || typeof chain.hash !== "string")
      throw new Error("it has no ingotAuditChain");
    return { sequence: chain.sequence, hash: chain.hash };
  } catch (cause) {
    throw new CliError(`${file} is not a digest of this server's trails`, { exitCode: EXIT.usage, cause });
  }
}

export interface FindOptions extends CommonOptions {
  readonly name?: string;
  readonly source?: string;
  readonly user?: string;
  readonly key?: string;
  readonly resource?: string;
  readonly type?: string;
  readonly id?: string;
  readonly region?: string;
  readonly reads?: boolean;
  readonly writes?: boolean;
  readonly since?: string;
  readonly until?: string;
  readonly limit: number;
}

const MOST_PAGE = 1000;

export async function find(options: FindOptions): Promise<void> {
  const now = new Date();
  const since = options.since === undefined ? undefined : timeOf(options.since, now);
  const until = options.until === undefined ? undefined : timeOf(options.until, now);
  const { connection, output } = openSession(options);
  const client = ingotClient(connection);
  const found: Of<typeof FoundEvent$>[] = [];
  let token: string | undefined;
  do {
    const { Events, NextToken } = await client.send(FindEvents$, {
      ...(options.name === undefined ? {} : { EventName: options.name }),
      ...(options.source === undefined
        ? {}
        : { EventSource: options.source.includes(".") ? options.source : `${options.source}.amazonaws.com` }),
      ...(options.user === undefined ? {} : { UserName: options.user }),
      ...(options.key === undefined ? {} : { AccessKeyId: options.key }),
      ...(options.resource === undefined ? {} : { ResourceName: options.resource }),
      ...(options.type === undefined ? {} : { ResourceType: options.type }),
      ...(options.id === undefined ? {} : { EventId: options.id }),
      ...(options.region === undefined ? {} : { Region: options.region }),
      ...(options.reads === options.writes ? {} : { ReadOnly: options.reads === true }),
      ...(since === undefined ? {} : { StartTime: since }),
      ...(until === undefined ? {} : { EndTime: until }),
      MaxResults: Math.min(MOST_PAGE, options.limit - found.length),
      ...(token === undefined ? {} : { NextToken: token }),
    });
    found.push(...Events);
    token = NextToken;
  } while (token !== undefined && found.length < options.limit);
  if (output.json) return output.result({ Events: found.map(({ Record }) => JSON.parse(Record)) }, "");
  if (found.length === 0) return output.note("No events are like that.");
  const rows = found.map((event) => {
    const { errorCode = "" } = JSON.parse(event.Record) as { errorCode?: string };
    return [
      event.EventTime.toISOString().slice(0, 19),
      event.Region,
      event.UserName ?? "",
      event.EventName,
      errorCode,
      event.Resources.map(({ ResourceName }) => ResourceName).join(" "),
    ];
  });
  output.result(null, await table(["TIME", "REGION", "WHO", "EVENT", "ERROR", "RESOURCES"], rows));
}

const UNIT_MS: Readonly<Record<string, number>> = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** `2026-11-24`, `2026-11-24T08:00Z`, or so long ago: `90m`, `3d`. */
export function timeOf(text: string, now: Date): Date {
  const [, count, unit = ""] = /^(\d{1,6})([smhd])$/.exec(text) ?? [];
  if (count !== undefined) return new Date(now.getTime() - Number(count) * (UNIT_MS[unit] ?? 0));
  const at = new Date(text);
  if (/^\d{4}-\d\d-\d\d/.test(text) && !Number.isNaN(at.getTime())) return at;
  throw new CliError(`a time is like 2026-11-24, 2026-11-24T08:00Z, 90m or 3d, not ${text}`, { exitCode: EXIT.usage });
}

export async function deliver(options: CommonOptions & { readonly digests?: boolean }): Promise<void> {
  const { connection, output } = openSession(options);
  await ingotClient(connection).send(DeliverTrails$, { Digests: options.digests === true });
  output.result({}, "What trails owed is delivered: see aws cloudtrail get-trail-status for refusals.");
}

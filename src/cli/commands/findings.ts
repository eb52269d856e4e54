// ingot findings list | show | close | acknowledge | suppress | rules: what the detections found, and what became of it.
import {
  type Finding$,
  GetFinding$,
  ListDetectionRules$,
  ListFindings$,
  type Of,
  SuppressFinding$,
  UpdateFinding$,
} from "../../services/ingot/findings-schema.ts";
import { ingotClient } from "../clients/ingot.ts";
import { formatAge, table } from "../output.ts";
import { type CommonOptions, openSession } from "../session.ts";

type Finding = Of<typeof Finding$>;

export interface ListOptions extends CommonOptions {
  readonly all?: boolean;
  readonly level?: string;
  readonly everybody?: boolean;
}

const about = (finding: Finding): string =>
  Object.values(finding.Subject)
    .filter((value) => value !== "")
    .join(" ");

export async function list(options: ListOptions): Promise<void> {
  const { connection, output } = openSession(options);
  const client = ingotClient(connection);
  const findings: Finding[] = [];
  let token: string | undefined;
  do {
    const page = await client.send(ListFindings$, {
      ...(options.all ? { States: ["open", "acknowledged", "closed", "suppressed"] } : {}),
      ...(options.level === undefined ? {} : { Level: options.level }),
      ...(options.everybody ? { AllAccounts: true } : {}),
      ...(token === undefined ? {} : { NextToken: token }),
    });
    findings.push(...page.Findings);
    token = page.NextToken;
  } while (token !== undefined);
  const now = new Date();
  const rows = findings.map((finding) => [
    finding.FindingId,
    finding.Level,
    finding.State,
    formatAge(finding.LastEventTime, now),
    String(finding.EventCount),
    finding.Title,
    about(finding),
  ]);
  output.result(
    findings,
    rows.length === 0
      ? "Nothing was found."
      : await table(["FINDING", "LEVEL", "STATE", "AGE", "EVENTS", "WHAT", "ABOUT"], rows),
  );
}

export async function show(id: string, options: CommonOptions): Promise<void> {
  const { connection, output } = openSession(options);
  const found = await ingotClient(connection).send(GetFinding$, { FindingId: id });
  const { Finding: finding, Events: events } = found;
  const lines = [
    `${finding.Title} (${finding.Level}, ${finding.State})`,
    ...Object.entries(finding.Subject).map(([field, value]) => `  ${field}: ${value}`),
    ...(finding.Note === undefined ? [] : [`  note: ${finding.Note}`]),
    "",
    ...events.map(
      (event) =>
        `${event.EventTime.toISOString().slice(0, 19).replace("T", " ")}  ${event.EventName}  ${event.Who}  from ${event.SourceIpAddress}  ${event.EventId}`,
    ),
    ...(finding.EventCount > events.length ? [`… and ${finding.EventCount - events.length} more`] : []),
    "",
    ...finding.NextSteps.map((step, index) => `${index + 1}. ${step}`),
  ];
  output.result(found, lines.join("\n"));
}

export interface NoteOptions extends CommonOptions {
  readonly note?: string;
}

export async function change(
  state: "closed" | "acknowledged" | "open",
  id: string,
  options: NoteOptions,
): Promise<void> {
  const { connection, output } = openSession(options);
  const { Finding: finding } = await ingotClient(connection).send(UpdateFinding$, {
    FindingId: id,
    State: state,
    ...(options.note === undefined ? {} : { Note: options.note }),
  });
  output.result(finding, `${finding.Title}: ${finding.State}`);
}

export interface SuppressOptions extends CommonOptions {
  readonly reason: string;
  readonly by?: readonly string[];
  readonly wholeRule?: boolean;
}

export async function suppress(id: string, options: SuppressOptions): Promise<void> {
  const { connection, output } = openSession(options);
  const made = await ingotClient(connection).send(SuppressFinding$, {
    FindingId: id,
    Reason: options.reason,
    ...(options.wholeRule ? { Fields: [] } : options.by === undefined ? {} : { Fields: options.by }),
  });
  output.result(made, `suppression ${made.SuppressionId}`);
}

export async function rules(options: CommonOptions): Promise<void> {
  const { connection, output } = openSession(options);
  const { Rules } = await ingotClient(connection).send(ListDetectionRules$, {});
  const rows = Rules.filter((rule) => rule.MakesFindings).map((rule) => [rule.Level, rule.Title, rule.RuleId]);
  output.result(Rules, await table(["LEVEL", "RULE", "ID"], rows));
}

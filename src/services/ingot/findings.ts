import {
  updateFinding as changeFinding,
  deleteSuppression,
  eventsOfFinding,
  type Finding,
  findFinding,
  listFindings as findingsOf,
  suppress,
  suppressionsOf,
} from "../../audit/detections/findings.ts";
import { LEVELS } from "../../audit/detections/sigma.ts";
import { ApiError } from "../../base/api-error.ts";
import type { Action, ResourceCheck } from "../../model/access.ts";
import type { RequestContext } from "../context.ts";
import { onAnything, operation } from "../operation.ts";
import {
  DeleteFindingSuppression$,
  type DeleteFindingSuppressionRequest$,
  type DeleteFindingSuppressionResponse$,
  type Finding$,
  GetFinding$,
  type GetFindingRequest$,
  type GetFindingResponse$,
  ListDetectionRules$,
  type ListDetectionRulesRequest$,
  type ListDetectionRulesResponse$,
  ListFindingSuppressions$,
  type ListFindingSuppressionsRequest$,
  type ListFindingSuppressionsResponse$,
  ListFindings$,
  type ListFindingsRequest$,
  type ListFindingsResponse$,
  type Of,
  SuppressFinding$,
  type SuppressFindingRequest$,
  type SuppressFindingResponse$,
  UpdateFinding$,
  type UpdateFindingRequest$,
  type UpdateFindingResponse$,
} from "./findings-schema.ts";
import { operatorCheck } from "./operator.ts";

const MOST_FINDINGS = 1000;
const DEFAULT_FINDINGS = 100;
const MOST_NOTE_CHARS = 2000;
const STATES = ["open", "acknowledged", "closed", "suppressed"] as const;

const invalid = (sentence: string): ApiError => new ApiError("ValidationException", sentence);

function oneOf<T extends string>(name: string, known: readonly T[], given: string): T {
  const found = known.find((one) => one === given);
  if (found === undefined) throw invalid(`${name} is one of ${known.join(", ")}.`);
  return found;
}

const shown = (finding: Finding): Of<typeof Finding$> => ({
  FindingId: finding.id,
  AccountId: finding.accountId,
  Region: finding.region,
  RuleId: finding.ruleId,
  Title: finding.title,
  Level: finding.level,
  Subject: finding.subject,
  State: finding.state,
  EventCount: finding.events,
  FirstEventTime: finding.firstAt,
  LastEventTime: finding.lastAt,
  NextSteps: finding.next,
  ...(finding.note === null ? {} : { Note: finding.note }),
  ...(finding.suppressionId === null ? {} : { SuppressionId: finding.suppressionId }),
  ...(finding.changedBy === null ? {} : { ChangedBy: finding.changedBy }),
});

const findingArn = (finding: Pick<Finding, "accountId" | "region" | "id">): string =>
  `arn:aws:ingot:${finding.region}:${finding.accountId}:finding/${finding.id}`;

export const listFindings = operation({
  action: "ingot:ListFindings",
  schema: ListFindings$.schema,
  access: "read",
  async resolve(ctx: RequestContext, input: Of<typeof ListFindingsRequest$>) {
    if (input.AllAccounts === true) return { checks: [await operatorCheck(ctx, "ingot:ListFindings")] };
    return onAnything("ingot:ListFindings");
  },
  async run(ctx, input): Promise<Of<typeof ListFindingsResponse$>> {
    const limit = input.MaxResults ?? DEFAULT_FINDINGS;
    if (limit < 1 || limit > MOST_FINDINGS) throw invalid(`MaxResults takes 1 to ${MOST_FINDINGS}.`);
    const states = input.States?.map((state) => oneOf("States", STATES, state)) ?? ["open", "acknowledged"];
    const scope = {
      service: "ingot",
      action: "ListFindings",
      owner: [ctx.caller.accountId],
      parameters: input,
    } as const;
    const [position, id] = ctx.parts.pages.open(scope, input.NextToken)?.split(" ") ?? [];
    await ctx.parts.detections.run();
    const found = await findingsOf(ctx.database.read, {
      accountId: input.AllAccounts === true ? null : ctx.caller.accountId,
      states,
      limit: limit + 1,
      ...(input.Level === undefined ? {} : { leastLevel: oneOf("Level", LEVELS, input.Level) }),
      ...(input.RuleId === undefined ? {} : { ruleId: input.RuleId }),
      ...(position === undefined || id === undefined ? {} : { after: { position: Number(position), id } }),
    });
    const page = found.slice(0, limit);
    const last = page.at(-1);
    return {
      Findings: page.map(shown),
      ...(found.length > limit && last !== undefined
        ? { NextToken: ctx.parts.pages.seal(scope, `${last.position} ${last.id}`) }
        : {}),
    };
  },
});

/** A finding of the caller's account; of any, for the operator. Others hear that there is none. */
async function resolveFinding<A extends Action>(ctx: RequestContext, action: A, id: string) {
  const finding = await findFinding(ctx.database.read, id);
  if (finding === undefined) throw noFinding(id, `arn:aws:ingot:${ctx.region}:${ctx.caller.accountId}:finding/${id}`);
  const own = finding.accountId === ctx.caller.accountId;
  const check: ResourceCheck<A> = own
    ? { action, resource: findingArn(finding), keys: {} }
    : await operatorCheck(ctx, action);
  return { finding, checks: [check] };
}

const noFinding = (id: string, resourceArn: string): ApiError =>
  new ApiError("ResourceNotFoundException", `There is no finding ${id}.`, { resourceArn });

export const getFinding = operation({
  action: "ingot:GetFinding",
  schema: GetFinding$.schema,
  access: "read",
  resolve: (ctx: RequestContext, input: Of<typeof GetFindingRequest$>) =>
    resolveFinding(ctx, "ingot:GetFinding", input.FindingId),
  async run(ctx, _input, { finding }): Promise<Of<typeof GetFindingResponse$>> {
    const events = await eventsOfFinding(ctx.database.read, finding.id);
    return {
      Finding: shown(finding),
      Events: events.map((event) => ({
        EventId: event.eventId,
        EventName: event.eventName,
        EventTime: new Date(event.atMs),
        Who: event.who,
        SourceIpAddress: event.sourceIp,
        ...(event.record === null ? {} : { Record: event.record }),
      })),
    };
  },
});

export const updateFinding = operation({
  action: "ingot:UpdateFinding",
  schema: UpdateFinding$.schema,
  access: "write",
  resolve: (ctx: RequestContext, input: Of<typeof UpdateFindingRequest$>) =>
    resolveFinding(ctx, "ingot:UpdateFinding", input.FindingId),
  async run(ctx, { State: state, Note: note }, { finding }, grant): Promise<Of<typeof UpdateFindingResponse$>> {
    if (state === undefined && note === undefined) throw invalid("UpdateFinding takes a State or a Note.");
    if (note !== undefined && note.length > MOST_NOTE_CHARS) throw invalid(`Note takes ${MOST_NOTE_CHARS} characters.`);
    const change = {
      ...(state === undefined ? {} : { state: oneOf("State", ["open", "acknowledged", "closed"] as const, state) }),
      ...(note === undefined ? {} : { note }),
    };
    await ctx.database.transaction((tx) =>
      changeFinding(grant, tx, finding.id, change, { arn: ctx.caller.arn, at: ctx.now() }),
    );
    return { Finding: shown((await findFinding(ctx.database.read, finding.id)) ?? finding) };
  },
});

export const suppressFinding = operation({
  action: "ingot:SuppressFinding",
  schema: SuppressFinding$.schema,
  access: "write",
  resolve: (ctx: RequestContext, input: Of<typeof SuppressFindingRequest$>) =>
    resolveFinding(ctx, "ingot:SuppressFinding", input.FindingId),
  async run(ctx, input, { finding }, grant): Promise<Of<typeof SuppressFindingResponse$>> {
    const reason = input.Reason.trim();
    if (reason === "" || reason.length > MOST_NOTE_CHARS)
      throw invalid(`Reason takes 1 to ${MOST_NOTE_CHARS} characters.`);
    const fields = input.Fields ?? Object.keys(finding.subject);
    const subject: Record<string, string> = {};
    for (const field of fields) {
      const value = finding.subject[field];
      if (value === undefined) throw invalid(`The finding's subject has no ${field}.`);
      subject[field] = value;
    }
    const suppression = {
      accountId: finding.accountId,
      ruleId: finding.ruleId,
      subject,
      reason,
      expiresAt: input.ExpiresAt ?? null,
    };
    const id = await ctx.database.transaction((tx) =>
      suppress(grant, tx, suppression, { arn: ctx.caller.arn, at: ctx.now() }),
    );
    return { SuppressionId: id };
  },
});

export const listFindingSuppressions = operation({
  action: "ingot:ListFindingSuppressions",
  schema: ListFindingSuppressions$.schema,
  access: "read",
  resolve: async (_ctx: RequestContext, _input: Of<typeof ListFindingSuppressionsRequest$>) =>
    onAnything("ingot:ListFindingSuppressions"),
  async run(ctx): Promise<Of<typeof ListFindingSuppressionsResponse$>> {
    const rows = await suppressionsOf(ctx.database.read, ctx.caller.accountId);
    return {
      Suppressions: rows.map((row) => ({
        SuppressionId: row.id,
        RuleId: row.rule_id,
        Subject: JSON.parse(row.subject) as Record<string, string>,
        Reason: row.reason,
        CreatedBy: row.created_by,
        CreatedAt: new Date(row.created_at),
        ...(row.expires_at === null ? {} : { ExpiresAt: new Date(row.expires_at) }),
      })),
    };
  },
});

export const deleteFindingSuppression = operation({
  action: "ingot:DeleteFindingSuppression",
  schema: DeleteFindingSuppression$.schema,
  access: "write",
  resolve: async (_ctx: RequestContext, _input: Of<typeof DeleteFindingSuppressionRequest$>) =>
    onAnything("ingot:DeleteFindingSuppression"),
  async run(ctx, { SuppressionId: id }, _resolved, grant): Promise<Of<typeof DeleteFindingSuppressionResponse$>> {
    const gone = await ctx.database.transaction((tx) => deleteSuppression(grant, tx, ctx.caller.accountId, id));
    if (!gone) throw new ApiError("ResourceNotFoundException", `There is no suppression ${id}.`);
    return {};
  },
});

export const listDetectionRules = operation({
  action: "ingot:ListDetectionRules",
  schema: ListDetectionRules$.schema,
  access: "read",
  resolve: async (_ctx: RequestContext, _input: Of<typeof ListDetectionRulesRequest$>) =>
    onAnything("ingot:ListDetectionRules"),
  async run(ctx): Promise<Of<typeof ListDetectionRulesResponse$>> {
    return {
      Rules: ctx.parts.detections.rules.map((rule) => ({
        RuleId: rule.id,
        Title: rule.title,
        Description: rule.description,
        Level: rule.level,
        Tags: rule.tags,
        FalsePositives: rule.falsePositives,
        NextSteps: rule.next,
        Kind: rule.kind,
        MakesFindings: rule.kind === "correlation" || rule.generates,
      })),
    };
  },
});

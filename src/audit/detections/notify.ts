// Telling of findings: one POST of JSON per finding to the operator's webhook, until it answers 2xx. It may come twice when
// we are killed in between: the id tells.
import { createHmac } from "node:crypto";
import type { Clock } from "../../base/clock.ts";
import { chain } from "../../base/errors.ts";
import type { Log } from "../../base/log.ts";
import type { Database } from "../../database/database.ts";
import { eventsOfFinding, type Finding, findingOf } from "./findings.ts";

export interface Webhook {
  readonly url: string;
  /** Signs what is sent: `X-Ingot-Signature: sha256=<hex HMAC of the body>`. */
  readonly secret?: string;
}

const TIMEOUT_MS = 10_000;
const FIRST_RETRY_MS = 5_000;
const LONGEST_RETRY_MS = 3_600_000;
/** A day and a half of refusals. */
const MOST_ATTEMPTS = 40;
const AT_ONCE = 20;

/** Sends what is due. Never throws: what fails is tried again later. */
export async function sendNotices(
  parts: { readonly database: Database; readonly clock: Clock; readonly log: Log; readonly signal: AbortSignal },
  webhook: Webhook,
): Promise<void> {
  const { database, clock, log } = parts;
  const due = await database.read
    .selectFrom("findings")
    .selectAll()
    .where("notice", "=", "due")
    .where("notice_after_ms", "<=", clock.now().getTime())
    .orderBy("notice_after_ms")
    .limit(AT_ONCE)
    .execute();
  for (const row of due) {
    if (parts.signal.aborted) return;
    try {
      await post(webhook, await noticeOf(database, findingOf(row)), row.id, parts.signal);
      await database.transaction((tx) =>
        tx.updateTable("findings").set({ notice: "sent" }).where("id", "=", row.id).execute(),
      );
    } catch (error) {
      if (parts.signal.aborted) return;
      const attempts = Number(row.notice_attempts) + 1;
      const waitMs = Math.min(FIRST_RETRY_MS * 2 ** (attempts - 1), LONGEST_RETRY_MS);
      log.warn({ finding: row.id, attempts, error: chain(error) }, "the webhook did not take a finding");
      await database.transaction((tx) =>
        tx
          .updateTable("findings")
          .set({
            notice: attempts >= MOST_ATTEMPTS ? "failed" : "due",
            notice_attempts: attempts,
            notice_after_ms: clock.now().getTime() + waitMs,
          })
          .where("id", "=", row.id)
          .execute(),
      );
      // It is the same door for all of them.
      return;
    }
  }
}

async function noticeOf(database: Database, finding: Finding): Promise<string> {
  const events = await eventsOfFinding(database.read, finding.id);
  return JSON.stringify({
    FindingId: finding.id,
    AccountId: finding.accountId,
    Region: finding.region,
    RuleId: finding.ruleId,
    Title: finding.title,
    Level: finding.level,
    Subject: finding.subject,
    NextSteps: finding.next,
    FirstEventTime: finding.firstAt.toISOString(),
    LastEventTime: finding.lastAt.toISOString(),
    Events: events.map((event) => ({
      EventId: event.eventId,
      EventName: event.eventName,
      EventTime: new Date(event.atMs).toISOString(),
      Who: event.who,
      SourceIpAddress: event.sourceIp,
    })),
  });
}

async function post(webhook: Webhook, body: string, id: string, signal: AbortSignal): Promise<void> {
  const response = await fetch(webhook.url, {
    method: "POST",
    body,
    redirect: "error",
    headers: {
      "Content-Type": "application/json",
      "X-Ingot-Finding": id,
      ...(webhook.secret === undefined
        ? {}
        : { "X-Ingot-Signature": `sha256=${createHmac("sha256", webhook.secret).update(body).digest("hex")}` }),
    },
    signal: AbortSignal.any([signal, AbortSignal.timeout(TIMEOUT_MS)]),
  });
  await response.body?.cancel();
  if (!response.ok) throw new Error(`the webhook answered ${response.status}`);
}

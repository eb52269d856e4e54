// Detections: what is done with every audit event as it arrives. Looks at the chain's end twice a second (one indexed row),
// judges what is new, says each new finding in the log, and tells the webhook.
import type { Clock } from "../../base/clock.ts";
import { chain } from "../../base/errors.ts";
import type { Log } from "../../base/log.ts";
import type { Database } from "../../database/database.ts";
import { judgeNext, ruleSet } from "./detect.ts";
import { findingOf } from "./findings.ts";
import { sendNotices, type Webhook } from "./notify.ts";
import type { Rule } from "./sigma.ts";
import type { Surroundings } from "./surroundings.ts";

const EVERY_MS = 500;
const RETRY_MS = 5_000;

export interface Detections {
  readonly rules: readonly Rule[];
  /** Judges everything that has ended before the call. @throws Error when the database refuses */
  run(): Promise<void>;
  /** Judges what comes, from here on. */
  start(): void;
  /** Ends after what is under way. */
  stop(): Promise<void>;
}

export interface DetectionsOptions {
  readonly database: Database;
  readonly rules: readonly Rule[];
  readonly surroundings: Surroundings;
  readonly webhook?: Webhook;
  /** Everything that has ended is in the chain once it resolves: the audit trail's `flush`. */
  readonly flush: () => Promise<void>;
  readonly clock: Clock;
  readonly log: Log;
}

export function createDetections(options: DetectionsOptions): Detections {
  const { database, webhook, clock, log } = options;
  const rules = ruleSet(options.rules);
  const ending = new AbortController();
  let judging: Promise<void> = Promise.resolve();
  let telling: Promise<void> | null = null;
  let again = false;
  let timer: NodeJS.Timeout | null = null;

  const judgeAll = async (): Promise<void> => {
    for (;;) {
      const done = await judgeNext({
        database,
        rules,
        surroundings: options.surroundings,
        notice: webhook !== undefined,
        now: () => clock.now(),
      });
      for (const row of done?.raised ?? []) {
        if (row.state === "suppressed") continue;
        const { id: finding, ruleId: rule, accountId, region, level, subject } = findingOf(row);
        log.warn({ finding, rule, level, accountId, region, subject }, `finding: ${row.title}`);
      }
      if (done?.more !== true) return;
    }
  };

  /** One after another. */
  const judgeInTurn = (): Promise<void> => {
    const done = judging.then(judgeAll);
    judging = done.catch(() => {});
    return done;
  };

  /** One after another; what became due meanwhile is told next. */
  const tell = (): void => {
    if (webhook === undefined || ending.signal.aborted) return;
    if (telling !== null) {
      again = true;
      return;
    }
    telling = sendNotices({ database, clock, log, signal: ending.signal }, webhook)
      .catch((error: unknown) => log.error({ error: chain(error) }, "findings could not be told"))
      .finally(() => {
        telling = null;
        if (!again) return;
        again = false;
        tell();
      });
  };

  const schedule = (ms: number): void => {
    if (ending.signal.aborted) return;
    timer = setTimeout(() => {
      judgeInTurn().then(
        () => {
          tell();
          schedule(EVERY_MS);
        },
        (error: unknown) => {
          log.error({ error: chain(error) }, "audit events wait to be judged");
          schedule(RETRY_MS);
        },
      );
    }, ms);
    timer.unref();
  };

  return {
    rules: options.rules,
    async run() {
      await options.flush();
      await judgeInTurn();
      tell();
    },
    start: () => schedule(0),
    async stop() {
      ending.abort(new Error("the server stops"));
      if (timer !== null) clearTimeout(timer);
      await judging;
      await telling;
    },
  };
}

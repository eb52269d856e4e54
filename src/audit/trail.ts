// The audit trail: every call through the door leaves a record, whatever happens to it or to us.
//
//   write   begin: intent in the journal, sync under way ─► it is authorised ─► commit: the sync is awaited ─► the action runs
//           ─► close: outcome in the journal ─► batch into the chain
//   read    begin, commit: nothing ─► the action runs ─► close: record in the journal ─► batch into the chain
//   refused before anybody is proven: `recordRefusal`
//
// The disk works while the call is looked up and authorised: what a write waits for is what then is left of the sync.
//
// An intent whose outcome never came (kill, power cut) becomes a record at the next start, which says so. What cannot be
// journalled refuses the call. Look-ups flush first, so a caller finds its own calls at once.

import type { Clock } from "../base/clock.ts";
import { chain } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import type { Database } from "../database/database.ts";
import { appendEvents, type ChainLink, type ChainReport, pruneEvents, verifyChain } from "./chain.ts";
import { openJournal } from "./journal.ts";
import type { AuditedOperation } from "./json.ts";
import { type EventPage, type EventQuery, findEvents } from "./lookup.ts";
import { mentioned } from "./mentioned.ts";
import {
  type ArrivedCall,
  type Call,
  callOf,
  type Ending,
  eventsOf,
  type RefusedCall,
  type Resource,
  recordedErrorCode,
  refusedCall,
  responseOf,
  type ServiceEvent,
  serviceCall,
} from "./record.ts";

/** A finished call waits this long for others to share a transaction with. */
const GATHER_MS = 20;
/** Calls per transaction: a batch holds the thread for two or three milliseconds. */
const BATCH = 32;
/** When the database has not taken this many, calls are refused: the journal must not grow without end. */
const MOST_WAITING = 20_000;
const RETRY_MS = 1000;
const PRUNE_BATCH = 1000;
const DAY_MS = 24 * 60 * 60 * 1000;
const PRUNE_EVERY_MS = 60 * 60 * 1000;

/** Refused calls without a proven caller cost an attacker nothing: so many a minute are recorded, the rest is counted. */
const REFUSALS_PER_MINUTE = 120;

export interface OpenCall extends ArrivedCall {
  /** What the call names, as far as known before it runs. */
  readonly resources?: readonly Resource[];
  /** Accounts besides the caller's that get the event: the owners of shared images and snapshots that it uses. */
  readonly recipients?: readonly string[];
}

/** A call under way. */
export interface OpenEntry {
  readonly call: Call;
  readonly operation: AuditedOperation;
  readonly resources: readonly Resource[];
  readonly recipients: readonly string[];
}

export type Outcome =
  | {
      readonly kind: "success";
      /** The SDK's typed output. */
      readonly output: object | undefined;
      /** Also those that the call made. Those of the opening need not be repeated. */
      readonly resources?: readonly Resource[];
    }
  | {
      readonly kind: "error";
      /** As the client got it, without EC2's prefix. */
      readonly code: string;
      readonly httpStatus: number;
      readonly message: string;
      readonly resources?: readonly Resource[];
    };

export interface Refusal extends RefusedCall {
  readonly code: string;
  readonly httpStatus: number;
  readonly message: string;
}

export interface AuditTrail {
  /** Opens an entry. For a write, its intent is in the journal and on its way to the disk. @throws when it cannot be kept */
  begin(call: ArrivedCall): OpenEntry;
  /**
   * Says what the call names. Resolves, for a write, when the intent is on the disk: only then may the action run.
   * @throws when it cannot be kept
   */
  commit(entry: OpenEntry, named: Pick<OpenCall, "resources" | "recipients">): Promise<OpenEntry>;
  /** `begin` and `commit`. */
  open(call: OpenCall): Promise<OpenEntry>;
  /**
   * Ends an entry. For a read it must resolve before the answer goes out.
   * @throws Error when the outcome cannot be kept: a read is then to be refused; a write has happened and its record will
   *   say that the outcome is unknown
   */
  close(entry: OpenEntry, outcome: Outcome): Promise<void>;
  /** A call that ended before it was opened: its caller is proven, but what it named or asked was refused. */
  record(call: OpenCall, outcome: Outcome): Promise<void>;
  /** A call that was refused before its caller was proven, or before it was understood. */
  recordRefusal(refusal: Refusal): Promise<void>;
  /** Something that a service tells an account. @throws Error when it cannot be kept */
  recordServiceEvent(event: ServiceEvent, resources: readonly Resource[]): void;
  /** Puts what earlier processes have left in the journal into the chain. Once, before the first call. @returns records made */
  recover(): Promise<number>;
  /** Everything that ended before this is in the database once it resolves. */
  flush(): Promise<void>;
  find(query: EventQuery): Promise<EventPage>;
  verify(known?: ChainLink): Promise<ChainReport>;
  /** Drops events that arrived before `before`, in small transactions. @returns how many */
  prune(before: Date): Promise<number>;
  /** Flushes and closes the journal. */
  stop(): Promise<void>;
}

export interface AuditOptions {
  /** The journal's, of this process alone. Made when absent. */
  readonly directory: string;
  readonly clock: Clock;
  readonly log: Log;
  /** Events older than this are dropped, once an hour. Default: kept for ever. LookupEvents shows 90 days of them. */
  readonly keepDays?: number;
}

/** Lines of the journal. `o`: opened, `a`: what an open one names, `c`: closed, `r`: opened and closed at once. */
type Line =
  | { readonly a: string; readonly resources: readonly Resource[]; readonly recipients: readonly string[] }
  | { readonly o: StoredCall; readonly resources: readonly Resource[]; readonly recipients: readonly string[] }
  | { readonly c: string; readonly ending: Ending }
  | { readonly r: StoredCall; readonly ending: Ending };

/** A call as JSON carries it. */
type StoredCall = Omit<Call, "time"> & { readonly time: string };
const stored = (call: Call): StoredCall => ({ ...call, time: call.time.toISOString() });
const restored = (call: StoredCall): Call => ({ ...call, time: new Date(call.time) });

interface Finished {
  readonly call: Call;
  readonly ending: Ending;
}

export function createAuditTrail(database: Database, options: AuditOptions): AuditTrail {
  const { clock, log } = options;
  const journal = openJournal(options.directory, log);
  const opened = new Map<string, OpenEntry>();
  /** Syncs of intents that are not committed yet. */
  const syncs = new Map<string, Promise<void>>();
  let waiting: Finished[] = [];
  let timer: NodeJS.Timeout | null = null;
  let flushing: Promise<void> | null = null;
  let failing = false;
  const refusals = { minute: 0, recorded: 0, dropped: 0 };

  const append = (line: Line): void => {
    if (waiting.length >= MOST_WAITING) throw new Error("the database takes no audit records: too many are waiting");
    journal.append(line);
  };

  const finish = (call: Call, ending: Ending): void => {
    waiting.push({ call, ending });
    schedule(GATHER_MS);
  };

  const schedule = (ms: number): void => {
    if (timer !== null) return;
    timer = setTimeout(() => {
      timer = null;
      // A failure is logged where it happens and tried again.
      flush().catch(() => {});
    }, ms);
    timer.unref();
  };

  const flush = (): Promise<void> => {
    flushing ??= drain().finally(() => {
      flushing = null;
    });
    return flushing;
  };

  const drain = async (): Promise<void> => {
    while (waiting.length > 0) {
      let count = 0;
      try {
        await database.transaction(async (tx) => {
          // Taken only now: calls that finished while other writers ran come along.
          const batch = waiting.slice(0, BATCH);
          count = batch.length;
          await appendEvents(
            tx,
            batch.flatMap(({ call, ending }) => eventsOf(call, ending)),
            failing,
          );
        });
      } catch (error) {
        failing = true;
        log.error(
          { error: chain(error), waiting: waiting.length },
          "audit records wait: the database did not take them",
        );
        schedule(RETRY_MS);
        throw new Error("put audit records into the database", { cause: error });
      }
      waiting = waiting.slice(count);
      failing = false;
    }
    journal.settled(function* () {
      for (const entry of opened.values()) yield openLine(entry);
    });
  };

  const openLine = (entry: OpenEntry): Line => ({
    o: stored(entry.call),
    resources: entry.resources,
    recipients: entry.recipients,
  });

  const entryOf = (call: ArrivedCall & Partial<Pick<OpenCall, "resources" | "recipients">>): OpenEntry => ({
    call: callOf(call),
    operation: call.operation,
    resources: call.resources ?? [],
    recipients: call.recipients ?? [],
  });

  const trail: AuditTrail = {
    begin(call) {
      const entry = entryOf(call);
      if (call.readOnly) return entry;
      append(openLine(entry));
      opened.set(call.eventId, entry);
      const sync = journal.sync();
      // Whoever commits is told; a call that is refused before does not care.
      sync.catch(() => {});
      syncs.set(call.eventId, sync);
      return entry;
    },

    async commit(begun, { resources = [], recipients = [] }) {
      const entry: OpenEntry = { ...begun, resources, recipients };
      const { eventId } = entry.call;
      const sync = syncs.get(eventId);
      if (sync === undefined) return entry;
      try {
        if (resources.length > 0 || recipients.length > 0) append({ a: eventId, resources, recipients });
        opened.set(eventId, entry);
        await sync;
        // Another account is to hear of it even after a power cut.
        if (recipients.some((id) => id !== entry.call.accountId)) await journal.sync();
      } catch (error) {
        opened.delete(eventId);
        const message = "The call was refused: its audit entry could not be kept.";
        finish(entry.call, endingOf(entry, { kind: "error", code: "ServiceUnavailable", httpStatus: 503, message }));
        throw error;
      } finally {
        syncs.delete(eventId);
      }
      return entry;
    },

    open: async (call) => trail.commit(trail.begin(call), call),

    async close(entry, outcome) {
      const ending = endingOf(entry, outcome);
      // Refused before it was committed.
      syncs.delete(entry.call.eventId);
      if (opened.delete(entry.call.eventId)) {
        // The effect is there: the record goes to the database even if the journal is full.
        finish(entry.call, ending);
        append({ c: entry.call.eventId, ending });
      } else {
        append({ r: stored(entry.call), ending });
        finish(entry.call, ending);
      }
    },

    async record(call, outcome) {
      const entry = entryOf(call);
      const ending = endingOf(entry, outcome);
      append({ r: stored(entry.call), ending });
      finish(entry.call, ending);
    },

    async recordRefusal(refusal) {
      const minute = Math.floor(clock.now().getTime() / 60_000);
      if (minute !== refusals.minute) Object.assign(refusals, { minute, recorded: 0 });
      if (refusal.caller === null && ++refusals.recorded > REFUSALS_PER_MINUTE) {
        refusals.dropped++;
        return;
      }
      const { dropped } = refusals;
      refusals.dropped = 0;
      const call = refusedCall(refusal);
      const ending: Ending = {
        response: null,
        errorCode: recordedErrorCode(refusal.service, refusal.code, refusal.httpStatus),
        errorMessage: refusal.message,
        resources: [],
        recipients: [],
        ...(dropped === 0 ? {} : { additional: { refusalsNotRecorded: dropped } }),
      };
      append({ r: stored(call), ending });
      finish(call, ending);
    },

    recordServiceEvent(event, resources) {
      const call = serviceCall(event);
      const ending: Ending = { response: null, resources, recipients: [] };
      append({ r: stored(call), ending });
      finish(call, ending);
    },

    async recover() {
      const left = finishedOf(journal.left);
      for (let at = 0; at < left.length; at += BATCH) {
        const events = left.slice(at, at + BATCH).flatMap(({ call, ending }) => eventsOf(call, ending));
        await database.transaction((tx) => appendEvents(tx, events, true));
      }
      journal.dropLeft();
      return left.length;
    },

    async flush() {
      // A flush that is running may have taken its last batch already.
      while (waiting.length > 0) await flush();
    },

    async find(query) {
      await trail.flush();
      return findEvents(database.read, query);
    },

    async verify(known) {
      await trail.flush();
      return verifyChain(database.read, known);
    },

    async prune(before) {
      let total = 0;
      for (;;) {
        const count = await database.transaction((tx) => pruneEvents(tx, before, PRUNE_BATCH));
        total += count;
        if (count < PRUNE_BATCH) return total;
      }
    },

    async stop() {
      clearInterval(pruning);
      if (timer !== null) clearTimeout(timer);
      timer = null;
      try {
        await trail.flush();
      } finally {
        await journal.close();
      }
    },
  };
  const { keepDays } = options;
  const pruning =
    keepDays === undefined
      ? undefined
      : setInterval(() => {
          trail.prune(new Date(clock.now().getTime() - keepDays * DAY_MS)).then(
            (count) => log.info({ count, keepDays }, "dropped old audit events"),
            (error: unknown) => log.error({ error: chain(error) }, "could not drop old audit events"),
          );
        }, PRUNE_EVERY_MS).unref();
  return trail;
}

function endingOf(entry: OpenEntry, outcome: Outcome): Ending {
  const { call, operation, recipients } = entry;
  const response = outcome.kind === "success" ? responseOf(call, operation, outcome.output) : null;
  const named = unique([...entry.resources, ...(outcome.resources ?? [])]);
  const made = mentioned(response, "answer", named, call);
  const asked = mentioned(call.parameters, "request", [...named, ...made], call);
  const resources = [...named, ...made, ...asked];
  if (outcome.kind === "success") return { response, resources, recipients };
  return {
    response,
    errorCode: recordedErrorCode(call.service, outcome.code, outcome.httpStatus),
    errorMessage: outcome.message,
    resources,
    recipients,
  };
}

const unique = (resources: readonly Resource[]): Resource[] => [
  ...new Map(resources.map((resource) => [resource.arn, resource])).values(),
];

/** Calls from a journal that nobody closed: those that ended, and those of which nobody knows how they ended. */
function finishedOf(lines: readonly unknown[]): Finished[] {
  const finished: Finished[] = [];
  const intents = new Map<string, Extract<Line, { readonly o: StoredCall }>>();
  // Written by `append` and proven by their checksums.
  for (const line of lines as readonly Line[]) {
    if ("o" in line) intents.set(line.o.eventId, line);
    else if ("a" in line) {
      const intent = intents.get(line.a);
      if (intent !== undefined)
        intents.set(line.a, { ...intent, resources: line.resources, recipients: line.recipients });
    } else if ("r" in line) finished.push({ call: restored(line.r), ending: line.ending });
    else {
      const intent = intents.get(line.c);
      intents.delete(line.c);
      if (intent !== undefined) finished.push({ call: restored(intent.o), ending: line.ending });
    }
  }
  for (const { o, resources, recipients } of intents.values()) {
    finished.push({
      call: restored(o),
      ending: {
        response: null,
        errorCode: recordedErrorCode(o.service, "InternalError", 500),
        errorMessage:
          "The server stopped before the outcome of this call was known. It may have taken effect, in part or in whole.",
        resources,
        recipients,
        additional: { outcome: "unknown" },
      },
    });
  }
  return finished;
}

import type { Detections } from "../audit/detections/detections.ts";
import type { AuditTrail } from "../audit/trail.ts";
import type { TrailDelivery } from "../audit/trail-delivery.ts";
import type { InstanceId, Region } from "../base/ids.ts";
import type { Log } from "../base/log.ts";
import type { Database } from "../database/database.ts";
import type { Identity } from "../identity/identity.ts";
import type { Caller } from "../model/identity/caller.ts";
import type { Objects } from "../objects/objects.ts";
import type { PageTokens } from "../protocol/pages.ts";
import type { SnapshotStore } from "../storage/store.ts";

/** What one request may use. Built by `server/pipeline.ts` once the caller is known. */
export interface RequestContext {
  readonly caller: Caller;
  readonly region: Region;
  readonly requestId: string;
  readonly sourceIp: string;
  readonly userAgent: string;
  readonly database: Database;
  readonly log: Log;
  now(): Date;
  readonly parts: Parts;
}

/** The parts of Ingot that actions reach, as `main.ts` has built them. */
export interface Parts {
  readonly identity: Identity;
  readonly audit: AuditTrail;
  readonly trails: TrailDelivery;
  readonly detections: Detections;
  readonly snapshots: SnapshotStore;
  /** Buckets and their objects; other parts see of it what `model/object-store.ts` says. */
  readonly objects: Objects;
  readonly host: HostControl;
  readonly transfers: TransferControl;
  readonly pages: PageTokens;
}

/** Imports and exports, as far as actions may touch them: rows say what is to be done. */
interface TransferControl {
  /** There are new tasks, or some are to be cancelled. Returns at once, never throws. */
  poke(): void;
}

/** This host's machines, as far as actions may touch them: rows say what should be, the reconciler makes it so. */
export interface HostControl {
  /** Rows have changed: compare them with the machines now. Returns at once, never throws. */
  poke(): void;
  /** The last bytes of the serial console, at most 64 KiB; empty when there was never a machine. */
  readConsole(id: InstanceId): Promise<Buffer>;
  /** PNG of the screen. @throws ApiError `IncorrectInstanceState` unless the machine runs */
  screenshot(id: InstanceId): Promise<Buffer>;
  /** @throws ApiError `InsufficientInstanceCapacity` when `memoryMib` more would not fit this host */
  admit(request: { readonly memoryMib: number; readonly vcpus: number }): Promise<void>;
}

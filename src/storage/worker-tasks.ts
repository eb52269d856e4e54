// What the server's side and a storage worker say to each other.
import { chain, systemCode } from "../base/errors.ts";
import type { BucketLocation } from "../base/external-bucket.ts";
import type { AnySource, CapturePlan } from "./capture-sources.ts";
import { DamageError } from "./format.ts";
import type { KnownBlobsShare } from "./known-blobs.ts";
import type { PackDamage } from "./pack-check.ts";
import type { FinishedPack } from "./pack-writer.ts";
import type { PackLiveness, Root } from "./reachability.ts";
import type { OwnedRoot, OwnerUsage } from "./usage.ts";

export interface WorkerSetup {
  readonly directory: string;
  /** Where the packs are; `null`: in the directory. */
  readonly bucket: BucketLocation | null;
  /** The store's; `null`: plain. */
  readonly key: Uint8Array | null;
}

/** Shared by all workers of one task. */
export interface TaskControl {
  /** [0] next job, [1] 1 = stop. */
  readonly flags: SharedArrayBuffer;
  /** [0] 4 KiB blocks done. */
  readonly progress: SharedArrayBuffer;
}

export interface RootMessage {
  readonly bytes: number;
  readonly digest: string;
  readonly top: string | null;
}

export interface CaptureTask {
  readonly kind: "capture";
  readonly source: AnySource;
  readonly bytes: number;
  readonly plan: CapturePlan;
  readonly base: RootMessage | null;
  /** The jobs: segment numbers, ascending, and the ids of the base's pages (zero: none). */
  readonly segments: Uint32Array;
  readonly basePages: Uint8Array;
  /** Whose content it is, and whose blobs it may rely on besides its own. */
  readonly domain: string | null;
  readonly sharedDomains: readonly string[];
  readonly known: KnownBlobsShare;
  readonly fresh: SharedArrayBuffer;
  readonly control: TaskControl;
}

/** An index segment to put into the table of known blobs, without those entries whose bit is set. */
export interface AddedSegment {
  readonly name: string;
  readonly path: string;
  readonly condemned: Uint8Array | null;
}

export type Task =
  | { readonly kind: "plan"; readonly source: AnySource; readonly bytes: number }
  | CaptureTask
  /** Ends the capture that this worker holds open. `nodes`: the tree's nodes, for one of the workers. */
  | { readonly kind: "finish"; readonly nodes: readonly { readonly id: Uint8Array; readonly bytes: Uint8Array }[] }
  | { readonly kind: "abandon" }
  | { readonly kind: "table"; readonly table: KnownBlobsShare | null; readonly add: readonly AddedSegment[] }
  | { readonly kind: "index"; readonly path: string; readonly packs: readonly { name: string; entries: Uint8Array }[] }
  | {
      readonly kind: "restore";
      readonly root: RootMessage;
      readonly path: string;
      readonly segments: Uint32Array;
      readonly control: TaskControl;
    }
  /** Marks what `roots` reach; the marks stay until `unmark`. The first call fixes the index segments that count. */
  | { readonly kind: "mark"; readonly segments: readonly string[]; readonly roots: readonly Root[] }
  | { readonly kind: "condemn"; readonly gone: readonly string[] }
  /** Copies what is marked in one pack to the open writer; `finish` ends it. */
  | { readonly kind: "rewrite"; readonly pack: string }
  /** Writes one index segment of all that the marked segments name in packs that stay, and of `packs`. */
  | {
      readonly kind: "merge";
      readonly path: string;
      readonly gone: readonly string[];
      readonly packs: readonly { name: string; entries: Uint8Array }[];
    }
  | { readonly kind: "unmark" }
  | {
      readonly kind: "usage";
      readonly segments: readonly string[];
      readonly roots: readonly OwnedRoot[];
    }
  | { readonly kind: "scrub"; readonly pack: string; readonly bytesPerSecond: number; readonly control: TaskControl }
  /** Writes an index segment from the footers of `packs`. */
  | { readonly kind: "rebuild"; readonly path: string; readonly packs: readonly string[] }
  /** Which of `roots` reach any of `blobs` (hex ids). */
  | {
      readonly kind: "affected";
      readonly segments: readonly string[];
      readonly roots: readonly Root[];
      readonly blobs: readonly string[];
    };

export interface CapturedSegments {
  readonly segments: Uint32Array<ArrayBuffer>;
  /** 32 bytes each, zero: all zero. */
  readonly pages: Uint8Array<ArrayBuffer>;
  readonly allocatedBlocks: number[];
}

/** What each kind of task gives. */
export interface TaskResults {
  plan: CapturePlan;
  capture: CapturedSegments;
  finish: { storedBytes: number };
  abandon: null;
  table: KnownBlobsShare;
  index: null;
  restore: null;
  mark: PackLiveness[];
  condemn: { name: string; condemned: Uint8Array }[];
  rewrite: null;
  merge: null;
  unmark: null;
  usage: { owners: Map<number, OwnerUsage>; reachedBytes: number };
  scrub: PackDamage[];
  rebuild: { damaged: { pack: string; reason: string }[]; blobs: number };
  affected: { affected: string[]; faults: { root: string | null; reason: string }[] };
}

export type ToWorker = { readonly id: number; readonly task: Task } | { readonly cancel: true };
export type FromWorker =
  | { readonly kind: "done"; readonly id: number; readonly value: unknown }
  | { readonly kind: "failed"; readonly id: number; readonly error: ErrorMessage }
  | { readonly kind: "pack"; readonly pack: FinishedPack };

export interface ErrorMessage {
  readonly name: string;
  readonly message: string;
  readonly code: string | undefined;
}

export function errorMessage(error: unknown): ErrorMessage {
  let code: string | undefined;
  for (let e: unknown = error; e instanceof Error && code === undefined; e = e.cause) code = systemCode(e);
  return { name: error instanceof Error ? error.name : "Error", message: chain(error), code };
}

export function errorFrom({ name, message, code }: ErrorMessage): Error {
  const error = name === "DamageError" ? new DamageError(message) : new Error(message);
  return code === undefined ? error : Object.assign(error, { code });
}

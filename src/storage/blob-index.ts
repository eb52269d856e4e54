// All index segments of a store together, as a reader sees them: any number of immutable files that come and go.
import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { systemCode } from "../base/errors.ts";
import { type BlobPlace, IndexSegment } from "./index-segment.ts";

export class BlobIndex {
  readonly #directory: string;
  readonly #keepBytes: number;
  readonly #onDamage: (error: unknown) => void;
  /** The segment that answered last comes first: a snapshot's blobs are mostly of one segment. */
  #segments: IndexSegment[] = [];

  /**
   * @param directory  the store's `index/`
   * @param keepBytes  of entries that it may keep in memory: segments that fit are read once (52 bytes per blob)
   * @param onDamage  hears of each segment that can't be used
   */
  constructor(directory: string, keepBytes: number, onDamage: (error: unknown) => void) {
    this.#directory = directory;
    this.#keepBytes = keepBytes;
    this.#onDamage = onDamage;
  }

  get segments(): readonly IndexSegment[] {
    return this.#segments;
  }

  /** Opens segments that appeared, closes those that went; true when any did. Costs a directory listing. */
  refresh(): boolean {
    let names: string[];
    try {
      names = readdirSync(this.#directory).filter((name) => name.endsWith(".index"));
    } catch (error) {
      if (systemCode(error) !== "ENOENT") throw error;
      names = [];
    }
    const wanted = new Set(names.map((name) => name.slice(0, -".index".length)));
    const kept: IndexSegment[] = [];
    for (const segment of this.#segments) {
      if (wanted.delete(segment.name)) kept.push(segment);
      else segment.close();
    }
    let held = kept.reduce((sum, segment) => sum + segment.keptBytes, 0);
    for (const name of wanted) {
      try {
        const path = join(this.#directory, `${name}.index`);
        const bytes = statSync(path).size;
        const keep = held + bytes <= this.#keepBytes;
        kept.unshift(new IndexSegment(name, path, keep));
        if (keep) held += kept[0]!.keptBytes;
      } catch (error) {
        // A collection may remove it between the listing and the opening.
        if (systemCode(error) !== "ENOENT") this.#onDamage(error);
      }
    }
    const changed = kept.length !== this.#segments.length || kept.some((segment) => !this.#segments.includes(segment));
    this.#segments = kept;
    return changed;
  }

  /** Where the blob whose id is at `at` of `id` lies; undefined when no segment knows it. */
  find(id: Buffer, at = 0): BlobPlace | undefined {
    const segments = this.#segments;
    for (let i = 0; i < segments.length; i++) {
      const segment = segments[i]!;
      let entry: number;
      try {
        entry = segment.find(id, at);
      } catch (error) {
        // Another segment may hold it too; if none does, the reader says that it is missing.
        this.#onDamage(error);
        continue;
      }
      if (entry < 0) continue;
      const place = segment.place(entry, id, at);
      if (i > 0) {
        segments.splice(i, 1);
        segments.unshift(segment);
      }
      return place;
    }
    return undefined;
  }

  close(): void {
    for (const segment of this.#segments) segment.close();
    this.#segments = [];
  }
}

// What a fabric should hold: nics and groups, changed by requests that come one by one and made so in rounds.
//
// Requests that come while a round runs are made together in the next: fifty launches at once cost two rounds. The state
// file is written first when something is added and last when something is removed, so that it always lists at least
// what exists, and the next server finds leftovers by comparing.
import type { InstanceId } from "../base/ids.ts";
import type { Nic, SecurityGroupRules } from "../model/nic.ts";
import { readState } from "./fabric-state.ts";

interface Request {
  apply(nics: Map<InstanceId, Nic>): void;
  resolve(): void;
  reject(error: Error): void;
}

export interface DesiredOptions {
  readonly directory: string;
  write(nics: readonly Nic[], groups: readonly SecurityGroupRules[]): void;
  /** Makes it so. Runs alone. */
  make(nics: readonly Nic[], groups: readonly SecurityGroupRules[]): Promise<void>;
}

export class Desired {
  readonly #options: DesiredOptions;
  #nics = new Map<InstanceId, Nic>();
  #groups: readonly SecurityGroupRules[] = [];
  #requests: Request[] = [];
  #work: Promise<unknown> = Promise.resolve();

  /** Begins with what an earlier server left. */
  constructor(options: DesiredOptions) {
    this.#options = options;
    const before = readState(options.directory);
    for (const nic of before?.nics ?? []) this.#nics.set(nic.instanceId, nic);
    this.#groups = before?.groups ?? [];
  }

  get nics(): readonly Nic[] {
    return [...this.#nics.values()];
  }

  get groups(): readonly SecurityGroupRules[] {
    return this.#groups;
  }

  add(nic: Nic): Promise<void> {
    return this.#change((nics) => nics.set(nic.instanceId, nic));
  }

  remove(instanceId: InstanceId): Promise<void> {
    return this.#change((nics) => nics.delete(instanceId));
  }

  setRules(groups: readonly SecurityGroupRules[], changed: readonly Nic[]): Promise<void> {
    return this.#change((nics) => {
      // Only of instances that are here: one that is just being removed must not come back.
      for (const nic of changed) if (nics.has(nic.instanceId)) nics.set(nic.instanceId, nic);
      this.#groups = groups;
    });
  }

  setMetadata(instanceId: InstanceId, metadata: Nic["metadata"]): Promise<void> {
    return this.#change((nics) => {
      const nic = nics.get(instanceId);
      if (nic !== undefined) nics.set(instanceId, { ...nic, metadata });
    });
  }

  sync(wanted: readonly Nic[], groups: readonly SecurityGroupRules[]): Promise<void> {
    return this.#change((nics) => {
      nics.clear();
      for (const nic of wanted) nics.set(nic.instanceId, nic);
      this.#groups = groups;
    });
  }

  /** Runs something between rounds. */
  alone<T>(task: () => Promise<T>): Promise<T> {
    const done = this.#work.then(task);
    this.#work = done.catch(() => {});
    return done;
  }

  #change(apply: Request["apply"]): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#requests.push({ apply, resolve, reject });
      if (this.#requests.length === 1) void this.alone(() => this.#round());
    });
  }

  async #round(): Promise<void> {
    const requests = this.#requests;
    this.#requests = [];
    try {
      const nics = new Map(this.#nics);
      for (const request of requests) request.apply(nics);
      const leaving = this.nics.filter((nic) => !nics.has(nic.instanceId));
      this.#nics = nics;
      this.#options.write([...this.nics, ...leaving], this.#groups);
      await this.#options.make(this.nics, this.#groups);
      if (leaving.length > 0) this.#options.write(this.nics, this.#groups);
      for (const request of requests) request.resolve();
    } catch (error) {
      for (const request of requests) request.reject(new Error("change the network", { cause: error }));
    }
  }
}

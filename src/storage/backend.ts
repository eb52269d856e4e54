// Where a store keeps its write-once objects: a folder, or a bucket. One suite holds for every backend
// (test/support/storage-backend-suite.ts).

export interface StoredObject {
  readonly name: string;
  readonly bytes: number;
}

export interface Backend {
  /**
   * Makes the file at `path` the object `name` and removes the file. Durable when it resolves. Names are never used
   * twice, so nothing is ever replaced.
   */
  publish(path: string, name: string): Promise<void>;
  /** A small object, durable when it resolves. false, and nothing done, when the name is taken: the commit point. */
  create(name: string, bytes: Uint8Array): Promise<boolean>;
  /** null: no such object. */
  read(name: string): Promise<Buffer | null>;
  /** Objects whose name starts with `prefix`, a folder with its slash, in no order. */
  list(prefix: string): AsyncIterable<StoredObject>;
  /** Durable when it resolves. An object that is not there is no error. */
  remove(name: string): Promise<void>;
}

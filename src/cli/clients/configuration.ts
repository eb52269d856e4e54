// The official SDK's clients, a file each. Imported by the commands that call them and nowhere else: a client's module
// takes tens of milliseconds to load, and a bundler leaves out of it what no command names, unless it is imported lazily.
import type { Connection } from "../connection.ts";

export const configuration = ({ endpoint, region, credentials }: Connection) => ({
  endpoint,
  region,
  credentials,
  maxAttempts: 3,
});

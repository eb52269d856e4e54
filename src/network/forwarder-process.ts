// Public addresses' own process: whoever works on the host reaches guests through it, whether a server runs or not, and
// connections outlive the server. What passes does not take the server's time either.
//
// Started as `node forwarder-process.ts DIRECTORY`. It decides nothing and keeps nothing: what it knows is the state file,
// and it may be killed and started again; only the connections that pass through it end with it.
import { join } from "node:path";
import type { Log } from "../base/log.ts";
import { controlServer } from "./control.ts";
import { endWithDirectory } from "./directory-gone.ts";
import { stateReader } from "./fabric-state.ts";
import { Forwarder } from "./forwarder.ts";
import { guestDial } from "./guest-dial.ts";

const directory = process.argv[2];
if (directory === undefined) throw new Error("usage: forwarder-process DIRECTORY");
const state = stateReader(directory);

// Standard error is the log file that the server opened for us.
const say = (level: string) => (fields: object, message: string) =>
  void process.stderr.write(`${JSON.stringify({ time: new Date().toISOString(), level, ...fields, message })}\n`);
const log: Log = { debug() {}, info: say("info"), warn: say("warn"), error: say("error") };

const forwarder = new Forwarder(guestDial(directory), log);
const sync = () => forwarder.sync(state().nics, state().groups);
await sync();
await controlServer(join(directory, "forwarder.sock"), {
  reload: sync,
  dial: () => Promise.reject(new Error("the forwarder dials for clients only")),
});
endWithDirectory(directory, []);

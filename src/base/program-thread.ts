// Starts programs for the server's main thread. A fork stops the thread that asks for it until the child has its program:
// 5 ms in an idle server, 30 in one that grew to 400 MB while ten guests take every processor. Here it stops nobody.
import { parentPort } from "node:worker_threads";
import { programStarter } from "./program-starter.ts";

parentPort?.on(
  "message",
  programStarter((message) => parentPort?.postMessage(message)),
);

// The guest agent's channel, for one thing: filesystems frozen for the instant of a capture.
//
// Few guests run an agent, and one that hangs must not hold up a capture: every step has a short limit, and whoever
// froze thaws, whatever happened in between.
import { createConnection } from "node:net";
import { chain } from "../base/errors.ts";
import type { Log } from "../base/log.ts";

/** QEMU's name for its end of the channel. */
export const AGENT_CHARDEV = "qga";
/** An agent answers a sync within milliseconds. One that hangs keeps its end open all the same: so, soon given up. */
const SYNC_LIMIT_MS = 300;
/** Freezing flushes what the guest holds: 0.13 s for an idle Debian. EC2 gives Windows' VSS 10 s. */
const FREEZE_LIMIT_MS = 10_000;
const THAW_LIMIT_MS = 10_000;
const REPLY_BYTES_MAX = 1 << 20;

/**
 * Runs `action` with the guest's filesystems frozen, if an agent answers; else at once, and `frozen` is false.
 * Thaws in any case.
 */
export async function whileFrozen<T>(
  socketPath: string,
  log: Log,
  action: () => Promise<T>,
): Promise<{ frozen: boolean; result: T }> {
  const agent = await connectAgent(socketPath);
  if (agent === null) return { frozen: false, result: await action() };
  try {
    let frozen = false;
    try {
      await agent.ask("guest-fsfreeze-freeze", FREEZE_LIMIT_MS);
      frozen = true;
    } catch (error) {
      log.warn({ socketPath, error: chain(error) }, "the guest agent did not freeze: the capture is crash-consistent");
    }
    try {
      return { frozen, result: await action() };
    } finally {
      // Also after a freeze that failed or ran out of time: it may have taken hold since.
      await agent.ask("guest-fsfreeze-thaw", THAW_LIMIT_MS).catch((error) => {
        log.error({ socketPath, error: chain(error) }, "the guest agent did not thaw: guest writes may hang");
      });
    }
  } finally {
    agent.close();
  }
}

interface Agent {
  ask(command: string, limitMs: number): Promise<unknown>;
  close(): void;
}

/** `null` when nobody answers in time: no agent, or one that hangs. */
async function connectAgent(path: string): Promise<Agent | null> {
  const socket = createConnection(path);
  let buffered = "";
  let waiting: { accept(message: Record<string, unknown>): void; fail(error: Error): void } | null = null;
  const fail = (error: Error) => {
    waiting?.fail(error);
    socket.destroy();
  };
  socket.on("error", fail);
  socket.on("close", () => fail(new Error("the guest agent's channel closed")));
  socket.setEncoding("latin1");
  socket.on("data", (text: string) => {
    buffered += text;
    if (buffered.length > REPLY_BYTES_MAX) return fail(new Error("the guest agent sent too much"));
    for (let end = buffered.indexOf("\n"); end >= 0; end = buffered.indexOf("\n")) {
      // The reply to a delimited sync begins with 0xff: all before it belongs to an earlier, broken conversation.
      const line = buffered.slice(buffered.lastIndexOf("\xff", end) + 1, end);
      buffered = buffered.slice(end + 1);
      try {
        const message: unknown = JSON.parse(line);
        if (typeof message === "object" && message !== null) waiting?.accept({ ...message });
      } catch {
        // half a line of an earlier conversation
      }
    }
  });

  const converse = (text: string, limitMs: number, isAnswer: (message: Record<string, unknown>) => boolean) =>
    new Promise<unknown>((resolve, reject) => {
      const timer = setTimeout(() => finish(() => reject(new Error(`no answer in ${limitMs} ms`))), limitMs);
      const finish = (settle: () => void) => {
        clearTimeout(timer);
        waiting = null;
        settle();
      };
      waiting = {
        fail: (error) => finish(() => reject(error)),
        accept: (message) => {
          if (isAnswer(message)) finish(() => resolve(message));
        },
      };
      socket.write(Buffer.from(text, "latin1"));
    });

  const token = Math.floor(Math.random() * 2 ** 31);
  const sync = JSON.stringify({ execute: "guest-sync-delimited", arguments: { id: token } });
  try {
    // 0xff makes the agent drop half a command of someone before us; it may answer that with an error, which isn't ours.
    await converse(`\xff${sync}\n`, SYNC_LIMIT_MS, (message) => message.return === token);
  } catch {
    socket.destroy();
    return null;
  }
  return {
    async ask(command, limitMs) {
      const answer = await converse(`${JSON.stringify({ execute: command })}\n`, limitMs, () => true);
      if (typeof answer === "object" && answer !== null && "error" in answer) {
        throw new Error(`${command}: ${JSON.stringify(answer.error)}`);
      }
      return answer;
    },
    close: () => socket.destroy(),
  };
}

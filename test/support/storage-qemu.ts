// Debian's QEMU tools as peers: clients of our NBD server, and servers to our NBD client.
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { connect } from "node:net";
import type { TestContext } from "node:test";
import { promisify } from "node:util";

export const run = promisify(execFile);

/** A block node of qemu-storage-daemon over a qcow2 file, exported over NBD, with QMP to change it while it serves. */
export class QemuStorageDaemon {
  readonly socket: string;
  readonly #child: ChildProcess;
  readonly #qmp: string;

  private constructor(child: ChildProcess, socket: string, qmp: string) {
    this.#child = child;
    this.socket = socket;
    this.#qmp = qmp;
  }

  /** @param blockdevs  `--blockdev` values, in order @param exports  `--export` values */
  static async start(
    t: TestContext,
    directory: string,
    blockdevs: object[],
    exports: object[],
  ): Promise<QemuStorageDaemon> {
    const socket = `${directory}/qsd-nbd.sock`;
    const qmp = `${directory}/qsd-qmp.sock`;
    const child = spawn(
      "qemu-storage-daemon",
      [
        ...blockdevs.flatMap((blockdev) => ["--blockdev", JSON.stringify(blockdev)]),
        "--nbd-server",
        `addr.type=unix,addr.path=${socket}`,
        ...exports.flatMap((one) => ["--export", JSON.stringify(one)]),
        "--chardev",
        `socket,id=qmp,path=${qmp},server=on,wait=off`,
        "--monitor",
        "chardev=qmp",
        "--pidfile",
        `${directory}/qsd.pid`,
      ],
      { stdio: ["ignore", "inherit", "inherit"] },
    );
    const daemon = new QemuStorageDaemon(child, socket, qmp);
    t.after(() => daemon.stop());
    // The pid file is written when everything is up; the QMP socket answers then.
    for (;;) {
      try {
        await daemon.qmp([]);
        return daemon;
      } catch {
        if (child.exitCode !== null) throw new Error("qemu-storage-daemon ended at once");
        await new Promise((resume) => setTimeout(resume, 20));
      }
    }
  }

  /** Runs QMP commands and gives their answers. @throws Error with QEMU's words */
  async qmp(commands: readonly { execute: string; arguments?: object }[]): Promise<unknown[]> {
    const socket = connect(this.#qmp);
    const answers: unknown[] = [];
    let text = "";
    const lines: string[] = [];
    let wake = (): void => {};
    socket.on("data", (chunk) => {
      text += chunk.toString();
      const parts = text.split("\n");
      text = parts.pop()!;
      lines.push(...parts.filter((line) => line.trim() !== ""));
      wake();
    });
    const failed = once(socket, "error").then(([error]) => {
      throw error;
    });
    failed.catch(() => {});
    const next = async (): Promise<Record<string, unknown>> => {
      for (;;) {
        const line = lines.shift();
        if (line === undefined) {
          await Promise.race([
            failed,
            new Promise<void>((resolve) => {
              wake = resolve;
            }),
          ]);
          continue;
        }
        const message = JSON.parse(line) as Record<string, unknown>;
        if (!("event" in message)) return message;
      }
    };
    try {
      await next();
      for (const command of [{ execute: "qmp_capabilities" }, ...commands]) {
        socket.write(`${JSON.stringify(command)}\n`);
        const answer = await next();
        if (answer.error !== undefined) throw new Error(JSON.stringify(answer.error));
        answers.push(answer.return);
      }
    } finally {
      socket.destroy();
    }
    return answers.slice(1);
  }

  async stop(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const exited = once(this.#child, "exit");
    this.#child.kill("SIGTERM");
    await exited;
  }
}

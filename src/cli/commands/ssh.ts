// ingot ssh INSTANCE [COMMAND…]

import { spawn } from "node:child_process";
import { mkdir } from "node:fs/promises";
import { constants } from "node:os";
import { dirname } from "node:path";
import { systemCode } from "../../base/errors.ts";
import { ec2Client } from "../clients/ec2.ts";
import { CliError } from "../failure.ts";
import { findInstance } from "../instances.ts";
import { knownHostsFile } from "../keys.ts";
import { type CommonOptions, openSession } from "../session.ts";
import { sshArgv, waitForSsh } from "../ssh-access.ts";

/** An instance that has just been launched is still booting. */
const BOOT_LIMIT_MS = 180_000;
const QUIET_MS = 2_000;

export interface SshOptions extends CommonOptions {
  readonly user: string;
  readonly identity?: string;
}

/** Ends with the exit code of `ssh`, which is the command's. */
export async function ssh(word: string, command: readonly string[], options: SshOptions): Promise<void> {
  const { connection, output } = openSession(options);
  const ec2 = ec2Client(connection);
  const instance = await findInstance(ec2, word);
  // Whoever waits at a silent prompt wonders what for.
  const note = setTimeout(() => output.note(`Waiting for SSH on ${instance.InstanceId} …`), QUIET_MS);
  const target = await waitForSsh(instance, BOOT_LIMIT_MS).finally(() => clearTimeout(note));
  await mkdir(dirname(knownHostsFile(connection)), { recursive: true, mode: 0o700 });
  const argv = await sshArgv(connection, instance, target, options);
  const words = command[0] === "--" ? command.slice(1) : command;
  const child = spawn("ssh", [...argv, ...(words.length > 0 ? ["--", ...words] : [])], { stdio: "inherit" });
  // A terminal sends Ctrl-C to ssh as well; ours is to wait for how ssh takes it.
  process.on("SIGINT", () => {});
  process.on("SIGTERM", () => child.kill("SIGTERM"));
  process.exitCode = await new Promise<number>((resolve, reject) => {
    child.once("error", (cause) => {
      const missing = systemCode(cause) === "ENOENT";
      reject(new CliError(missing ? "there is no ssh program: install openssh-client" : "run ssh", { cause }));
    });
    child.once("exit", (code, signal) => resolve(code ?? 128 + (signal === null ? 0 : constants.signals[signal])));
  });
}

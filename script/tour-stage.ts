// What the tour happens on: a server of its own in a directory of its own, and the commands that a person would type, each
// printed, run for real, and held to what it must give.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import type { Instance } from "@aws-sdk/client-ec2";
import { waitForSsh } from "../src/cli/ssh-access.ts";
import { type FoundProcess, isRunning, killAll, processesOf } from "../test/support/processes.ts";

const ROOT = dirname(import.meta.dirname);
/** A boot under emulation, beside four others, on a machine with other things to do. */
const BOOT_LIMIT_MS = 240_000;
const COMMAND_LIMIT_MS = 300_000;

export interface Keys {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
}

export interface Ran {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export class Stage {
  /** Short: unix sockets lie below it. */
  readonly directory = mkdtempSync(join(tmpdir(), "tour-"));
  readonly dataDirectory = join(this.directory, "data");
  readonly keyFile = join(this.directory, "tour.pem");
  readonly #started = performance.now();
  #environment: NodeJS.ProcessEnv;
  #port = "0";
  #serverPid = 0;
  #claims = 0;

  constructor() {
    const { AWS_PROFILE: _, AWS_SESSION_TOKEN: __, AWS_REGION: ___, INGOT_DATA: ____, ...environment } = process.env;
    mkdirSync(join(this.directory, "aws"));
    this.#environment = {
      ...environment,
      // Nothing of the person whose machine this is.
      AWS_CONFIG_FILE: join(this.directory, "aws", "config"),
      AWS_SHARED_CREDENTIALS_FILE: join(this.directory, "aws", "credentials"),
      AWS_EC2_METADATA_DISABLED: "true",
      AWS_PAGER: "",
      AWS_DEFAULT_OUTPUT: "json",
    };
  }

  get claims(): number {
    return this.#claims;
  }
  get serverPid(): number {
    return this.#serverPid;
  }

  say(line: string): void {
    process.stdout.write(`${line}\n`);
  }

  async step(number: number, title: string, work: () => Promise<void>): Promise<void> {
    const started = performance.now();
    this.say(`\n${number}. ${title}`);
    await work();
    this.say(`   — ${seconds(performance.now() - started)}, ${seconds(performance.now() - this.#started)} in all`);
  }

  /** Something that must be so; it is said only when it is. */
  claim(text: string, holds: boolean, found?: unknown): void {
    assert.ok(holds, `${text}: it is not so${found === undefined ? "" : `, but ${JSON.stringify(found)}`}`);
    this.#claims++;
    this.say(`   ✓ ${text}`);
  }

  /** `ingot serve`, in the background; its URL. */
  async serve(...words: readonly string[]): Promise<string> {
    const argv = ["serve", "--data", this.dataDirectory, "--port", this.#port, ...words];
    this.#typed("./ingot", [...argv, "&"]);
    const started = performance.now();
    const child = spawn(join(ROOT, "ingot"), argv, { stdio: ["ignore", "pipe", "pipe"], env: this.#environment });
    let said = "";
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding("utf8");
      stream.on("data", (text: string) => {
        said += text;
      });
    }
    for (;;) {
      const url = /^Ingot is ready: (\S+)$/m.exec(said)?.[1];
      if (url !== undefined) {
        this.#serverPid = child.pid ?? 0;
        this.#port = new URL(url).port;
        this.say(`   Ingot is ready: ${url} (${seconds(performance.now() - started)})`);
        return url;
      }
      if (child.exitCode !== null || child.signalCode !== null) throw new Error(`the server ended: ${said.trim()}`);
      await delay(10);
    }
  }

  /** Puts `export NAME=VALUE` lines to use, as `eval` does. */
  evaluate(lines: string): void {
    for (const [, name = "", value = ""] of lines.matchAll(/^export (\w+)=(\S+)$/gm)) this.#environment[name] = value;
  }

  /** A profile of the AWS CLI, as `aws configure` would write it. */
  profile(name: string, { accessKeyId, secretAccessKey }: Keys): void {
    const file = join(this.directory, "aws", "credentials");
    const text = `[${name}]\naws_access_key_id = ${accessKeyId}\naws_secret_access_key = ${secretAccessKey}\n`;
    writeFileSync(file, text, { flag: "a", mode: 0o600 });
  }

  /** `./ingot …` on this stage's data directory. Gives its standard output. */
  async ingot(...words: readonly string[]): Promise<string> {
    this.#typed("./ingot", words);
    return succeeded(await this.#run(join(ROOT, "ingot"), words, { INGOT_DATA: this.dataDirectory }));
  }

  /** `aws …`, its JSON. */
  async aws<T = Record<string, never>>(...words: readonly string[]): Promise<T> {
    this.#typed("aws", words);
    const text = succeeded(await this.#run("aws", words));
    return (text.trim() === "" ? {} : JSON.parse(text)) as T;
  }

  /** `aws …` that must be refused with this code. */
  async awsRefused(code: string, ...words: readonly string[]): Promise<void> {
    this.#typed("aws", words);
    const { stdout, stderr } = await this.#run("aws", words);
    const message = /\((\w[\w.]*)\)[^:]*: *([^\n]*)/.exec(stderr);
    this.claim(`refused: ${code}`, message?.[1] === code, stderr.trim() || stdout);
  }

  /** Starts `aws …` and lets it be. */
  awsInBackground(...words: readonly string[]): void {
    this.#typed("aws", [...words, "&"]);
    // The server that it talks to is about to be killed: whether it succeeds is not asked.
    void this.#run("aws", words).catch(() => {});
  }

  /** For a client of the SDK: as `eval "$(ingot env)"` has set it. */
  clientConfiguration() {
    const { AWS_ENDPOINT_URL = "", AWS_ACCESS_KEY_ID = "", AWS_SECRET_ACCESS_KEY = "" } = this.#environment;
    const credentials = { accessKeyId: AWS_ACCESS_KEY_ID, secretAccessKey: AWS_SECRET_ACCESS_KEY };
    return { endpoint: AWS_ENDPOINT_URL, region: this.#environment.AWS_DEFAULT_REGION ?? "us-east-1", credentials };
  }

  keepKey(pem: string): void {
    writeFileSync(this.keyFile, `${pem.trimEnd()}\n`);
    chmodSync(this.keyFile, 0o600);
  }

  /** What a command on a guest prints. Waits for the guest's SSH server. */
  async ssh(instance: Instance, command: string): Promise<string> {
    return succeeded(await this.trySsh(instance, command)).trim();
  }

  async trySsh(instance: Instance, command: string): Promise<Ran> {
    const { address, port } = await waitForSsh(instance, BOOT_LIMIT_MS);
    const shown = port === 22 ? [] : ["-p", String(port)];
    this.#typed("ssh", ["-i", "tour.pem", ...shown, `ec2-user@${address}`, command]);
    const options = [
      ...["-o", `UserKnownHostsFile=${join(this.directory, "known_hosts")}`, "-o", "GlobalKnownHostsFile=/dev/null"],
      ...["-o", `HostKeyAlias=${instance.InstanceId}`, "-o", "StrictHostKeyChecking=accept-new"],
      ...["-o", "LogLevel=ERROR", "-o", "BatchMode=yes", "-o", "ConnectTimeout=30"],
    ];
    return this.#run("ssh", [
      "-F",
      "none",
      "-i",
      this.keyFile,
      ...options,
      "-p",
      String(port),
      "-l",
      "ec2-user",
      address,
      command,
    ]);
  }

  killServer(): void {
    this.#typed("kill", ["-9", String(this.#serverPid)]);
    process.kill(this.#serverPid, "SIGKILL");
  }

  processes(): FoundProcess[] {
    return processesOf(this.dataDirectory);
  }

  /** Ends and removes all that there is; gives what should not have been there any more. */
  async clear(): Promise<string[]> {
    const left = this.processes().map(({ pid, command }) => `process ${pid}: ${command}`);
    const mounts = readFileSync("/proc/self/mounts", "utf8").split("\n");
    left.push(...mounts.filter((line) => line.includes(this.directory)).map((line) => `mount ${line}`));
    await killAll(this.processes());
    rmSync(this.directory, { recursive: true, force: true });
    return left;
  }

  async serverEnded(): Promise<void> {
    while (isRunning(this.#serverPid)) await delay(10);
  }

  #typed(program: string, words: readonly string[]): void {
    const line = [program, ...words.map(shellWord)].join(" ").replaceAll(this.directory, "…");
    this.say(`   $ ${line}`);
  }

  #run(program: string, argv: readonly string[], more: NodeJS.ProcessEnv = {}): Promise<Ran> {
    const child = spawn(program, argv, {
      stdio: ["ignore", "pipe", "pipe"],
      env: { ...this.#environment, ...more },
      timeout: COMMAND_LIMIT_MS,
      killSignal: "SIGKILL",
    });
    let stdout = "";
    let stderr = "";
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      stdout += text;
    });
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      stderr += text;
    });
    return new Promise((resolve, reject) => {
      child.once("error", (cause) => reject(new Error(`run ${program}`, { cause })));
      child.once("close", (code, signal) =>
        resolve({ code: code ?? -1, stdout, stderr: signal ? `${signal} ${stderr}` : stderr }),
      );
    });
  }
}

function succeeded({ code, stdout, stderr }: Ran): string {
  if (code !== 0) throw new Error(`it failed (${code}): ${stderr.trim() || stdout.trim()}`);
  return stdout;
}

export const seconds = (ms: number): string => `${(ms / 1000).toFixed(1)} s`;

const shellWord = (word: string): string =>
  word === "&" || /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;

// A real server in a process of its own, on a data directory of its own and a free port, with the official SDK's
// clients for it: the way in for every test of the whole.
//
//   test("DescribeImages: …", async (t) => {
//     const { ec2 } = await startPlatform(t);                        // an empty catalogue: starts in a second
//     const { ec2, ebs } = await startPlatform(t, { image: true });  // with the public image ingot/tiny
//
// With `image`, the data directory is a copy of one that is made once for the sources as they are (some ten seconds) and
// kept under .cache/; all such platforms have the same account and keys.
//
// At the test's end everything that belongs to the data directory is ended and removed. The test fails when the server
// does not end when asked, or when a machine ran on for an instance that is stopped or terminated.
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { cpSync, existsSync, globSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { CloudTrailClient } from "@aws-sdk/client-cloudtrail";
import { EBSClient } from "@aws-sdk/client-ebs";
import { DescribeInstancesCommand, EC2Client } from "@aws-sdk/client-ec2";
import { IAMClient } from "@aws-sdk/client-iam";
import { SSMClient } from "@aws-sdk/client-ssm";
import { STSClient } from "@aws-sdk/client-sts";
import { systemClock } from "../../src/base/clock.ts";
import { openDatabase } from "../../src/database/database.ts";
import { createAccount } from "../../src/identity/bootstrap.ts";
import { loadMasterKey } from "../../src/identity/master-key.ts";
import type { StoredCredentials } from "../../src/server/data-directory.ts";
import { isRunning, killAll, processesOf } from "./processes.ts";

const REPOSITORY = dirname(dirname(import.meta.dirname));
/** Starting may have to wait for a machine that boots guests beside it. */
const READY_MS = 400_000;
const END_MS = 30_000;

/** The first account of every platform that does not ask for another. */
export const ACCOUNT = "111122223333";

export interface Keys {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly sessionToken?: string;
}

export interface PlatformOptions {
  /** With the public image `ingot/tiny` in the catalogue; "built": the server makes it by itself, at its start. */
  readonly image?: boolean | "built";
  /** The first account's 12 digits; not together with `image`. */
  readonly account?: string;
  readonly region?: string;
  /** More words for `ingot serve`. */
  readonly args?: readonly string[];
  readonly environment?: NodeJS.ProcessEnv;
  /** Where its data directory is made; the system's temporary directory if absent. */
  readonly directory?: string;
}

interface ClientConfig {
  readonly endpoint: string;
  readonly region: string;
  readonly credentials: Keys;
  readonly maxAttempts: number;
}

export interface Platform {
  readonly url: string;
  readonly port: number;
  readonly region: string;
  readonly dataDirectory: string;
  readonly accountId: string;
  /** Of the first account's administrator. */
  readonly credentials: Keys;
  /** Of the first account's root user. */
  readonly rootCredentials: Keys;
  /** The server's process. */
  readonly pid: number;
  readonly ec2: EC2Client;
  readonly iam: IAMClient;
  readonly sts: STSClient;
  readonly ebs: EBSClient;
  readonly ssm: SSMClient;
  readonly cloudtrail: CloudTrailClient;
  /** A client that tries once; by default as the administrator, in the platform's Region. Destroyed at the end. */
  client<C extends { destroy(): void }>(
    Client: new (config: ClientConfig) => C,
    credentials?: Keys,
    region?: string,
  ): C;
  /** One more account. */
  createAccount(name?: string): Promise<{ readonly accountId: string; readonly credentials: Keys }>;
  /** What `ingot env` prints, as an environment: for the AWS CLI. */
  environment(credentials?: Keys): NodeJS.ProcessEnv;
  /** What the server has written to its output since its latest start. */
  output(): string;
  /** Ends the server as Ctrl-C would; guests go on. Fails unless it ends by itself. */
  stopServer(): Promise<void>;
  /** Kills the server where it stands; guests go on. */
  kill9(): Promise<void>;
  /** Starts it again on the same port after `stopServer` or `kill9`. */
  startServer(): Promise<void>;
  /** `stopServer`, then `startServer`. */
  restart(): Promise<void>;
  /** Ends everything and removes the data directory; done at the test's end anyway. */
  stop(): Promise<void>;
}

/** @param t  a test, or `{ after }` of node:test for a whole file */
export async function startPlatform(
  t: { after(fn: () => unknown): void },
  options: PlatformOptions = {},
): Promise<Platform> {
  // Short: the paths of unix sockets below it may have 107 bytes.
  const scratch = mkdtempSync(join(options.directory ?? tmpdir(), "ingot-"));
  const dataDirectory = join(scratch, "data");
  const removeAll = async () => {
    await killAll(processesOf(dataDirectory));
    const left = processesOf(dataDirectory);
    rmSync(scratch, { recursive: true, force: true });
    assert.deepEqual(left, [], "processes that nobody ended");
  };
  let end = removeAll;
  t.after(() => end());
  if (options.image === true) {
    assert.equal(options.account, undefined, "a platform with an image has the account of all of them");
    cpSync(await templateWithImage(), dataDirectory, { recursive: true });
  }
  const region = options.region ?? "us-east-1";
  const words = ["--account", options.account ?? ACCOUNT, ...(options.image ? [] : ["--no-image"])];
  let server = await startProcess(dataDirectory, 0, [...words, ...(options.args ?? [])], options.environment);
  const stored = JSON.parse(readFileSync(join(dataDirectory, "credentials.json"), "utf8")) as StoredCredentials;
  const { url } = server;
  const port = Number(new URL(url).port);
  const credentials: Keys = keysOf(stored.administrator);
  const clients: { destroy(): void }[] = [];
  const client: Platform["client"] = (Client, keys = credentials, clientRegion = region) => {
    const made = new Client({ endpoint: url, region: clientRegion, credentials: keys, maxAttempts: 1 });
    clients.push(made);
    return made;
  };
  let stopped = false;

  const platform: Platform = {
    url,
    port,
    region,
    dataDirectory,
    accountId: stored.accountId,
    credentials,
    rootCredentials: keysOf(stored.root),
    get pid() {
      return server.pid;
    },
    ec2: client(EC2Client),
    iam: client(IAMClient),
    sts: client(STSClient),
    ebs: client(EBSClient),
    ssm: client(SSMClient),
    cloudtrail: client(CloudTrailClient),
    client,
    async createAccount(name = "Another account") {
      const database = await openDatabase({ engine: "sqlite", path: join(dataDirectory, "ingot.sqlite") });
      try {
        const made = await createAccount(
          { database, masterKey: await loadMasterKey(join(dataDirectory, "master.key")), now: systemClock.now() },
          { name, email: "another@localhost" },
        );
        return { accountId: made.id, credentials: keysOf(made.administrator) };
      } finally {
        await database.close();
      }
    },
    environment(keys = credentials) {
      const { AWS_PROFILE: _, AWS_SESSION_TOKEN: __, ...environment } = process.env;
      return {
        ...environment,
        AWS_ENDPOINT_URL: url,
        AWS_ACCESS_KEY_ID: keys.accessKeyId,
        AWS_SECRET_ACCESS_KEY: keys.secretAccessKey,
        ...(keys.sessionToken === undefined ? {} : { AWS_SESSION_TOKEN: keys.sessionToken }),
        AWS_DEFAULT_REGION: region,
        // A client in a test must not look for anything in this machine's own home or network.
        AWS_CONFIG_FILE: join(scratch, "aws-config"),
        AWS_SHARED_CREDENTIALS_FILE: join(scratch, "aws-credentials"),
        AWS_EC2_METADATA_DISABLED: "true",
        AWS_PAGER: "",
        AWS_MAX_ATTEMPTS: "1",
      };
    },
    output: () => server.output(),
    async stopServer() {
      await server.end();
    },
    async kill9() {
      server.child.kill("SIGKILL");
      await server.exited;
    },
    async startServer() {
      server = await startProcess(dataDirectory, port, [...words, ...(options.args ?? [])], options.environment);
    },
    async restart() {
      await platform.stopServer();
      await platform.startServer();
    },
    async stop() {
      if (stopped) return;
      stopped = true;
      try {
        if (isRunning(server.pid)) {
          await noMachineRunsOn(platform);
          await server.end();
        }
      } finally {
        for (const each of clients) each.destroy();
        await removeAll();
      }
    },
  };
  end = () => platform.stop();
  return platform;
}

const keysOf = ({ accessKeyId, secretAccessKey }: Keys): Keys => ({ accessKeyId, secretAccessKey });

interface ServerProcess {
  readonly child: ChildProcess;
  readonly pid: number;
  readonly url: string;
  readonly exited: Promise<unknown>;
  output(): string;
  end(): Promise<void>;
}

/** Starts `ingot serve` from the sources. @throws Error with the server's own words when it ends instead */
async function startProcess(
  dataDirectory: string,
  port: number,
  words: readonly string[],
  environment: NodeJS.ProcessEnv = {},
): Promise<ServerProcess> {
  const argv = ["--disable-warning=ExperimentalWarning", join(REPOSITORY, "src", "main.ts")];
  const child = spawn(process.execPath, [...argv, "--data", dataDirectory, "--port", String(port), ...words], {
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, ...environment },
  });
  let said = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8");
    stream.on("data", (text: string) => {
      said += text;
    });
  }
  const exited = once(child, "exit");
  const ready = async () => {
    const giveUpAt = performance.now() + READY_MS;
    for (;;) {
      const url = /^Ingot is ready: (\S+)$/m.exec(said)?.[1];
      if (url !== undefined) return url;
      if (child.exitCode !== null || child.signalCode !== null) throw new Error(`the server ended: ${said.trim()}`);
      if (performance.now() > giveUpAt) {
        child.kill("SIGKILL");
        throw new Error(`the server is not ready after ${READY_MS / 1000} s: ${said.trim()}`);
      }
      await delay(20);
    }
  };
  const url = await ready();
  return {
    child,
    pid: child.pid ?? 0,
    url,
    exited,
    output: () => said,
    async end() {
      child.kill("SIGTERM");
      const timer = setTimeout(() => child.kill("SIGKILL"), END_MS);
      await exited;
      clearTimeout(timer);
      assert.deepEqual([child.exitCode, child.signalCode], [0, null], `the server did not end by itself: ${said}`);
    },
  };
}

/** Waits until every QEMU belongs to an instance that may have one. Instances of other accounts are not looked at. */
async function noMachineRunsOn(platform: Platform): Promise<void> {
  const machines = () =>
    processesOf(platform.dataDirectory).flatMap(({ command }) => {
      const id = /\/machines\/(i-[0-9a-f]{17})\//.exec(command)?.[1];
      return id !== undefined && /^\S*qemu-system/.test(command) ? [id] : [];
    });
  const giveUpAt = performance.now() + END_MS;
  while (machines().length > 0) {
    const { Reservations = [] } = await platform.ec2.send(new DescribeInstancesCommand({}));
    const over = Reservations.flatMap(({ Instances = [] }) => Instances)
      .filter(({ State }) => State?.Name === "stopped" || State?.Name === "terminated")
      .map(({ InstanceId = "" }) => InstanceId);
    const leaked = machines().filter((id) => over.includes(id));
    if (leaked.length === 0) return;
    if (performance.now() > giveUpAt) assert.fail(`machines run on for instances that are over: ${leaked.join(", ")}`);
    await delay(200);
  }
}

/** A data directory after a first start, for the sources as they are. Made by whoever comes first, for all. */
async function templateWithImage(): Promise<string> {
  const hash = createHash("sha256");
  const sources = [...globSync("src/**/*.ts", { cwd: REPOSITORY }), ...globSync("images/**", { cwd: REPOSITORY })];
  for (const name of sources.sort()) {
    if (name.endsWith(".test.ts") || name.startsWith("src/cli/") || !/\.\w+$|images/.test(name)) continue;
    hash.update(name);
    try {
      hash.update(readFileSync(join(REPOSITORY, name)));
    } catch {
      // A folder, or a link that only leads somewhere in a guest.
    }
  }
  const directory = join(REPOSITORY, ".cache", `platform-${hash.digest("hex").slice(0, 16)}`);
  if (existsSync(directory)) return directory;
  // Names of sockets must stay short, and a killed run must not leave half a template: made elsewhere, then renamed.
  mkdirSync(join(REPOSITORY, ".cache"), { recursive: true });
  const scratch = mkdtempSync(join(tmpdir(), "ingot-"));
  try {
    const data = join(scratch, "data");
    const server = await startProcess(data, 0, ["--account", ACCOUNT]);
    await server.end();
    await killAll(processesOf(data));
    for (const name of ["network", "machines", "captures", "server.lock"]) {
      rmSync(join(data, name), { recursive: true, force: true });
    }
    for (const socket of globSync(["**/*.sock", "metadata/socket"], { cwd: data })) rmSync(join(data, socket));
    const made = `${directory}.${process.pid}`;
    cpSync(data, made, { recursive: true });
    try {
      renameSync(made, directory);
    } catch {
      // Another test was quicker.
      rmSync(made, { recursive: true, force: true });
    }
    for (const older of globSync("platform-*", { cwd: dirname(directory) })) {
      if (older !== basename(directory) && !/\.\d+$/.test(older)) {
        rmSync(join(dirname(directory), older), { recursive: true, force: true });
      }
    }
    return directory;
  } finally {
    await killAll(processesOf(scratch));
    rmSync(scratch, { recursive: true, force: true });
  }
}

// A disk booted by QEMU alone, without Ingot: what an image does must not depend on who launches it.
//
// The guest is on QEMU's user network with 169.254.0.0/16 as its subnet, so that 169.254.169.254 can be one of its
// addresses: connections to it go to a metadata service of the test's own.
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { copyFile, mkdtemp, readFile, rm } from "node:fs/promises";
import { createServer, type IncomingMessage, type Server } from "node:http";
import { type AddressInfo, connect, createServer as createTcpServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { promisify } from "node:util";
import { Client } from "ssh2";

export interface BareMachineOptions {
  readonly disk: string;
  readonly firmware: "bios" | "uefi";
  /** Paths below /latest and their content. */
  readonly metadata: ReadonlyMap<string, string | Buffer>;
  readonly memoryMib?: number;
  /** In the place of firmware and boot loader. */
  readonly kernel?: { readonly path: string; readonly commandLine: string; readonly initrdPath?: string | undefined };
  /** Where the root disk hangs; NVMe if absent. */
  readonly rootModel?: "nvme" | "virtio-blk-pci";
  /** Boot a copy, so that the disk stays as it is. */
  readonly snapshot?: boolean;
  readonly extraArguments?: readonly string[];
}

export interface BareMachine {
  /** What the guest wrote to its serial console so far. */
  console(): Promise<string>;
  /** Waits until the console shows this. @throws Error when the machine ends before */
  consoleShows(pattern: RegExp): Promise<void>;
  /** Waits until the guest answers SSH with this key, runs a command there, gives what it printed and its exit code. */
  ssh(command: string, login: { user: string; privateKey: string }): Promise<{ code: number; output: string }>;
  /** The server's host key as the next connection sees it, in base64. */
  hostKey(login: { user: string; privateKey: string }): Promise<string>;
  /** Sends one QMP command. */
  qmp(command: string, args?: object): Promise<unknown>;
  /** Requests to the metadata service so far: `PUT /latest/api/token`. */
  readonly requests: readonly string[];
  /** When QEMU ends by itself (a guest that powers off). */
  readonly ended: Promise<void>;
  stop(): Promise<void>;
}

const MACHINE_UUID = "ec2d1c52-3e0b-4d0e-8f3a-5a1f0f7b1a00";

export async function bootBare(t: TestContext, options: BareMachineOptions): Promise<BareMachine> {
  const directory = await mkdtemp(join(tmpdir(), "ingot-bare-"));
  const requests: string[] = [];
  const disk = options.snapshot === true ? join(directory, "disk") : options.disk;
  if (options.snapshot === true) await promisify(execFile)("cp", ["--sparse=always", options.disk, disk]);
  const imds = await serveMetadata(options.metadata, requests);
  const imdsPort = (imds.address() as AddressInfo).port;
  const sshPort = await freePort();
  const log = join(directory, "console.log");
  const qmpSocket = join(directory, "qmp");

  const argv = ["-nodefaults", "-no-user-config", "-display", "none", "-machine", "q35", "-accel", "tcg,thread=multi"];
  argv.push("-m", `${options.memoryMib ?? 256}`, "-smp", "1,maxcpus=2", "-no-reboot", "-device", "pvpanic-pci");
  argv.push(
    "-chardev",
    `file,id=con,path=${log}`,
    "-serial",
    "chardev:con",
    "-qmp",
    `unix:${qmpSocket},server=on,wait=off`,
  );
  // By this, cloud-init knows EC2 and asks for a token first.
  argv.push("-uuid", MACHINE_UUID, "-smbios", `type=1,serial=${MACHINE_UUID},manufacturer=Amazon EC2`);
  if (options.firmware === "uefi") {
    const variables = join(directory, "vars.fd");
    await copyFile("/usr/share/OVMF/OVMF_VARS_4M.fd", variables);
    argv.push("-drive", "if=pflash,unit=0,format=raw,readonly=on,file=/usr/share/OVMF/OVMF_CODE_4M.fd");
    argv.push("-drive", `if=pflash,unit=1,format=raw,file=${variables}`);
  }
  if (options.kernel !== undefined) {
    const { path, commandLine, initrdPath } = options.kernel;
    argv.push("-kernel", path, "-append", commandLine, ...(initrdPath === undefined ? [] : ["-initrd", initrdPath]));
  }
  argv.push("-blockdev", JSON.stringify({ driver: "file", "node-name": "f", filename: disk, discard: "unmap" }));
  argv.push("-device", "pcie-root-port,id=hot,chassis=1");
  argv.push("-blockdev", JSON.stringify({ driver: "raw", "node-name": "root", file: "f", discard: "unmap" }));
  argv.push("-device", `${options.rootModel ?? "nvme"},drive=root,serial=vol0123456789abcdef0,bootindex=1`);
  // Ends when the service does: a connection that stays open would keep the guest waiting.
  const relay = `exec 3<>/dev/tcp/127.0.0.1/${imdsPort}; cat <&0 >&3 & cat <&3; kill $!`;
  const forward = `guestfwd=tcp:169.254.169.254:80-cmd:bash -c '${relay}'`;
  argv.push("-netdev", `user,id=n,net=169.254.0.0/16,restrict=on,hostfwd=tcp:127.0.0.1:${sshPort}-:22,${forward}`);
  argv.push("-device", "virtio-net-pci,netdev=n,romfile=", ...(options.extraArguments ?? []));

  const qemu = spawn("qemu-system-x86_64", argv, { stdio: ["ignore", "ignore", "pipe"] });
  let stderr = "";
  qemu.stderr.on("data", (chunk) => {
    stderr += chunk;
  });
  const ended = once(qemu, "exit").then(([code]) => {
    if (code !== 0 && code !== null) throw new Error(`qemu exited with ${code}: ${stderr}`);
  });
  ended.catch(() => {});
  const stop = async (): Promise<void> => {
    if (qemu.exitCode === null) qemu.kill("SIGKILL");
    await ended.catch(() => {});
    imds.closeAllConnections();
    imds.close();
    await rm(directory, { recursive: true, force: true });
  };
  t.after(stop);

  const alive = (): void => {
    if (qemu.exitCode !== null || qemu.signalCode !== null) throw new Error(`the machine has ended: ${stderr}`);
  };
  const consoleText = async (): Promise<string> => await readFile(log, "utf8").catch(() => "");
  const connectSsh = async (login: { user: string; privateKey: string }) => {
    for (;;) {
      alive();
      try {
        return await sshOnce(sshPort, login);
      } catch (error) {
        // Nobody answers yet. user-net accepts at once and closes when the guest refuses.
        if (!(error instanceof Error && "level" in error && error.level !== "client-authentication")) throw error;
      }
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  };
  return {
    requests,
    ended,
    stop,
    console: consoleText,
    async consoleShows(pattern) {
      while (!pattern.test(await consoleText())) {
        alive();
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    },
    async ssh(command, login) {
      const { client } = await connectSsh(login);
      try {
        return await execute(client, command);
      } finally {
        client.end();
      }
    },
    async hostKey(login) {
      const { client, hostKey } = await connectSsh(login);
      client.end();
      return hostKey;
    },
    qmp: async (command, args = {}) => await qmpOnce(qmpSocket, command, args),
  };
}

function sshOnce(port: number, login: { user: string; privateKey: string }) {
  return new Promise<{ client: Client; hostKey: string }>((resolve, reject) => {
    const client = new Client();
    let hostKey = "";
    client.on("ready", () => resolve({ client, hostKey }));
    client.on("error", (error) => {
      client.end();
      reject(error);
    });
    client.connect({
      host: "127.0.0.1",
      port,
      username: login.user,
      privateKey: login.privateKey,
      readyTimeout: 60_000,
      hostVerifier: (key: Buffer) => {
        hostKey = key.toString("base64");
        return true;
      },
    });
  });
}

function execute(client: Client, command: string): Promise<{ code: number; output: string }> {
  return new Promise((resolve, reject) => {
    client.exec(command, (error, channel) => {
      if (error) return reject(error);
      let output = "";
      let code = -1;
      channel.on("data", (chunk: Buffer) => {
        output += chunk;
      });
      channel.stderr.on("data", (chunk: Buffer) => {
        output += chunk;
      });
      channel.on("exit", (status: number) => {
        code = status;
      });
      channel.on("close", () => resolve({ code, output }));
    });
  });
}

async function qmpOnce(path: string, command: string, args: object): Promise<unknown> {
  const socket = connect(path);
  const lines = socket.setEncoding("utf8").iterator({ destroyOnReturn: true });
  let text = "";
  const reply = async (): Promise<Record<string, unknown>> => {
    for (;;) {
      const end = text.indexOf("\n");
      if (end >= 0) {
        const message: Record<string, unknown> = JSON.parse(text.slice(0, end));
        text = text.slice(end + 1);
        if (!("event" in message)) return message;
        continue;
      }
      const next = await lines.next();
      if (next.done) throw new Error("QMP closed");
      text += next.value;
    }
  };
  await reply();
  socket.write(`${JSON.stringify({ execute: "qmp_capabilities" })}\n`);
  await reply();
  socket.write(`${JSON.stringify({ execute: command, arguments: args })}\n`);
  const answer = await reply();
  socket.destroy();
  if ("error" in answer) throw new Error(`${command}: ${JSON.stringify(answer.error)}`);
  return answer.return;
}

/** IMDSv2 only: a GET without the token is refused. */
async function serveMetadata(metadata: ReadonlyMap<string, string | Buffer>, requests: string[]): Promise<Server> {
  const token = "the-token-of-this-test==";
  const server = createServer({ keepAlive: false }, (request: IncomingMessage, response) => {
    requests.push(`${request.method} ${request.url}`);
    if (request.method === "PUT" && request.url === "/latest/api/token") {
      const seconds = Number(request.headers["x-aws-ec2-metadata-token-ttl-seconds"]);
      response.statusCode = seconds >= 1 && seconds <= 21_600 ? 200 : 400;
      return response.end(response.statusCode === 200 ? token : "");
    }
    if (request.headers["x-aws-ec2-metadata-token"] !== token) {
      response.statusCode = 401;
      return response.end();
    }
    const content = lookUp(metadata, (request.url ?? "").replace(/^\/(latest|\d{4}-\d{2}-\d{2})\//, ""));
    response.statusCode = content === undefined ? 404 : 200;
    response.end(content ?? "");
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return server;
}

/** A leaf, or what is below a directory, a line each: with a slash behind it where there is more below. */
function lookUp(metadata: ReadonlyMap<string, string | Buffer>, path: string): string | Buffer | undefined {
  const leaf = metadata.get(path) ?? metadata.get(`${path}/`);
  if (leaf !== undefined) return leaf;
  const directory = path === "" || path.endsWith("/") ? path : `${path}/`;
  const below = [...metadata.keys()]
    .filter((key) => key.startsWith(directory))
    .map((key) => key.slice(directory.length));
  const names = new Set(below.map((key) => key.replace(/\/.*/, "/")).filter((name) => name !== ""));
  return names.size === 0 ? undefined : [...names].join("\n");
}

async function freePort(): Promise<number> {
  const server = createTcpServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}

/** The metadata of one instance, as a launch with a key pair and user data has it. */
export function instanceMetadata(instanceId: string, publicKey: string, userData?: string | Buffer) {
  const suffix = instanceId.slice(-4);
  return new Map<string, string | Buffer>([
    ["meta-data/instance-id", instanceId],
    ["meta-data/local-hostname", `ip-172-31-0-${Number.parseInt(suffix, 16) % 250}.ec2.internal`],
    ["meta-data/public-keys/", "0=test"],
    ["meta-data/public-keys/0/openssh-key", publicKey],
    ["meta-data/instance-type", "t3.nano"],
    // cloud-init asks six times before it believes that there is none.
    ["dynamic/instance-identity/document", JSON.stringify({ instanceId, region: "us-east-1" })],
    ...(userData === undefined ? [] : [["user-data", userData] as const]),
  ]);
}

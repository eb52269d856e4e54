// The floor of a launch: the same QEMU devices, kernel and disk, started by hand. Its root is a plain raw copy, its network
// QEMU's own, and its metadata service a few lines here: nothing of Ingot in the way.
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, rmSync } from "node:fs";
import { createServer, type Server } from "node:http";
import { type AddressInfo, createServer as createTcpServer } from "node:net";
import { join } from "node:path";
import { buildImage } from "../../src/image-builder/build.ts";

const METADATA = "169.254.169.254";

export interface ByHand {
  /** Of the instance that Ingot has just run. */
  readonly argv: readonly string[];
  readonly scratch: string;
  /** The repository's cache of packages. */
  readonly cache: string;
  /** OpenSSH's line. */
  readonly publicKey: string;
  readonly untilSsh: (address: string, port: number, since: number) => Promise<number>;
}

/** Milliseconds from QEMU's start until SSH answers. Copying the disk does not count. */
export async function bootByHand({ argv, scratch, cache, publicKey, untilSsh }: ByHand): Promise<number> {
  const built = join(scratch, "tiny");
  if (!existsSync(join(built, "disk.raw"))) {
    await buildImage("tiny", { outputDirectory: built, cacheDirectory: cache });
  }
  const directory = join(scratch, "by-hand");
  rmSync(directory, { recursive: true, force: true });
  mkdirSync(directory);
  const disk = join(directory, "disk.raw");
  execFileSync("cp", ["--sparse=always", join(built, "disk.raw"), disk]);
  const metadata = await serveMetadata(publicKey);
  const sshPort = await freePort();
  const own = rewrite(argv, { directory, disk, sshPort });
  const since = performance.now();
  const qemu = spawn(own[0] ?? "", own.slice(1), { stdio: ["ignore", "ignore", "inherit"] });
  try {
    return await untilSsh("127.0.0.1", sshPort, since);
  } finally {
    qemu.kill("SIGKILL");
    await once(qemu, "exit");
    metadata.close();
    metadata.closeAllConnections();
  }
}

/** The instance's argv with its files in `directory`, its root on `disk` and its network QEMU's own. */
function rewrite(
  argv: readonly string[],
  own: {
    readonly directory: string;
    readonly disk: string;
    readonly sshPort: number;
  },
): string[] {
  const machine = /^(.*\/machines\/[^/]+)\//.exec(argv.find((word) => word.includes("/machines/")) ?? "")?.[1] ?? "";
  const words: string[] = [];
  for (let n = 0; n < argv.length; n++) {
    const word = argv[n] ?? "";
    const value = argv[n + 1] ?? "";
    if (word === "-object" && value.startsWith("secret,")) {
      n++; // of what Ingot encrypts
    } else if (word === "-blockdev") {
      n++;
      const node = JSON.parse(value) as { readonly driver: string; readonly "node-name": string };
      if (node.driver === "nbd") continue;
      words.push(word, JSON.stringify(node.driver === "file" ? { ...node, filename: own.disk } : rawNode(node)));
    } else if (word === "-netdev") {
      n++;
      // What the guest asks of the network's "host" is asked of the real one's 127.0.0.1: no process in between.
      words.push(word, `user,id=net0,net=169.254.0.0/16,host=${METADATA},hostfwd=tcp:127.0.0.1:${own.sshPort}-:22`);
    } else {
      words.push(machine === "" ? word : word.replaceAll(machine, own.directory));
    }
  }
  return words;
}

/** The overlay's node, as a raw one over the same file node. */
function rawNode(node: object): object {
  const {
    driver: _qcow2,
    backing: _base,
    encrypt: _luks,
    ...rest
  } = node as {
    driver: string;
    backing?: string;
    encrypt?: object;
  };
  return { driver: "raw", ...rest };
}

async function serveMetadata(publicKey: string): Promise<Server> {
  const answers: Readonly<Record<string, string>> = {
    "/latest/meta-data/instance-id": "i-0123456789abcdef0",
    "/latest/meta-data/local-hostname": "by-hand.internal",
    "/latest/meta-data/hostname": "by-hand.internal",
    "/latest/meta-data/public-keys/": "0=bench",
    "/latest/meta-data/public-keys/0/openssh-key": publicKey,
  };
  const server = createServer((request, response) => {
    if (request.method === "PUT") {
      response.setHeader("x-aws-ec2-metadata-token-ttl-seconds", "21600");
      response.end("token");
      return;
    }
    const answer = answers[request.url ?? ""];
    response.statusCode = answer === undefined ? 404 : 200;
    response.setHeader("connection", "close");
    response.end(answer ?? "");
  });
  server.listen(80, "127.0.0.1");
  await once(server, "listening");
  return server;
}

async function freePort(): Promise<number> {
  const server = createTcpServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}

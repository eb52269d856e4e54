// A real S3 server for tests: Debian's Ceph gateway over one monitor and one store in memory, on loopback.
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { accessSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";

export interface Radosgw {
  readonly endpoint: string;
  readonly credentials: { readonly accessKeyId: string; readonly secretAccessKey: string };
  stop(): Promise<void>;
}

const PROGRAMS = ["ceph-mon", "ceph-osd", "radosgw", "radosgw-admin", "ceph", "ceph-authtool", "monmaptool"];

/** Why it can't run here; false when it can. */
export function radosgwMissing(): string | false {
  for (const program of PROGRAMS) {
    try {
      accessSync(join("/usr/bin", program));
    } catch {
      return `${program} is not installed (apt-get install ceph-mon ceph-osd radosgw)`;
    }
  }
  if (process.getuid?.() !== 0) return "Ceph's daemons are started as root here";
  return false;
}

async function freePorts(count: number): Promise<number[]> {
  const servers = Array.from({ length: count }, () => createServer());
  const ports = await Promise.all(
    servers.map(
      (server) =>
        new Promise<number>((resolve, reject) => {
          server.once("error", reject);
          server.listen(0, "127.0.0.1", () => {
            const address = server.address();
            resolve(typeof address === "object" && address !== null ? address.port : 0);
          });
        }),
    ),
  );
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}

/** Takes about fifteen seconds. Ends all its processes and removes its folder with `stop`. */
export async function startRadosgw(): Promise<Radosgw> {
  const home = mkdtempSync(join(tmpdir(), "radosgw-"));
  const [monitor = 0, gateway = 0] = await freePorts(2);
  const fsid = randomUUID();
  const conf = join(home, "ceph.conf");
  const keyring = join(home, "keyring");
  writeFileSync(
    conf,
    `[global]
fsid = ${fsid}
mon host = v2:127.0.0.1:${monitor}
public addr = 127.0.0.1
cluster addr = 127.0.0.1
auth cluster required = cephx
auth service required = cephx
auth client required = cephx
keyring = ${keyring}
run dir = ${home}
admin socket = ${home}/$name.asok
pid file = ${home}/$name.pid
log file = ${home}/$name.log
mon data = ${home}/mon
osd data = ${home}/osd
osd objectstore = memstore
memstore device bytes = 2147483648
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 8
osd crush chooseleaf type = 0
mon allow pool size one = true
mon warn on pool no redundancy = false
mon osd full ratio = .99
rgw frontends = beast endpoint=127.0.0.1:${gateway}
rgw thread pool size = 16
rgw enable usage log = false
rgw data = ${home}/rgw
`,
  );
  const daemons: ChildProcess[] = [];
  const stop = async (): Promise<void> => {
    for (const daemon of daemons.reverse()) {
      if (daemon.exitCode !== null || daemon.signalCode !== null) continue;
      daemon.kill("SIGKILL");
      await new Promise((resolve) => daemon.once("exit", resolve));
    }
    rmSync(home, { recursive: true, force: true });
  };
  const run = (program: string, ...argv: string[]): string => {
    try {
      return execFileSync(program, argv, { stdio: ["ignore", "pipe", "pipe"], timeout: 60_000 }).toString();
    } catch (cause) {
      throw new Error(`${program} ${argv.join(" ")}`, { cause });
    }
  };
  const ceph = (...argv: string[]): string => run("ceph", "-c", conf, "--connect-timeout", "30", ...argv);
  /** Its output goes to a file: a daemon that holds a pipe would keep it open. */
  const daemon = (name: string, program: string, ...argv: string[]): void => {
    const output = openSync(join(home, `${name}.out`), "a");
    daemons.push(spawn(program, ["-c", conf, ...argv, "-f"], { stdio: ["ignore", output, output], cwd: home }));
  };
  try {
    for (const name of ["mon", "osd", "rgw"]) mkdirSync(join(home, name));
    run("ceph-authtool", "--create-keyring", keyring, "--gen-key", "-n", "mon.", "--cap", "mon", "allow *");
    const all = ["--cap", "mon", "allow *", "--cap", "osd", "allow *", "--cap", "mgr", "allow *"];
    run("ceph-authtool", keyring, "--gen-key", "-n", "client.admin", ...all);
    run("ceph-authtool", keyring, "--gen-key", "-n", "client.rgw", ...all);
    run(
      "ceph-authtool",
      keyring,
      "--gen-key",
      "-n",
      "osd.0",
      "--cap",
      "mon",
      "allow profile osd",
      "--cap",
      "osd",
      "allow *",
    );
    const map = join(home, "monmap");
    run("monmaptool", "--create", "--addv", "a", `[v2:127.0.0.1:${monitor}]`, "--fsid", fsid, map);
    run("ceph-mon", "-c", conf, "--mkfs", "-i", "a", "--monmap", map, "--keyring", keyring);
    daemon("mon", "ceph-mon", "-i", "a");
    const uuid = randomUUID();
    ceph("osd", "new", uuid, "0");
    run("ceph-osd", "-c", conf, "-i", "0", "--mkfs", "--osd-uuid", uuid);
    ceph("auth", "import", "-i", keyring);
    daemon("osd", "ceph-osd", "-i", "0");
    daemon("rgw", "radosgw", "-n", "client.rgw");
    const user = JSON.parse(
      run("radosgw-admin", "-c", conf, "user", "create", "--uid=ingot", "--display-name=Ingot"),
    ) as { keys: { access_key: string; secret_key: string }[] };
    const [key] = user.keys;
    const endpoint = `http://127.0.0.1:${gateway}`;
    const deadline = performance.now() + 90_000;
    while (
      !(await fetch(endpoint).then(
        (response) => response.ok,
        () => false,
      ))
    ) {
      if (performance.now() > deadline) {
        throw new Error(`radosgw does not answer: ${readFileSync(join(home, "rgw.out"), "utf8").slice(-2000)}`);
      }
      await delay(200);
    }
    return {
      endpoint,
      credentials: { accessKeyId: key?.access_key ?? "", secretAccessKey: key?.secret_key ?? "" },
      stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

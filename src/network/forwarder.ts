// Public addresses. An instance's public address is a loopback address of the host (127.x.y.z), so whoever works on the
// host reaches the guest there, on the guest's own port numbers, as far as its security groups let a client in.
//
// For each nic with a public address there is a listener on every TCP port that the ingress rules of its groups open to
// some loopback client. A connection is judged again by its client's real address, then joined to one that the fabric
// dials to the guest. Rules that change open and close listeners at once; connections that exist stay, as in EC2.
//
// Limits, on purpose:
//   - a rule that opens more than MAX_RANGE_PORTS ports ("all traffic", 0-65535) gets listeners on USUAL_PORTS only;
//   - a port that the host refuses goes to the port 10000 above it, and `ports` says so: below 1024 for an ordinary
//     user (EACCES), or taken by a program that listens on all addresses, such as the host's own sshd (EADDRINUSE);
//   - TCP only.
import { createServer, type Server, type Socket } from "node:net";
import { chain, systemCode } from "../base/errors.ts";
import type { InstanceId, SecurityGroupId } from "../base/ids.ts";
import type { Log } from "../base/log.ts";
import { contains, parseIpv4 } from "../model/ipv4.ts";
import type { Nic, SecurityGroupRules, SecurityRule } from "../model/nic.ts";
import { parseCidr } from "./address.ts";
import { join } from "./control.ts";
import type { GuestDial } from "./guest-dial.ts";

/** A range up to this wide gets a listener on each port: 1000 cost 60 ms. */
const MAX_RANGE_PORTS = 1024;

/** What people run: ssh, smtp, dns, web, mail, databases, queues, remote desktops, dashboards, development servers. */
export const USUAL_PORTS: readonly number[] = [
  21, 22, 25, 53, 80, 110, 143, 389, 443, 465, 587, 636, 993, 995, 1433, 1521, 1883, 2049, 2181, 2375, 2376, 2379, 3000,
  3001, 3128, 3306, 3389, 4000, 4200, 4222, 4443, 4646, 5000, 5432, 5601, 5672, 5900, 5985, 5986, 6379, 6443, 7077,
  7474, 7687, 8000, 8008, 8080, 8081, 8086, 8088, 8200, 8443, 8500, 8888, 9000, 9042, 9090, 9092, 9093, 9100, 9200,
  9300, 9418, 9443, 10250, 11211, 15672, 27017, 50051,
];

/** Added to a port that the host does not give. */
export const SUBSTITUTE_OFFSET = 10_000;

const LOOPBACK = parseCidr("127.0.0.0/8");
const MAX_CONNECTIONS_PER_PORT = 1024;

export interface ForwardedPort {
  readonly instanceId: InstanceId;
  readonly publicIp: string;
  /** The guest's port. */
  readonly port: number;
  /** Where to connect: the same, or 10000 more; null: nowhere, see `problem`. */
  readonly hostPort: number | null;
  readonly problem: string | null;
}

interface Listener {
  readonly server: Server;
  readonly hostPort: number;
  readonly problem: string | null;
}

interface Failed {
  readonly server: null;
  readonly hostPort: null;
  readonly problem: string;
}

export class Forwarder {
  readonly #dial: GuestDial;
  readonly #log: Log;
  /** By `publicIp:port`. */
  readonly #listeners = new Map<string, Listener | Failed>();
  #byPublicIp = new Map<string, Nic>();
  #groups = new Map<SecurityGroupId, SecurityGroupRules>();
  #work: Promise<void> = Promise.resolve();
  #closed = false;

  constructor(dial: GuestDial, log: Log) {
    this.#dial = dial;
    this.#log = log;
  }

  /** All running nics and all groups in force. When it returns, what should be open is, and what should not is not. */
  sync(nics: readonly Nic[], groups: readonly SecurityGroupRules[]): Promise<void> {
    const done = this.#work.then(() => this.#sync(nics, groups));
    this.#work = done.catch(() => {});
    return done;
  }

  async #sync(nics: readonly Nic[], groups: readonly SecurityGroupRules[]): Promise<void> {
    if (this.#closed) return;
    this.#groups = new Map(groups.map((group) => [group.groupId, group]));
    this.#byPublicIp = new Map(nics.flatMap((nic) => (nic.publicIp === null ? [] : [[nic.publicIp, nic] as const])));
    const wanted = new Map<string, { publicIp: string; port: number }>();
    for (const [publicIp, nic] of this.#byPublicIp) {
      for (const port of openPorts(nic, this.#groups)) wanted.set(`${publicIp}:${port}`, { publicIp, port });
    }
    for (const [key, listener] of this.#listeners) {
      if (wanted.has(key)) continue;
      listener.server?.close();
      this.#listeners.delete(key);
    }
    const missing = [...wanted].filter(([key]) => (this.#listeners.get(key)?.server ?? null) === null);
    await Promise.all(
      missing.map(async ([key, { publicIp, port }]) => {
        this.#listeners.set(key, await this.#listen(publicIp, port, this.#listeners.get(key)?.problem ?? null));
      }),
    );
  }

  /** @param before  what was wrong at the last try: said once */
  async #listen(publicIp: string, port: number, before: string | null): Promise<Listener | Failed> {
    try {
      return { server: await this.#open(publicIp, port, port), hostPort: port, problem: null };
    } catch (error) {
      const code = systemCode(error);
      const substitute = port + SUBSTITUTE_OFFSET;
      const problem =
        code === "EACCES"
          ? `an ordinary user may not listen on port ${port}`
          : code === "EADDRINUSE"
            ? `another program of the host listens on port ${port} of all addresses`
            : chain(error);
      if ((code !== "EACCES" && code !== "EADDRINUSE") || substitute > 65535)
        return this.#failed(publicIp, port, problem, before);
      try {
        const server = await this.#open(publicIp, port, substitute);
        this.#log.info({ publicIp, port, hostPort: substitute }, `${problem}; ${substitute} stands for it`);
        return { server, hostPort: substitute, problem };
      } catch (again) {
        return this.#failed(publicIp, port, `${problem}; ${substitute}: ${chain(again)}`, before);
      }
    }
  }

  #failed(publicIp: string, port: number, problem: string, before: string | null): Failed {
    if (problem !== before) this.#log.warn({ publicIp, port, problem }, "a public port could not be opened");
    return { server: null, hostPort: null, problem };
  }

  #open(publicIp: string, port: number, hostPort: number): Promise<Server> {
    const server = createServer({ allowHalfOpen: true, noDelay: true }, (client) =>
      this.#connect(client, publicIp, port),
    );
    server.maxConnections = MAX_CONNECTIONS_PER_PORT;
    return new Promise((resolve, reject) => {
      server.once("error", reject);
      server.listen(hostPort, publicIp, () => resolve(server));
    });
  }

  #connect(client: Socket, publicIp: string, port: number): void {
    client.on("error", () => client.destroy());
    const nic = this.#byPublicIp.get(publicIp);
    if (nic === undefined || !admits(nic, this.#groups, port, client.remoteAddress ?? "")) {
      client.resetAndDestroy();
      return;
    }
    this.#dial(nic.privateIp, port).then(
      (guest) => {
        if (client.destroyed) guest.destroy();
        else join(client, guest);
      },
      // Accepting was a promise that we could not keep: a reset says so, an end would look like an empty answer.
      () => client.resetAndDestroy(),
    );
  }

  /** What is open, and what should be but is not. */
  ports(): ForwardedPort[] {
    const out: ForwardedPort[] = [];
    for (const [key, { hostPort, problem }] of this.#listeners) {
      const [publicIp = "", port] = key.split(":");
      const nic = this.#byPublicIp.get(publicIp);
      if (nic !== undefined) out.push({ instanceId: nic.instanceId, publicIp, port: Number(port), hostPort, problem });
    }
    return out;
  }

  /** Closes the listeners; connections go on until either end leaves or the process ends. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#work;
    await Promise.all(
      Array.from(
        this.#listeners.values(),
        ({ server }) => new Promise<void>((r) => (server ? server.close(() => r()) : r())),
      ),
    );
    this.#listeners.clear();
  }
}

const tcpRules = (nic: Nic, groups: ReadonlyMap<SecurityGroupId, SecurityGroupRules>): SecurityRule[] =>
  nic.securityGroups
    .flatMap((id) => groups.get(id)?.ingress ?? [])
    .filter((rule) => (rule.protocol === 6 || rule.protocol === "all") && rule.peer.kind === "cidr");

/** TCP ports on which some loopback client may reach the instance, ascending. Pure. */
export function openPorts(nic: Nic, groups: ReadonlyMap<SecurityGroupId, SecurityGroupRules>): number[] {
  const ports = new Set<number>();
  for (const rule of tcpRules(nic, groups)) {
    if (rule.peer.kind !== "cidr" || !meetsLoopback(rule.peer.cidr)) continue;
    const [from, to] = portRange(rule);
    if (to - from < MAX_RANGE_PORTS) for (let port = from; port <= to; port++) ports.add(port);
    else for (const port of USUAL_PORTS) if (port >= from && port <= to) ports.add(port);
  }
  ports.delete(0);
  return [...ports].sort((a, b) => a - b);
}

/** May a client with this address connect to this port? Pure. */
export function admits(
  nic: Nic,
  groups: ReadonlyMap<SecurityGroupId, SecurityGroupRules>,
  port: number,
  client: string,
): boolean {
  const address = parseIpv4(client.replace(/^::ffff:/, ""));
  return (
    address !== null &&
    tcpRules(nic, groups).some((rule) => {
      const [from, to] = portRange(rule);
      if (port < from || port > to || rule.peer.kind !== "cidr" || rule.peer.cidr.includes(":")) return false;
      return contains(parseCidr(rule.peer.cidr), address);
    })
  );
}

function portRange(rule: SecurityRule): readonly [number, number] {
  const all = rule.protocol === "all" || rule.fromPort === null || rule.toPort === null || rule.fromPort < 0;
  return all ? [0, 65535] : [rule.fromPort ?? 0, rule.toPort ?? 65535];
}

function meetsLoopback(cidr: string): boolean {
  if (cidr.includes(":")) return false;
  const network = parseCidr(cidr);
  return contains(network, LOOPBACK.base) || contains(LOOPBACK, network.base);
}

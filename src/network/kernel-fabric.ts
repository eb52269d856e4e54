// The kernel fabric: routed taps in a network namespace, nftables, slirp4netns for the way out.
//
// Routed, not bridged: each guest has a tap, a /32 route to it and a permanent neighbour entry; the namespace answers
// ARP for whatever else it can route to. So there is no broadcast, a guest cannot take another's address (its /32 leads
// to the other's tap), and filtering needs only the plain `forward` hook.
//
// Order of writing: the state file first when something is added, last when something is removed. So the file always
// lists at least what the kernel holds, and the next server finds leftovers by comparing.
import { mkdirSync } from "node:fs";
import { networkInterfaces } from "node:os";
import { join } from "node:path";
import type { Duplex } from "node:stream";
import { fileURLToPath } from "node:url";
import { chain } from "../base/errors.ts";
import type { InstanceId } from "../base/ids.ts";
import type { Nic, NicAttachment, SecurityGroupRules } from "../model/nic.ts";
import { gatewayOf, LINK_LOCAL_RESOLVER, METADATA_IP, parseCidr, resolverOf } from "./address.ts";
import { run } from "./command.ts";
import { dial, reload } from "./control.ts";
import { GUEST_MTU } from "./dhcp.ts";
import type { Fabric, FabricOptions, FabricStatus } from "./fabric.ts";
import { readState, writeState } from "./fabric-state.ts";
import { type Keeper, keepProcess } from "./keeper.ts";
import { endNamespace, enter, type KernelMode, type Namespace, openNamespace } from "./namespace.ts";
import { ALWAYS_FORBIDDEN, baseRules, type RuleObject, ruleObjects, TABLE, tapName, UPLINK } from "./nft-rules.ts";
import { isAlive } from "./process-record.ts";

export { type KernelMode, probeKernel } from "./namespace.ts";

/** slirp4netns' own network. Link-local, which no VPC may use, so it never hides an address that a guest means. */
const UPLINK_CIDR = "169.254.2.0/24";
const UPLINK_RESOLVER = "169.254.2.3";

/** Statements per nft transaction in a user namespace: its socket buffer holds some 400 rules. */
const ROOTLESS_STATEMENTS = 200;

const WATCH_INTERVAL_MS = 1_000;
const HOST_ADDRESS_INTERVAL_MS = 30_000;

// Constants only. Per-interface settings of taps come from `default` at their birth.
const SETTINGS = `cd /proc/sys/net/ipv4
echo 1 >ip_forward
echo 0 >ip_unprivileged_port_start
for all in conf/all conf/default; do
  echo 0 >$all/send_redirects
  echo 0 >$all/accept_redirects
done
echo 1 >conf/default/proxy_arp
echo 1 >conf/default/rp_filter
[ ! -e ../ipv6/conf/default/disable_ipv6 ] || echo 1 >../ipv6/conf/default/disable_ipv6
ip link set lo up
ip addr replace ${METADATA_IP}/32 dev lo
ip addr replace ${LINK_LOCAL_RESOLVER}/32 dev lo
`;

export async function openKernelFabric(
  mode: KernelMode,
  options: FabricOptions,
  notes: readonly string[],
): Promise<Fabric> {
  mkdirSync(options.directory, { recursive: true, mode: 0o700 });
  const fabric = new KernelFabric(mode, options, notes);
  await fabric.open();
  return fabric;
}

class KernelFabric implements Fabric {
  readonly kind = "kernel";
  readonly #options: FabricOptions;
  readonly #mode: KernelMode;
  readonly #notes: readonly string[];
  #namespace: Namespace | null = null;
  #nics = new Map<InstanceId, Nic>();
  #groups: readonly SecurityGroupRules[] = [];
  /** What the kernel's table holds, as far as we know; `put: ""` when we do not. */
  #applied = new Map<string, RuleObject>();
  #taps = new Set<string>();
  #vpcs = new Set<string>();
  #forbidden = "";
  #work: Promise<void> = Promise.resolve();
  #requests: Change[] = [];
  #agent: Keeper;
  #uplink: Keeper;
  #watch: NodeJS.Timeout | null = null;
  #lastHostCheck = 0;
  #closed = false;

  constructor(mode: KernelMode, options: FabricOptions, notes: readonly string[]) {
    this.#mode = mode;
    this.#options = options;
    this.#notes = notes;
    const { directory, log } = options;
    this.#agent = keepProcess({
      directory,
      name: "agent",
      log,
      socket: join(directory, "agent.sock"),
      argv: () => [...this.#enter(), process.execPath, ...AGENT_FLAGS, agentEntry(), directory],
    });
    this.#uplink = keepProcess({
      directory,
      name: "slirp4netns",
      log,
      socket: null,
      argv: () => {
        const pid = this.#holder().pid;
        const flags = ["--configure", "--mtu=65520", "--disable-host-loopback", `--cidr=${UPLINK_CIDR}`];
        const target = this.#mode === "root" ? ["--netns-type=path", `/proc/${pid}/ns/net`] : [String(pid)];
        return ["slirp4netns", ...flags, ...target, UPLINK];
      },
    });
  }

  #holder() {
    if (this.#namespace === null) throw new Error("the network namespace is not open");
    return this.#namespace.holder;
  }

  #enter(): readonly string[] {
    return enter(this.#mode, this.#holder().pid);
  }

  async open(): Promise<void> {
    const before = readState(this.#options.directory);
    for (const nic of before?.nics ?? []) this.#nics.set(nic.instanceId, nic);
    this.#groups = before?.groups ?? [];
    await this.#openNamespace();
    await Promise.all([this.#agent.ensure(), this.#uplink.ensure()]);
    this.#watch = setInterval(() => void this.#check(), WATCH_INTERVAL_MS);
    this.#watch.unref();
  }

  /** Finds or makes the namespace; a new one gets everything that we know of. */
  async #openNamespace(): Promise<void> {
    this.#namespace = await openNamespace(this.#options.directory, this.#mode);
    this.#applied.clear();
    this.#taps.clear();
    this.#vpcs.clear();
    this.#forbidden = "";
    if (this.#namespace.fresh) {
      // slirp4netns does not end with the namespace that it served.
      await Promise.all([this.#agent.end(), this.#uplink.end()]);
      await run([...this.#enter(), "sh", "-e"], SETTINGS);
      await this.#loadBase();
      this.#writeState();
      await this.#apply([...this.#nics.values()], this.#groups);
      return;
    }
    for (const name of await this.#listTaps()) this.#taps.add(name);
    // What an earlier server put there: known by name, put again before it counts as right.
    for (const [key, object] of ruleObjects([...this.#nics.values()], this.#groups)) {
      this.#applied.set(key, { ...object, put: "" });
    }
    if (!(await this.#hasBase())) await this.#loadBase();
    await this.#apply([...this.#nics.values()], this.#groups);
  }

  async #hasBase(): Promise<boolean> {
    return this.#run(["nft", "list", "chain", ...TABLE.split(" "), "c_nat"], "").then(
      () => true,
      () => false,
    );
  }

  async #loadBase(): Promise<void> {
    this.#applied.clear();
    try {
      await this.#run(["nft", "-f", "-"], baseRules(true));
    } catch {
      await this.#run(["nft", "-f", "-"], baseRules(false));
    }
  }

  async #listTaps(): Promise<string[]> {
    const links = JSON.parse(await this.#run(["ip", "-json", "link", "show"], "")) as { ifname: string }[];
    return links.map((link) => link.ifname).filter((name) => name.startsWith("tap"));
  }

  #run(argv: readonly string[], input: string): Promise<string> {
    return run([...this.#enter(), ...argv], input);
  }

  addInstance(nic: Nic): Promise<NicAttachment> {
    return this.#change((nics) => nics.set(nic.instanceId, nic)).then(() => ({
      launcher: this.#enter(),
      netdev: `tap,id=net0,ifname=${tapName(nic)},script=no,downscript=no`,
    }));
  }

  removeInstance(instanceId: InstanceId): Promise<void> {
    return this.#change((nics) => nics.delete(instanceId));
  }

  setRules(groups: readonly SecurityGroupRules[], nics: readonly Nic[] = []): Promise<void> {
    return this.#change((known) => {
      for (const nic of nics) if (known.has(nic.instanceId)) known.set(nic.instanceId, nic);
      this.#groups = groups;
    });
  }

  setMetadata(instanceId: InstanceId, metadata: Nic["metadata"]): Promise<void> {
    return this.#change((nics) => {
      const nic = nics.get(instanceId);
      if (nic !== undefined) nics.set(instanceId, { ...nic, metadata });
    });
  }

  sync(nics: readonly Nic[], groups: readonly SecurityGroupRules[]): Promise<void> {
    return this.#change((known) => {
      known.clear();
      for (const nic of nics) known.set(nic.instanceId, nic);
      this.#groups = groups;
    });
  }

  nics(): readonly Nic[] {
    return [...this.#nics.values()];
  }

  dial(privateIp: string, port: number): Promise<Duplex> {
    return dial(join(this.#options.directory, "agent.sock"), privateIp, port);
  }

  // Changes that come while one is being made are made together: fifty launches at once cost two rounds, not fifty.
  #change(change: Change["apply"]): Promise<void> {
    const done = new Promise<void>((resolve, reject) => {
      this.#requests.push({ apply: change, resolve, reject });
    });
    if (this.#requests.length === 1) this.#work = this.#work.then(() => this.#round());
    return done;
  }

  async #round(): Promise<void> {
    const requests = this.#requests;
    this.#requests = [];
    try {
      if (this.#closed) throw new Error("the network has been closed");
      const nics = new Map(this.#nics);
      for (const request of requests) request.apply(nics);
      // Both what is and what will be, until it is so.
      const leaving = [...this.#nics.values()].filter((nic) => !nics.has(nic.instanceId));
      this.#nics = nics;
      this.#writeState(leaving);
      await this.#apply([...nics.values()], this.#groups);
      if (leaving.length > 0) this.#writeState();
      // The agent looks at the file by itself; only a new VPC's resolver address needs a socket before it is asked.
      await reload(join(this.#options.directory, "agent.sock")).catch(() => {});
      for (const request of requests) request.resolve();
    } catch (error) {
      for (const request of requests) request.reject(new Error("change the network", { cause: error }));
    }
  }

  #writeState(leaving: readonly Nic[] = []): void {
    writeState(this.#options.directory, {
      dnsName: this.#options.dnsName ?? "ec2.internal",
      upstreamDns: UPLINK_RESOLVER,
      metadataSocket: this.#options.metadataSocket,
      nics: [...this.#nics.values(), ...leaving],
      groups: this.#groups,
      forbidden: [],
    });
  }

  /** Makes the kernel hold exactly these. Interfaces and rules are independent programs, so both at once. */
  async #apply(nics: readonly Nic[], groups: readonly SecurityGroupRules[]): Promise<void> {
    await Promise.all([this.#applyLinks(nics), this.#applyRules(nics, groups)]);
  }

  async #applyLinks(nics: readonly Nic[]): Promise<void> {
    const wanted = new Map(nics.map((nic) => [tapName(nic), nic]));
    const gone = [...this.#taps].filter((tap) => !wanted.has(tap));
    const fresh = [...wanted].filter(([tap]) => !this.#taps.has(tap));
    const vpcs = new Set(nics.flatMap((nic) => [`route ${nic.vpcCidr}`, `addr ${nic.subnetCidr} ${nic.vpcCidr}`]));
    const lines = [
      ...[...vpcs].filter((vpc) => !this.#vpcs.has(vpc)).flatMap(vpcLines),
      ...fresh.flatMap(([tap, nic]) => tapLines(tap, nic, this.#options.guestUid)),
    ];
    if (lines.length > 0) {
      await this.#run(["ip", "-batch", "-"], `${lines.join("\n")}\n`);
      for (const vpc of vpcs) this.#vpcs.add(vpc);
      for (const [tap] of fresh) this.#taps.add(tap);
    }
    if (gone.length > 0) {
      // 20 ms each in the kernel. A tap that QEMU made anew (persist off) may be gone by itself: -force goes on.
      await this.#run(["ip", "-force", "-batch", "-"], gone.map((tap) => `link del ${tap}\n`).join("")).catch(() => {});
      for (const tap of gone) this.#taps.delete(tap);
    }
  }

  async #applyRules(nics: readonly Nic[], groups: readonly SecurityGroupRules[]): Promise<void> {
    const wanted = ruleObjects(nics, groups);
    const puts = [...wanted].filter(([key, object]) => this.#applied.get(key)?.put !== object.put);
    const gone = [...this.#applied].filter(([key]) => !wanted.has(key)).reverse();
    const forbidden = this.#forbiddenText();
    const texts = puts.map(([, object]) => object.put);
    if (forbidden !== this.#forbidden) texts.unshift(forbidden);
    for (const [key, object] of puts) this.#applied.set(key, { ...object, put: "" });
    for (const transaction of transactions(texts, this.#mode)) await this.#run(["nft", "-f", "-"], transaction);
    this.#forbidden = forbidden;
    for (const [key, object] of puts) this.#applied.set(key, object);
    await this.#removeRules(gone);
  }

  async #removeRules(gone: readonly [string, RuleObject][]): Promise<void> {
    if (gone.length === 0) return;
    try {
      for (const transaction of transactions(
        gone.map(([, object]) => object.remove),
        this.#mode,
      )) {
        await this.#run(["nft", "-f", "-"], transaction);
      }
    } catch {
      // Some of it may be gone already, after a crash between two steps: then each by itself.
      for (const line of gone.flatMap(([, object]) => object.remove.trim().split("\n"))) {
        await this.#run(["nft", "-f", "-"], `${line}\n`).catch(() => {});
      }
    }
    for (const [key] of gone) this.#applied.delete(key);
  }

  #forbiddenText(): string {
    const addresses = (this.#options.hostAddresses ?? hostAddresses)();
    const all = [...new Set([...ALWAYS_FORBIDDEN, ...addresses])].sort();
    return `flush set ${TABLE} forbidden\nadd element ${TABLE} forbidden { ${all.join(", ")} }\n`;
  }

  /** Starts again what has died; notices new addresses of the host. */
  async #check(): Promise<void> {
    if (this.#closed) return;
    this.#work = this.#work.then(async () => {
      if (this.#closed) return;
      try {
        if (!isAlive(this.#holder())) {
          this.#options.log.warn({}, "the network namespace's holder is gone; starting another");
          await this.#openNamespace();
        }
        await Promise.all([this.#agent.ensure(), this.#uplink.ensure()]);
        if (performance.now() - this.#lastHostCheck > HOST_ADDRESS_INTERVAL_MS) {
          this.#lastHostCheck = performance.now();
          if (this.#forbiddenText() !== this.#forbidden) await this.#apply(this.nics(), this.#groups);
        }
      } catch (error) {
        this.#options.log.error({ error: chain(error) }, "the network could not be put right; trying again");
      }
    });
    await this.#work;
  }

  status(): FabricStatus {
    return {
      kind: "kernel",
      notes: this.#notes,
      instances: this.#nics.size,
      processes: [
        { name: "holder", pid: this.#namespace?.holder.pid ?? null },
        { name: "agent", pid: this.#agent.pid() },
        { name: "slirp4netns", pid: this.#uplink.pid() },
      ],
    };
  }

  async close(): Promise<void> {
    if (this.#watch !== null) clearInterval(this.#watch);
    await this.#work;
    this.#closed = true;
    this.#agent.close();
    this.#uplink.close();
  }

  async stop(): Promise<void> {
    await this.close();
    // slirp4netns does not end with its namespace. The agent and the holder are all that keeps it, once guests are gone.
    await Promise.all([this.#agent.stop(), this.#uplink.stop()]);
    await endNamespace(this.#options.directory);
    this.#namespace = null;
  }
}

interface Change {
  apply(nics: Map<InstanceId, Nic>): void;
  resolve(): void;
  reject(error: Error): void;
}

// A small heap: the agent holds no state worth mentioning.
const AGENT_FLAGS = ["--max-semi-space-size=1", "--max-old-space-size=64", "--disable-warning=ExperimentalWarning"];

/** In development the source itself; in a build, the bundle beside the server's. */
function agentEntry(): string {
  return fileURLToPath(new URL(import.meta.url.endsWith(".ts") ? "./agent.ts" : "./network-agent.js", import.meta.url));
}

function vpcLines(line: string): string[] {
  const [kind, cidr = "", vpcCidr = ""] = line.split(" ");
  parseCidr(cidr);
  // Without this the default route would make proxy ARP answer for free addresses.
  if (kind === "route") return [`route replace unreachable ${cidr}`];
  return [`addr replace ${gatewayOf(cidr)}/32 dev lo`, `addr replace ${resolverOf(vpcCidr)}/32 dev lo`];
}

function tapLines(tap: string, nic: Nic, uid: number | undefined): string[] {
  if (!/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/.test(nic.mac)) throw new Error(`not a MAC address: "${nic.mac}"`);
  const owner = uid === undefined ? "" : ` user ${uid}`;
  return [
    `tuntap add ${tap} mode tap${owner}`,
    `ntable change name arp_cache dev ${tap} proxy_delay 0`,
    `link set ${tap} mtu ${GUEST_MTU} up`,
    `route replace ${nic.privateIp}/32 dev ${tap} src ${gatewayOf(nic.subnetCidr)}`,
    `neigh replace ${nic.privateIp} lladdr ${nic.mac} dev ${tap} nud permanent`,
  ];
}

/** Root sends all in one transaction; a user namespace's socket takes only so much. No text is ever split. */
function transactions(texts: readonly string[], mode: KernelMode): string[] {
  const out: string[] = [];
  let statements = 0;
  for (const text of texts) {
    const count = text.split("\n").length;
    if (out.length === 0 || (mode === "rootless" && statements + count > ROOTLESS_STATEMENTS)) {
      out.push(text);
      statements = count;
    } else {
      out[out.length - 1] += text;
      statements += count;
    }
  }
  return out;
}

function hostAddresses(): string[] {
  return Object.values(networkInterfaces()).flatMap((list) =>
    (list ?? []).flatMap((address) => (address.family === "IPv4" && !address.internal ? [address.address] : [])),
  );
}

// The kernel fabric: routed taps in a network namespace, nftables, slirp4netns for the way out.
//
// Routed, not bridged: each guest has a tap, a /32 route to it and a permanent neighbour entry; the namespace answers
// ARP for whatever else it can route to. So there is no broadcast, a guest cannot take another's address (its /32 leads
// to the other's tap), and filtering needs only the plain `forward` hook.
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { chain } from "../base/errors.ts";
import type { InstanceId } from "../base/ids.ts";
import type { Nic, NicAttachment, SecurityGroupRules } from "../model/nic.ts";
import { LINK_LOCAL_RESOLVER, METADATA_IP } from "./address.ts";
import { run } from "./command.ts";
import { reload } from "./control.ts";
import { Desired } from "./desired.ts";
import type { Fabric, FabricOptions, FabricStatus } from "./fabric.ts";
import { writeState } from "./fabric-state.ts";
import { forbidden, HOST_ADDRESS_INTERVAL_MS, hostAddresses } from "./host-addresses.ts";
import { type Keeper, keepProcess, nodeArgv } from "./keeper.ts";
import { Links } from "./links.ts";
import { endNamespace, enter, type KernelMode, type Namespace, openNamespace } from "./namespace.ts";
import { TABLE, UPLINK, VERSION_CHAIN } from "./nft-rules.ts";
import { isAlive, type ProcessRecord } from "./process-record.ts";
import { RuleSet } from "./rule-set.ts";
import { Session, toOnePipe } from "./session.ts";
import { tapName } from "./tap.ts";

export { type KernelMode, knownMode, probeKernel } from "./namespace.ts";

/** slirp4netns' own network. Link-local, which no VPC may use, so it never hides an address that a guest means. */
const UPLINK_CIDR = "169.254.2.0/24";
const UPLINK_RESOLVER = "169.254.2.3";

const WATCH_INTERVAL_MS = 1_000;

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
  readonly #desired: Desired;
  readonly #agent: Keeper;
  readonly #uplink: Keeper;
  readonly #socket: string;
  readonly #ip: Session;
  readonly #nft: Session;
  readonly #links: Links;
  readonly #rules: RuleSet;
  #namespace: Namespace | null = null;
  #knownVpcs = "";
  #watch: NodeJS.Timeout | null = null;
  #hostCheckedAtMs = 0;
  #closed = false;

  constructor(mode: KernelMode, options: FabricOptions, notes: readonly string[]) {
    this.#mode = mode;
    this.#options = options;
    this.#notes = notes;
    const { directory, log } = options;
    this.#socket = join(directory, "agent.sock");
    const inside = (argv: readonly string[], input: string) => run([...this.#enter(), ...argv], input);
    this.#ip = new Session({
      argv: () => toOnePipe(this.#enter(), ["ip", "-force", "-batch", "-"]),
      markLine: "link show lo",
      mark: /1: lo: .*\n +link\/loopback .*\n$/,
    });
    this.#nft = new Session({
      argv: () => toOnePipe(this.#enter(), ["nft", "--interactive"]),
      markLine: `list chain ${TABLE} ${VERSION_CHAIN}`,
      mark: /table inet ingot \{\n\tchain version_\d+ \{\n\t\}\n\}\n$/,
    });
    const ip = { once: inside, session: (lines: string) => this.#ip.send(lines), renew: () => this.#ip.renew() };
    this.#links = new Links(ip, options.guestUid);
    this.#rules = new RuleSet({ once: inside, session: (line) => this.#nft.send(line) }, mode);
    this.#desired = new Desired({
      directory,
      write: (nics, groups) => this.#write(nics, groups),
      make: (nics, groups) => this.#make(nics, groups),
    });
    this.#agent = keepProcess({
      directory,
      name: "agent",
      log,
      socket: this.#socket,
      argv: () => [...this.#enter(), ...nodeArgv("agent", directory)],
    });
    this.#uplink = keepProcess({
      directory,
      name: "slirp4netns",
      log,
      socket: null,
      argv: () => uplinkArgv(this.#namespace?.mode ?? mode, this.#holder().pid),
    });
  }

  #holder(): ProcessRecord {
    if (this.#namespace === null) throw new Error("the network namespace is not open");
    return this.#namespace.holder;
  }

  #enter(): readonly string[] {
    return enter(this.#namespace?.mode ?? this.#mode, this.#holder().pid);
  }

  async open(): Promise<void> {
    await this.#openNamespace();
    await Promise.all([this.#agent.adopt(), this.#uplink.adopt()]);
    this.#watch = setInterval(() => void this.#check(), WATCH_INTERVAL_MS);
    this.#watch.unref();
    // Where they have to be started, nobody waits for it: no guest asks anything for its first second.
    void this.#check();
  }

  /** Finds or makes the namespace; what it lacks of what we know is put there. */
  async #openNamespace(): Promise<void> {
    await Promise.all([this.#ip.close(), this.#nft.close()]); // they are in the namespace that there was
    this.#namespace = await openNamespace(this.#options.directory, this.#mode);
    const { nics, groups } = this.#desired;
    this.#write(nics, groups);
    if (this.#namespace.fresh) {
      // slirp4netns does not end with the namespace that it served.
      await Promise.all([this.#agent.end(), this.#uplink.end()]);
      await run([...this.#enter(), "sh", "-e"], SETTINGS);
      this.#links.clear();
      await this.#rules.load();
    } else {
      // Each asks a program of its own, 20 ms of a start.
      await Promise.all([this.#links.find(), this.#rules.find(nics, groups)]);
    }
    await this.#apply(nics, groups);
  }

  async #make(nics: readonly Nic[], groups: readonly SecurityGroupRules[]): Promise<void> {
    if (this.#closed) throw new Error("the network has been closed");
    await this.#apply(nics, groups);
    // The agent looks at the file by itself; only a new VPC's resolver needs a socket before it is asked.
    const vpcs = [...new Set(nics.map((nic) => nic.vpcCidr))].sort().join(" ");
    if (vpcs === this.#knownVpcs) return;
    await reload(this.#socket).catch(() => {}); // not running: the next one reads the file when it starts
    this.#knownVpcs = vpcs;
  }

  /** Interfaces and rules are independent programs, so both at once. */
  async #apply(nics: readonly Nic[], groups: readonly SecurityGroupRules[]): Promise<void> {
    const unreachable = forbidden((this.#options.hostAddresses ?? hostAddresses)());
    await Promise.all([this.#links.apply(nics), this.#rules.apply(nics, groups, unreachable)]);
  }

  #write(nics: readonly Nic[], groups: readonly SecurityGroupRules[]): void {
    writeState(this.#options.directory, {
      dnsName: this.#options.dnsName ?? "ec2.internal",
      upstreamDns: UPLINK_RESOLVER,
      metadataSocket: this.#options.metadataSocket,
      apiSocket: this.#options.apiSocket,
      carrier: "agent",
      nics,
      groups,
      forbidden: [],
    });
  }

  async addInstance(nic: Nic): Promise<NicAttachment> {
    await this.#desired.add(nic);
    return {
      launcher: this.#enter(),
      netdev: `tap,id=net0,ifname=${tapName(nic.privateIp)},script=no,downscript=no`,
    };
  }

  removeInstance(instanceId: InstanceId): Promise<void> {
    return this.#desired.remove(instanceId);
  }

  setRules(groups: readonly SecurityGroupRules[], nics: readonly Nic[] = []): Promise<void> {
    return this.#desired.setRules(groups, nics);
  }

  setMetadata(instanceId: InstanceId, metadata: Nic["metadata"]): Promise<void> {
    return this.#desired.setMetadata(instanceId, metadata);
  }

  sync(nics: readonly Nic[], groups: readonly SecurityGroupRules[]): Promise<void> {
    return this.#desired.sync(nics, groups);
  }

  nics(): readonly Nic[] {
    return this.#desired.nics;
  }

  /** Starts again what has died; notices new addresses of the host. */
  async #check(): Promise<void> {
    if (this.#closed) return;
    try {
      if (!isAlive(this.#holder())) {
        this.#options.log.warn({}, "the network namespace's holder is gone; starting another");
        await this.#desired.alone(() => this.#openNamespace());
      }
      await Promise.all([this.#agent.ensure(), this.#uplink.ensure()]);
      if (performance.now() - this.#hostCheckedAtMs > HOST_ADDRESS_INTERVAL_MS) {
        this.#hostCheckedAtMs = performance.now();
        await this.#desired.alone(() => this.#apply(this.#desired.nics, this.#desired.groups));
      }
    } catch (error) {
      this.#options.log.error({ error: chain(error) }, "the network could not be put right; trying again");
    }
  }

  status(): FabricStatus {
    return {
      kind: "kernel",
      notes: this.#notes,
      instances: this.#desired.nics.length,
      processes: [
        { name: "holder", pid: this.#namespace?.holder.pid ?? null },
        { name: "agent", pid: this.#agent.pid() },
        { name: "slirp4netns", pid: this.#uplink.pid() },
      ],
    };
  }

  async close(): Promise<void> {
    this.#closed = true;
    if (this.#watch !== null) clearInterval(this.#watch);
    await this.#desired.alone(async () => {});
    await this.#links.settled();
    await Promise.all([this.#ip.close(), this.#nft.close()]);
    this.#agent.close();
    this.#uplink.close();
  }

  async stop(): Promise<void> {
    await this.close();
    // The agent and the holder are all that keeps the namespace, once guests are gone.
    await Promise.all([this.#agent.stop(), this.#uplink.stop()]);
    await endNamespace(this.#options.directory, this.#namespace?.holder ?? null);
    this.#namespace = null;
  }
}

function uplinkArgv(mode: KernelMode, holder: number): string[] {
  const flags = ["--configure", "--mtu=65520", "--disable-host-loopback", `--cidr=${UPLINK_CIDR}`];
  // By pid it would enter the user namespace too, which root's namespace does not have.
  const target = mode === "root" ? ["--netns-type=path", `/proc/${holder}/ns/net`] : [String(holder)];
  return ["slirp4netns", ...flags, ...target, UPLINK];
}

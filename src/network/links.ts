// The namespace's interfaces, addresses and routes, by `ip -batch`.
import type { Nic } from "../model/nic.ts";
import { gatewayOf, parseCidr, resolverOf } from "./address.ts";
import { GUEST_MTU } from "./dhcp.ts";
import { tapName } from "./tap.ts";

export interface IpRun {
  /** One program, run to its end. */
  once(argv: readonly string[], input: string): Promise<string>;
  /** Commands of `ip -batch`, through the session. */
  session(lines: string): Promise<void>;
  /** A new session. */
  renew(): Promise<void>;
}

/** Taps to be deleted are collected in this interface group, which one command deletes: the kernel waits 20 ms per
 * deletion, not per interface. */
const LEAVING_GROUP = 7;

export class Links {
  readonly #run: IpRun;
  readonly #uid: number | undefined;
  /** What each tap was set up with; "" when it was found. */
  #taps = new Map<string, string>();
  #vpcs = new Set<string>();
  /** Taken away, and perhaps still there. */
  readonly #leaving = new Set<string>();
  #reaping: Promise<void> = Promise.resolve();

  constructor(run: IpRun, uid: number | undefined) {
    this.#run = run;
    this.#uid = uid;
  }

  /** A new namespace has none. */
  clear(): void {
    this.#taps.clear();
    this.#vpcs.clear();
  }

  /** Learns the taps that exist. */
  async find(): Promise<void> {
    this.clear();
    const links = JSON.parse(await this.#run.once(["ip", "-json", "link", "show"], "")) as { ifname: string }[];
    for (const { ifname } of links) if (ifname.startsWith("tap")) this.#taps.set(ifname, "");
  }

  async apply(nics: readonly Nic[]): Promise<void> {
    const wanted = new Map(nics.map((nic) => [tapName(nic.privateIp), nic]));
    const gone = [...this.#taps.keys()].filter((tap) => !wanted.has(tap));
    const vpcs = new Set(nics.flatMap((nic) => [`route ${nic.vpcCidr}`, `addr ${nic.subnetCidr} ${nic.vpcCidr}`]));
    const lines = [...vpcs].filter((vpc) => !this.#vpcs.has(vpc)).flatMap(vpcLines);
    const changed = new Map<string, string>();
    for (const [tap, nic] of wanted) {
      const settings = settingLines(tap, nic).join("\n");
      const known = this.#taps.get(tap);
      if (known === settings) continue;
      if (known === undefined)
        lines.push(`tuntap add ${tap} mode tap${this.#uid === undefined ? "" : ` user ${this.#uid}`}`);
      lines.push(settings);
      changed.set(tap, settings);
    }
    if (lines.length > 0) {
      if ([...changed.keys()].some((tap) => this.#leaving.has(tap))) await this.#reaping;
      try {
        await this.#run.session(lines.join("\n"));
      } catch (error) {
        await this.find(); // some of it may have been done
        throw error;
      }
      for (const vpc of vpcs) this.#vpcs.add(vpc);
      for (const [tap, settings] of changed) this.#taps.set(tap, settings);
    }
    if (gone.length > 0) this.#reap(gone);
  }

  /** Nobody waits for it: without rules a tap passes nothing. */
  #reap(taps: readonly string[]): void {
    for (const tap of taps) {
      this.#taps.delete(tap);
      this.#leaving.add(tap);
    }
    const batch = [...taps.map((tap) => `link set ${tap} group ${LEAVING_GROUP}`), `link del group ${LEAVING_GROUP}`];
    this.#reaping = this.#reaping
      .then(() => this.#run.once(["ip", "-force", "-batch", "-"], `${batch.join("\n")}\n`))
      .catch(() => {}) // one of them had gone by itself; -force went on
      // A running `ip` remembers each name's interface number, and the next tap of that name will have another.
      .then(() => this.#run.renew())
      .catch(() => {}) // the next request says what is wrong
      .then(() => {
        for (const tap of taps) this.#leaving.delete(tap);
      });
  }

  settled(): Promise<void> {
    return this.#reaping;
  }
}

function vpcLines(line: string): string[] {
  const [kind, cidr = "", vpcCidr = ""] = line.split(" ");
  parseCidr(cidr);
  // Without this the default route would make proxy ARP answer for free addresses.
  if (kind === "route") return [`route replace unreachable ${cidr}`];
  return [`addr replace ${gatewayOf(cidr)}/32 dev lo`, `addr replace ${resolverOf(vpcCidr)}/32 dev lo`];
}

function settingLines(tap: string, nic: Nic): string[] {
  if (!/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/.test(nic.mac)) throw new Error(`not a MAC address: "${nic.mac}"`);
  return [
    // Proxy ARP answers after a random wait by default, up to 0.8 s: meant for a wire with several routers.
    `ntable change name arp_cache dev ${tap} proxy_delay 0`,
    `link set ${tap} mtu ${GUEST_MTU} up`,
    `route replace ${nic.privateIp}/32 dev ${tap} src ${gatewayOf(nic.subnetCidr)}`,
    `neigh replace ${nic.privateIp} lladdr ${nic.mac} dev ${tap} nud permanent`,
  ];
}

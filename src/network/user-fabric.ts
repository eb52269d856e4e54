// The user-space fabric: a switch of ours (`switch.ts`) and one guestless QEMU for the way out. No privilege, no kernel
// support, a third of the kernel fabric's throughput.
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { chain } from "../base/errors.ts";
import type { InstanceId } from "../base/ids.ts";
import type { Nic, NicAttachment, SecurityGroupRules } from "../model/nic.ts";
import { run } from "./command.ts";
import { reload } from "./control.ts";
import { Desired } from "./desired.ts";
import type { Fabric, FabricOptions, FabricStatus } from "./fabric.ts";
import { writeState } from "./fabric-state.ts";
import { forbidden, HOST_ADDRESS_INTERVAL_MS, hostAddresses } from "./host-addresses.ts";
import { type Keeper, keepProcess, nodeArgv } from "./keeper.ts";
import { ROUTER_SOCKET, SLIRP_DHCP_START, SLIRP_DNS, SLIRP_HOST, SLIRP_NETWORK } from "./user-network.ts";

const QEMU = "qemu-system-x86_64";
const WATCH_INTERVAL_MS = 1_000;

/** @returns null when QEMU has stream netdevs (7.2), else why not */
export async function probeUser(): Promise<string | null> {
  try {
    const version = /version (\d+)\.(\d+)/.exec(await run([QEMU, "-version"]));
    if (version === null) return `${QEMU} does not say its version`;
    const [major, minor] = [Number(version[1]), Number(version[2])];
    return major > 7 || (major === 7 && minor >= 2) ? null : `QEMU ${major}.${minor} is older than 7.2`;
  } catch (error) {
    return chain(error);
  }
}

export async function openUserFabric(options: FabricOptions, notes: readonly string[]): Promise<Fabric> {
  mkdirSync(options.directory, { recursive: true, mode: 0o700 });
  const fabric = new UserFabric(options, notes);
  await fabric.open();
  return fabric;
}

class UserFabric implements Fabric {
  readonly kind = "user";
  readonly #options: FabricOptions;
  readonly #notes: readonly string[];
  readonly #desired: Desired;
  readonly #switch: Keeper;
  readonly #router: Keeper;
  readonly #socket: string;
  #watch: NodeJS.Timeout | null = null;
  #forbiddenAtMs = Number.NEGATIVE_INFINITY;
  #closed = false;

  constructor(options: FabricOptions, notes: readonly string[]) {
    this.#options = options;
    this.#notes = notes;
    const { directory, log } = options;
    this.#socket = join(directory, "switch.sock");
    this.#desired = new Desired({
      directory,
      write: (nics, groups) => this.#write(nics, groups),
      make: () => this.#reload(),
    });
    this.#switch = keepProcess({
      directory,
      name: "switch",
      log,
      socket: this.#socket,
      argv: () => nodeArgv("switch", directory),
    });
    this.#router = keepProcess({ directory, name: "router", log, socket: null, argv: () => routerArgv(directory) });
  }

  async open(): Promise<void> {
    this.#write(this.#desired.nics, this.#desired.groups);
    await Promise.all([this.#switch.adopt(), this.#router.adopt()]);
    if (this.#switch.pid() !== null) await this.#reload();
    this.#watch = setInterval(() => void this.#check(), WATCH_INTERVAL_MS);
    this.#watch.unref();
    // Where they have to be started, nobody waits for it: no guest asks anything for its first second.
    void this.#check();
  }

  /** In force when it returns: either the switch says so, or a new one has begun with it. */
  async #reload(): Promise<void> {
    try {
      await reload(this.#socket);
    } catch {
      await this.#switch.ensure();
      await reload(this.#socket);
    }
  }

  #write(nics: readonly Nic[], groups: readonly SecurityGroupRules[]): void {
    this.#forbiddenAtMs = performance.now();
    writeState(this.#options.directory, {
      dnsName: this.#options.dnsName ?? "ec2.internal",
      upstreamDns: null,
      metadataSocket: this.#options.metadataSocket,
      apiSocket: this.#options.apiSocket,
      carrier: "switch",
      nics,
      groups,
      forbidden: forbidden((this.#options.hostAddresses ?? hostAddresses)()),
    });
  }

  async #check(): Promise<void> {
    if (this.#closed) return;
    try {
      await Promise.all([this.#switch.ensure(), this.#router.ensure()]);
      if (performance.now() - this.#forbiddenAtMs > HOST_ADDRESS_INTERVAL_MS) {
        await this.#desired.alone(async () => {
          this.#write(this.#desired.nics, this.#desired.groups);
          await this.#reload();
        });
      }
    } catch (error) {
      this.#options.log.error({ error: chain(error) }, "the network could not be put right; trying again");
    }
  }

  async addInstance(nic: Nic): Promise<NicAttachment> {
    await this.#desired.add(nic);
    const path = join(this.#options.directory, `${nic.instanceId}.net`);
    return { launcher: [], netdev: `stream,id=net0,server=on,addr.type=unix,addr.path=${path.replaceAll(",", ",,")}` };
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

  status(): FabricStatus {
    return {
      kind: "user",
      notes: this.#notes,
      instances: this.#desired.nics.length,
      processes: [
        { name: "switch", pid: this.#switch.pid() },
        { name: "router", pid: this.#router.pid() },
      ],
    };
  }

  async close(): Promise<void> {
    this.#closed = true;
    if (this.#watch !== null) clearInterval(this.#watch);
    await this.#desired.alone(async () => {});
    this.#switch.close();
    this.#router.close();
  }

  async stop(): Promise<void> {
    await this.close();
    await Promise.all([this.#switch.stop(), this.#router.stop()]);
  }
}

function routerArgv(directory: string): string[] {
  const path = join(directory, ROUTER_SOCKET).replaceAll(",", ",,");
  return [
    QEMU,
    ...["-machine", "none", "-nodefaults", "-no-user-config", "-display", "none"],
    ...["-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"],
    "-netdev",
    `user,id=u0,ipv6=off,net=${SLIRP_NETWORK},host=${SLIRP_HOST},dns=${SLIRP_DNS},dhcpstart=${SLIRP_DHCP_START}`,
    ...["-netdev", "hubport,id=h0,hubid=0,netdev=u0"],
    ...["-netdev", `stream,id=s0,server=on,addr.type=unix,addr.path=${path}`],
    ...["-netdev", "hubport,id=h1,hubid=0,netdev=s0"],
  ];
}

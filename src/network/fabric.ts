// The fabric: what joins the guests of one data directory to one another, to the host and to the world. Two kinds,
// one promise (`test/support/network-fabric-suite.ts` holds both to it):
//
//   kernel   a network namespace with a routed tap per guest and nftables (`kernel-fabric.ts`); as root, or as an
//            ordinary user in a user namespace
//   user     a switch of our own over QEMU's stream netdevs (`user-fabric.ts`); needs nothing but QEMU and Node
//
// Everything that carries packets is a detached process: guests go on while no server runs, and the next server adopts
// what it finds. All names and sockets lie in the fabric's directory or in its own namespace, so any number of data
// directories share a machine.
import type { InstanceId } from "../base/ids.ts";
import type { Log } from "../base/log.ts";
import type { Nic, NicAttachment, SecurityGroupRules } from "../model/nic.ts";
import { type KernelMode, knownMode, openKernelFabric, probeKernel } from "./kernel-fabric.ts";
import { openUserFabric, probeUser } from "./user-fabric.ts";

export interface FabricProcess {
  readonly name: "holder" | "agent" | "slirp4netns" | "switch" | "router";
  /** null: not running just now; it is being started again. */
  readonly pid: number | null;
}

export interface FabricStatus {
  readonly kind: "kernel" | "user";
  /** Why this kind, and what is not as it should be; each one sentence. */
  readonly notes: readonly string[];
  readonly instances: number;
  readonly processes: readonly FabricProcess[];
}

export interface Fabric {
  readonly kind: "kernel" | "user";

  /**
   * Makes an instance's place on the network: afterwards its first packet is answered. Idempotent; a nic whose groups,
   * public address or metadata options differ from before is changed in place, under a live guest.
   * Call it at each start of the machine: the launcher names a process that may have changed.
   */
  addInstance(nic: Nic): Promise<NicAttachment>;

  /** Takes it away, and all its connections. Idempotent. The guest should have ended: it loses its cable. */
  removeInstance(instanceId: InstanceId): Promise<void>;

  /**
   * All security groups in force, and, where given, all nics as they should now be (a changed membership). In force on
   * live guests when it returns, each group in one step. What answers an earlier allowed flow stays allowed, as in EC2.
   */
  setRules(groups: readonly SecurityGroupRules[], nics?: readonly Nic[]): Promise<void>;

  /** IMDS on or off, and its hop limit, at once. */
  setMetadata(instanceId: InstanceId, metadata: Nic["metadata"]): Promise<void>;

  /** At a server's start: these instances and no others. What already runs is not disturbed. */
  sync(nics: readonly Nic[], groups: readonly SecurityGroupRules[]): Promise<void>;

  /** The instances that have a place now. */
  nics(): readonly Nic[];

  status(): FabricStatus;

  /** Stops watching, for a server that ends while its guests go on. */
  close(): Promise<void>;

  /** Ends every process of the fabric and whatever it holds in the kernel. Guests should have ended. */
  stop(): Promise<void>;
}

export interface FabricOptions {
  /** The fabric's own; made when absent, mode 0700. At most `MAX_DIRECTORY_BYTES` long. */
  readonly directory: string;
  readonly log: Log;
  /** Unix socket where the server's metadata listener is, or will be. */
  readonly metadataSocket: string;
  /** Unix socket where the server answers API calls that guests make. */
  readonly apiSocket: string;
  /** Domain of computed names, `ec2.internal` by default. */
  readonly dnsName?: string;
  readonly prefer?: "kernel" | "user";
  /** Owner of the taps where QEMU runs as another user than the server. */
  readonly guestUid?: number;
  /** The host's own addresses, which guests must not reach. Tests give their own. */
  readonly hostAddresses?: () => readonly string[];
}

/** A unix socket's path has at most 107 bytes, and a guest's is `/i-0123456789abcdef0.net` below the directory. */
export const MAX_DIRECTORY_BYTES = 107 - 24;

/** Probes by doing, best first: namespace as root, namespace in a user namespace, user space. Costs some 50 ms. */
export async function openFabric(options: FabricOptions): Promise<Fabric> {
  if (Buffer.byteLength(options.directory) > MAX_DIRECTORY_BYTES) {
    throw new Error(
      `the path of the network's directory is longer than ${MAX_DIRECTORY_BYTES} bytes: ${options.directory}`,
    );
  }
  const refusals: string[] = [];
  if (options.prefer !== "user") {
    const known = knownMode(options.directory);
    if (known !== null) return openKernelFabric(known, options, refusals);
    for (const mode of ["root", "rootless"] satisfies KernelMode[]) {
      const refusal = await probeKernel(mode);
      if (refusal === null) return openKernelFabric(mode, options, refusals);
      refusals.push(`no kernel network ${mode === "root" ? "as root" : "in a user namespace"}: ${refusal}`);
    }
    if (options.prefer === "kernel") throw new Error(refusals.join("; "));
  }
  const refusal = await probeUser();
  if (refusal !== null) throw new Error(`no network is possible here: ${[...refusals, refusal].join("; ")}`);
  return openUserFabric(options, refusals);
}

// The network as the host's reconciler uses it: the fabric, and the public addresses that lead into it.
import type { HostNetwork } from "../compute/host-parts.ts";
import type { Fabric } from "../network/fabric.ts";
import type { PublicAddresses } from "../network/public-addresses.ts";

export function hostNetwork(fabric: Fabric, addresses: PublicAddresses): HostNetwork {
  return {
    async addInstance(nic) {
      const attachment = await fabric.addInstance(nic);
      await addresses.sync();
      return attachment;
    },
    async removeInstance(id) {
      await fabric.removeInstance(id);
      await addresses.sync();
    },
    async setRules(groups, nics) {
      // Only those that have a place already: the others get theirs when their machine starts.
      const placed = new Set(fabric.nics().map((nic) => nic.instanceId));
      await fabric.setRules(
        groups,
        nics.filter((nic) => placed.has(nic.instanceId)),
      );
      await addresses.sync();
    },
    async sync(nics, groups) {
      await fabric.sync(nics, groups);
      await addresses.sync();
    },
  };
}

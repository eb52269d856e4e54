// The network as the host's reconciler uses it: the fabric, and the public addresses that lead into it.
import type { HostNetwork } from "../compute/host-parts.ts";
import type { SecurityGroupRules } from "../model/nic.ts";
import type { Fabric } from "../network/fabric.ts";
import type { Forwarder } from "../network/forwarder.ts";

export function hostNetwork(fabric: Fabric, forwarder: Forwarder): HostNetwork {
  let inForce: readonly SecurityGroupRules[] = [];
  const forward = () => forwarder.sync(fabric.nics(), inForce);
  return {
    async addInstance(nic) {
      const attachment = await fabric.addInstance(nic);
      await forward();
      return attachment;
    },
    async removeInstance(id) {
      await fabric.removeInstance(id);
      await forward();
    },
    async setRules(groups, nics) {
      // Only those that have a place already: the others get theirs when their machine starts.
      const placed = new Set(fabric.nics().map((nic) => nic.instanceId));
      await fabric.setRules(
        groups,
        nics.filter((nic) => placed.has(nic.instanceId)),
      );
      inForce = groups;
      await forward();
    },
    async sync(nics, groups) {
      await fabric.sync(nics, groups);
      inForce = groups;
      await forward();
    },
  };
}

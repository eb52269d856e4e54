import type { InstanceMetadata } from "./instance-metadata.ts";

/** The instance identity document, byte for byte in EC2's layout: signatures are over these bytes. */
export function identityDocument(instance: InstanceMetadata): string {
  const document = {
    accountId: instance.accountId,
    architecture: instance.architecture,
    availabilityZone: instance.availabilityZone,
    billingProducts: null,
    devpayProductCodes: null,
    marketplaceProductCodes: null,
    imageId: instance.imageId,
    instanceId: instance.instanceId,
    instanceType: instance.instanceType,
    kernelId: null,
    pendingTime: `${instance.launchTime.toISOString().slice(0, 19)}Z`,
    privateIp: instance.privateIp,
    ramdiskId: null,
    region: instance.region,
    version: "2017-09-30",
  };
  const lines = Object.entries(document).map(([name, value]) => `  "${name}" : ${JSON.stringify(value)}`);
  return `{\n${lines.join(",\n")}\n}`;
}

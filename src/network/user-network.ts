// The router QEMU's own network, in which each guest has an alias. Link-local: no VPC may use it, and guests' packets
// to link-local addresses never leave the switch, so it hides nothing from them.
export const SLIRP_NETWORK = "169.254.0.0/17";
export const SLIRP_HOST = "169.254.0.2";
export const SLIRP_DNS = "169.254.0.3";
export const SLIRP_DHCP_START = "169.254.0.15";
/** Offset of the first alias in the network. */
export const ALIAS_FIRST = 256;
export const ALIAS_COUNT = 32_000;

/** In the fabric's directory; QEMU listens on it. */
export const ROUTER_SOCKET = "router.net";

// How the network tells the metadata service and the API which guest asks. The network's relay sets these headers and drops
// any header of the guest's that starts like them; the server believes them on its own unix sockets and nowhere else.

/** Every header that begins so is ours; lower case. */
export const TRUSTED_HEADER_PREFIX = "x-ingot-";
/** The guest's private address. */
export const GUEST_ADDRESS_HEADER = "x-ingot-guest-address";
/** Its instance id, as the fabric was told. */
export const GUEST_INSTANCE_HEADER = "x-ingot-guest-instance";

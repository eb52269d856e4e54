import { ipHex } from "./address.ts";

/** `tapac1f0506` for 172.31.5.6: no table of names is needed, and `tap*` means all guests. */
export const tapName = (privateIp: string): string => `tap${ipHex(privateIp)}`;

// Connections from the host to guests, through the fabric's own process: the agent or the switch, whichever its state names.
import { join } from "node:path";
import type { Duplex } from "node:stream";
import { setTimeout as delay } from "node:timers/promises";
import { dial } from "./control.ts";
import { stateReader } from "./fabric-state.ts";

/** That process is started again within a second of its end. */
const CARRIER_WAIT_MS = 3_000;

/**
 * A TCP connection to a guest, past its groups: the caller has checked them (`forwarder.ts`).
 * @throws Error whose chain holds the system code: ECONNREFUSED, ETIMEDOUT, EHOSTUNREACH
 */
export type GuestDial = (privateIp: string, port: number) => Promise<Duplex>;

/** @param directory  the fabric's */
export function guestDial(directory: string): GuestDial {
  const state = stateReader(directory);
  return async (privateIp, port) => {
    const giveUpAt = performance.now() + CARRIER_WAIT_MS;
    for (;;) {
      try {
        return await dial(join(directory, `${state().carrier}.sock`), privateIp, port);
      } catch (error) {
        // What the carrier says of a guest is an answer; that it is not there, is not.
        const absent = error instanceof Error && error.cause instanceof Error && "syscall" in error.cause;
        if (!absent || performance.now() > giveUpAt) throw error;
        await delay(50);
      }
    }
  };
}

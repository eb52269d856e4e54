// The network's agent: the one process of ours inside the kernel fabric's namespace. DHCP, DNS, the way to the metadata
// service and to the API, and connections from the host to guests.
//
// Started as `node agent.ts DIRECTORY`. It decides nothing and keeps nothing: what it knows is the state file, and it
// may be killed and started again at any time. Who asks is the packet's source address: nftables drops a guest's packet
// that does not carry the guest's own.
import { createSocket, type Socket } from "node:dgram";
import { connect, createServer } from "node:net";
import { join } from "node:path";
import type { Duplex } from "node:stream";
import { API_PORT, LINK_LOCAL_RESOLVER, METADATA_IP, resolverOf } from "./address.ts";
import { controlServer, DIAL_TIMEOUT_MS } from "./control.ts";
import { answerDhcp, parseDhcp } from "./dhcp.ts";
import { endWithDirectory } from "./directory-gone.ts";
import { stateReader } from "./fabric-state.ts";
import { apiRelay, metadataRelay } from "./guest-relay.ts";
import { Resolver } from "./resolver.ts";

const directory = process.argv[2];
if (directory === undefined) throw new Error("usage: agent DIRECTORY");
const state = stateReader(directory);
const resolver = new Resolver(state);

await serveDhcp();
await serveDnsTcp();
await new Promise<void>((resolve) => metadataRelay(state).listen(80, METADATA_IP, resolve));
await new Promise<void>((resolve) => apiRelay(state).listen(API_PORT, METADATA_IP, resolve));
const dnsSockets = new Map<string, Socket>();
await serveDns();
// Last: who can connect here finds everything else in place.
await controlServer(join(directory, "agent.sock"), { dial: dialGuest, reload: serveDns });
endWithDirectory(directory, ["holder", "slirp4netns"]);

function serveDhcp(): Promise<void> {
  const socket = createSocket({ type: "udp4", reuseAddr: true });
  socket.on("message", (packet) => {
    const question = parseDhcp(packet);
    const nic = question === null ? undefined : state().byMac.get(question.mac);
    if (question === null || nic === undefined) return;
    const answer = answerDhcp(question, nic);
    if (answer !== null) socket.send(answer, 68, nic.privateIp, () => {}); // its tap may just have gone
  });
  return new Promise((resolve) => socket.bind(67, "0.0.0.0", resolve));
}

/** A socket for each resolver address: an answer has to come from the address that was asked. */
async function serveDns(): Promise<void> {
  const wanted = new Set([LINK_LOCAL_RESOLVER, ...state().nics.map((nic) => resolverOf(nic.vpcCidr))]);
  for (const address of wanted) {
    if (dnsSockets.has(address)) continue;
    const socket = createSocket({ type: "udp4", reuseAddr: true });
    dnsSockets.set(address, socket);
    socket.on("message", async (packet, from) => {
      const answer = await resolver.answer(packet, from.address, "udp");
      if (answer !== null) socket.send(answer, from.port, from.address, () => {});
    });
    await new Promise<void>((resolve, reject) => {
      socket.once("error", (error) => {
        dnsSockets.delete(address);
        reject(error);
      });
      socket.bind(53, address, resolve);
    });
  }
}

function serveDnsTcp(): Promise<void> {
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    resolver.serve(socket, socket.remoteAddress ?? "");
  });
  server.maxConnections = 256;
  return new Promise((resolve) => server.listen(53, "0.0.0.0", resolve));
}

/** The host may reach only guests by this way, not the namespace's own services or the world. */
function dialGuest(ip: string, port: number): Promise<Duplex> {
  if (!state().byIp.has(ip))
    return Promise.reject(Object.assign(new Error(`no guest has ${ip}`), { code: "EHOSTUNREACH" }));
  return new Promise((resolve, reject) => {
    const socket = connect({ host: ip, port, allowHalfOpen: true, noDelay: true });
    const timer = setTimeout(() => {
      socket.destroy(Object.assign(new Error("the guest does not answer"), { code: "ETIMEDOUT" }));
    }, DIAL_TIMEOUT_MS);
    socket.on("error", reject);
    socket.on("connect", () => {
      clearTimeout(timer);
      resolve(socket);
    });
  });
}

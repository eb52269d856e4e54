// What every network fabric promises, shown with real guests. A new fabric calls this before anything uses it.
//
// Two guests of one VPC and one of another stay up throughout; each test first says which groups are in force.
import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { mkdtempSync, readdirSync, readlinkSync, rmSync } from "node:fs";
import { createServer as createHttpServer, type IncomingHttpHeaders } from "node:http";
import { connect, createServer, type Server, type Socket } from "node:net";
import { networkInterfaces } from "node:os";
import { join } from "node:path";
import type { Duplex } from "node:stream";
import { after, before, describe, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import type { InstanceId, SecurityGroupId, VpcId } from "../../src/base/ids.ts";
import { silentLog } from "../../src/base/log.ts";
import type { Nic, SecurityGroupRules, SecurityRule } from "../../src/model/nic.ts";
import type { Fabric, FabricOptions } from "../../src/network/fabric.ts";
import { Forwarder } from "../../src/network/forwarder.ts";
import { guestDial } from "../../src/network/guest-dial.ts";
import { startTicksOf } from "../../src/network/process-record.ts";
import { bootGuest, type Guest, prepareGuest } from "./network-guest.ts";

const ONE = "sg-000000000000000a1" as SecurityGroupId;
const TWO = "sg-000000000000000b2" as SecurityGroupId;
const anywhere = { kind: "cidr", cidr: "0.0.0.0/0" } as const;
const all: SecurityRule = { protocol: "all", fromPort: null, toPort: null, peer: anywhere };
const tcp = (port: number, peer: SecurityRule["peer"] = anywhere): SecurityRule => ({
  protocol: 6,
  fromPort: port,
  toPort: port,
  peer,
});
const group = (
  groupId: SecurityGroupId,
  ingress: SecurityRule[],
  egress: SecurityRule[] = [all],
): SecurityGroupRules => ({
  groupId,
  ingress,
  egress,
});

const nic = (number: number, vpc: 1 | 2, groups: SecurityGroupId[], more: Partial<Nic> = {}): Nic => ({
  instanceId: `i-0000000000000000${number}` as InstanceId,
  mac: `02:00:00:00:00:1${number}`,
  privateIp: vpc === 1 ? `172.31.5.${number}` : `10.77.0.${number}`,
  publicIp: null,
  vpcId: `vpc-0000000${vpc}` as VpcId,
  vpcCidr: vpc === 1 ? "172.31.0.0/16" : "10.77.0.0/16",
  subnetCidr: vpc === 1 ? "172.31.0.0/20" : "10.77.0.0/24",
  hostname: vpc === 1 ? `ip-172-31-5-${number}.ec2.internal` : `ip-10-77-0-${number}.ec2.internal`,
  securityGroups: groups,
  metadata: { enabled: true, hopLimit: 1 },
  ...more,
});

/** Does a GET of the guest's small web server come through? One try, two seconds. */
const fetches = async (guest: Guest, ip: string, port = 8080): Promise<boolean> =>
  (await guest.run(`printf 'GET /hello HTTP/1.0\\r\\n\\r\\n' | nc -w 2 ${ip} ${port}`)).includes("hello from");

const pings = async (guest: Guest, ip: string): Promise<boolean> =>
  (await guest.run(`ping -c 1 -W 2 ${ip}`)).includes("1 packets received");

/** A metadata request as a guest's shell would make it; the whole answer. */
const metadata = (guest: Guest, request: string): Promise<string> =>
  guest.run(`printf '${request}' | nc -w 5 169.254.169.254 80`);

/** The same to the API. */
const api = (guest: Guest, request: string): Promise<string> =>
  guest.run(`printf '${request}' | nc -w 5 169.254.169.254 8773`);

async function until(what: string, is: () => boolean | Promise<boolean>): Promise<void> {
  const giveUpAt = performance.now() + 30_000;
  while (!(await is())) {
    if (performance.now() > giveUpAt) throw new Error(`not so after 30 s: ${what}`);
    await delay(20);
  }
}

/** To its end. Not by `for await`, which destroys the stream then, and with it the half that still writes. */
function collect(stream: Duplex): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    stream.on("data", (chunk: Buffer) => chunks.push(chunk));
    stream.on("end", () => resolve(Buffer.concat(chunks)));
    stream.on("error", reject);
  });
}

const alive = (pid: number | null): boolean => pid !== null && startTicksOf(pid) !== null;

function processesIn(namespace: string | null): string[] {
  return readdirSync("/proc").filter((pid) => {
    try {
      return /^\d+$/.test(pid) && namespace !== null && readlinkSync(`/proc/${pid}/ns/net`) === namespace;
    } catch {
      return false;
    }
  });
}

export function fabricSuite(name: string, open: (options: FabricOptions) => Promise<Fabric>): void {
  const reason = prepareGuest();
  describe(name, { skip: reason ?? false, timeout: 600_000 }, () => {
    const directory = mkdtempSync("/tmp/network-suite-");
    const a = nic(1, 1, [ONE]);
    const b = nic(2, 1, [TWO], { publicIp: "127.83.77.2" });
    const c = nic(3, 2, [ONE]);
    const requests: { method: string; url: string; headers: IncomingHttpHeaders }[] = [];
    let hidden: string[] = [];
    const options: FabricOptions = {
      directory: join(directory, "net"),
      log: silentLog,
      metadataSocket: join(directory, "metadata.sock"),
      apiSocket: join(directory, "api.sock"),
      hostAddresses: () => hidden,
    };
    const dial = guestDial(options.directory);
    let fabric: Fabric;
    const guests: Guest[] = [];
    let [A, B, C]: Guest[] = [];

    const metadataServer = createHttpServer((request, response) => {
      requests.push({ method: request.method ?? "", url: request.url ?? "", headers: request.headers });
      response.end(`you are ${request.headers["x-ingot-guest-address"]}`);
    });

    const apiServer = createHttpServer((request, response) => {
      let body = "";
      request.setEncoding("utf8").on("data", (text: string) => {
        body += text;
      });
      request.on("end", () => {
        response.end(`${request.headers["x-ingot-guest-address"]} calls ${request.headers.host} with ${body}`);
      });
    });

    before(async () => {
      await new Promise<void>((resolve) => apiServer.listen(options.apiSocket, resolve));
      await new Promise<void>((resolve) => metadataServer.listen(options.metadataSocket, resolve));
      fabric = await open(options);
      await fabric.setRules([group(ONE, [all]), group(TWO, [all])]);
      const attachments = await Promise.all([a, b, c].map((n) => fabric.addInstance(n)));
      for (const [i, n] of [a, b, c].entries()) guests.push(await bootGuest(n, attachments[i]!, directory));
      [A, B, C] = guests;
      for (const [i, guest] of guests.entries()) {
        await guest.run("udhcpc -i eth0 -n -q -t 10");
        await guest.run(
          `mkdir -p /www; echo hello from ${i} >/www/hello; httpd -p 8080 -h /www; httpd -p 8081 -h /www`,
        );
      }
    });
    after(async () => {
      for (const guest of guests) await guest.kill();
      await fabric?.stop();
      metadataServer.closeAllConnections();
      metadataServer.close();
      apiServer.closeAllConnections();
      apiServer.close();
      rmSync(directory, { recursive: true });
    });

    /** Both groups, and A in ONE, B in TWO, C in ONE. */
    const rules = (one: SecurityGroupRules, two: SecurityGroupRules) => fabric.setRules([one, two], [a, b, c]);

    test("DHCP gives the fixed address, gateway, resolver and MTU", async () => {
      const text = await A!.run("ip addr show eth0; ip route; cat /etc/resolv.conf; cat /run/dhcp");
      assert.match(text, /inet 172\.31\.5\.1\/20 /);
      assert.match(text, /default via 172\.31\.0\.1 dev eth0/);
      assert.match(text, /nameserver 172\.31\.0\.2/);
      assert.match(text, /mtu 9001/);
      assert.match(text, /hostname='ip-172-31-5-1'/);
      assert.match(text, /domain='ec2\.internal'/);
      assert.match(await C!.run("ip addr show eth0"), /inet 10\.77\.0\.3\/24 /);
    });

    test("DHCP refuses another guest's remembered address, and then gives the right one", async () => {
      const text = await A!.run("udhcpc -i eth0 -n -q -t 10 -r 172.31.5.77");
      assert.match(text, /lease of 172\.31\.5\.1 obtained/);
    });

    test("a guest is reached on the ports that its groups let in, and no others", async () => {
      await rules(group(ONE, []), group(TWO, [tcp(8080)]));
      assert.equal(await fetches(A!, b.privateIp, 8080), true);
      assert.equal(await fetches(A!, b.privateIp, 8081), false);
      assert.equal(await pings(A!, b.privateIp), false);
    });

    test("a rule for members of a group follows membership and rules, live", async () => {
      const members = group(TWO, [tcp(8080, { kind: "group", groupId: ONE })]);
      await rules(group(ONE, []), members);
      assert.equal(await fetches(A!, b.privateIp), true);
      await fabric.setRules([group(ONE, []), members], [{ ...a, securityGroups: [TWO] }]);
      assert.equal(await fetches(A!, b.privateIp), false);
      await fabric.setRules([group(ONE, []), members], [{ ...a, securityGroups: [TWO, ONE] }]);
      assert.equal(await fetches(A!, b.privateIp), true);
      await fabric.setRules([group(ONE, []), group(TWO, [])]);
      assert.equal(await fetches(A!, b.privateIp), false);
    });

    test("groups are stateful: an answer passes where a question would not", async () => {
      // B may not speak of itself, A lets nobody in; yet A's questions to B are answered.
      await rules(group(ONE, []), group(TWO, [all], []));
      assert.equal(await fetches(A!, b.privateIp), true);
      assert.equal(await pings(A!, b.privateIp), true);
      assert.equal(await pings(B!, a.privateIp), false);
      assert.equal(await fetches(B!, a.privateIp), false);
    });

    test("what a guest's groups do not let out stays in, though the other would let it in", async () => {
      await rules(group(ONE, [], [tcp(8081)]), group(TWO, [all]));
      assert.equal(await fetches(A!, b.privateIp, 8080), false);
      assert.equal(await fetches(A!, b.privateIp, 8081), true);
    });

    test("UDP, ICMP types and CIDR blocks are told apart", async () => {
      // Nothing listens at B's port 53: it says so by ICMP, which comes back as part of the flow, though B may send nothing.
      const asks = async () => (await A!.run("nslookup -type=a marco 172.31.5.2")).includes("Connection refused");
      const udp = (peer: SecurityRule["peer"]): SecurityRule => ({ protocol: 17, fromPort: 50, toPort: 60, peer });
      await rules(group(ONE, []), group(TWO, [udp({ kind: "cidr", cidr: "172.31.5.0/31" })], []));
      assert.equal(await asks(), true);
      assert.equal(await pings(A!, b.privateIp), false);
      await rules(group(ONE, []), group(TWO, [udp({ kind: "cidr", cidr: "172.31.5.2/31" })], []));
      assert.equal(await asks(), false);
      await rules(group(ONE, []), group(TWO, [tcp(53)], []));
      assert.equal(await asks(), false);
      await rules(group(ONE, []), group(TWO, [{ protocol: 1, fromPort: 8, toPort: -1, peer: anywhere }]));
      assert.equal(await pings(A!, b.privateIp), true);
      assert.equal(await fetches(A!, b.privateIp), false);
      await rules(group(ONE, []), group(TWO, [{ protocol: 1, fromPort: 13, toPort: -1, peer: anywhere }]));
      assert.equal(await pings(A!, b.privateIp), false);
    });

    test("a guest cannot send under another address, free or taken", async () => {
      await rules(group(ONE, [all]), group(TWO, [all]));
      const seen = B!.frames().length;
      for (const forged of ["172.31.5.99", "172.31.5.2", "10.77.0.3"]) {
        await A!.run(
          `ip addr add ${forged}/32 dev eth0; ping -c 1 -W 1 -I ${forged} 172.31.5.2; ip addr del ${forged}/32 dev eth0`,
        );
      }
      assert.equal(await pings(A!, b.privateIp), true); // so whatever was to come has come
      const sources = B!
        .frames()
        .slice(seen)
        .filter(isIpv4)
        .map((frame) => frame.subarray(26, 30).join("."));
      assert.ok(sources.includes("172.31.5.1"));
      assert.deepEqual(
        sources.filter((source) => source === "172.31.5.99" || source === "10.77.0.3"),
        [],
      );
    });

    test("two VPCs never meet, whatever their groups say", async () => {
      await rules(group(ONE, [all]), group(TWO, [all]));
      assert.equal(await pings(A!, c.privateIp), false);
      assert.equal(await fetches(A!, c.privateIp), false);
      assert.equal(await fetches(C!, b.privateIp), false);
      assert.equal(await fetches(A!, b.privateIp), true);
    });

    test("a free address of the subnet does not seem to be taken", async () => {
      assert.match(await A!.run("arping -D -c 1 -w 1 -I eth0 172.31.5.200"), /Received 0 response/);
      assert.match(await A!.run("arping -D -c 1 -w 1 -I eth0 172.31.5.1"), /Received 0 response/);
    });

    test("the metadata service is told who asks, and no guest can say it is another", async () => {
      assert.match(await metadata(A!, "GET /latest/ HTTP/1.0\\r\\n\\r\\n"), /you are 172\.31\.5\.1/);
      assert.match(await metadata(C!, "GET /latest/ HTTP/1.0\\r\\n\\r\\n"), /you are 10\.77\.0\.3/);
      requests.length = 0;
      const forged =
        "GET /x?y=1 HTTP/1.1\\r\\nHost: h\\r\\nX-Ingot-Guest-Address: 172.31.5.1\\r\\nX-aws-ec2-metadata-token: t\\r\\nConnection: close\\r\\n\\r\\n";
      assert.match(await metadata(B!, forged), /you are 172\.31\.5\.2/);
      const [request] = requests;
      assert.equal(request?.url, "/x?y=1");
      assert.equal(request?.headers["x-ingot-guest-address"], "172.31.5.2");
      assert.equal(request?.headers["x-ingot-guest-instance"], b.instanceId);
      assert.equal(request?.headers["x-aws-ec2-metadata-token"], "t");
      assert.equal(request?.headers.host, "h");
    });

    test("the API is reached from every guest, whatever its groups and metadata options, and told which one calls", async () => {
      const call =
        "POST / HTTP/1.1\\r\\nHost: 169.254.169.254:8773\\r\\nX-Ingot-Guest-Address: 172.31.5.1\\r\\nContent-Length: 9\\r\\nConnection: close\\r\\n\\r\\nAction=It";
      assert.match(await api(A!, call), /172\.31\.5\.1 calls 169\.254\.169\.254:8773 with Action=It/);
      await rules(group(ONE, [], []), group(TWO, [], []));
      await fabric.setMetadata(b.instanceId, { enabled: false, hopLimit: 1 });
      assert.match(await api(B!, call), /172\.31\.5\.2 calls 169\.254\.169\.254:8773 with Action=It/);
      await fabric.setMetadata(b.instanceId, { enabled: true, hopLimit: 1 });
      assert.match(await api(C!, call), /10\.77\.0\.3 calls/);
      await rules(group(ONE, [all]), group(TWO, [all]));
    });

    test("a token travels as many hops as the instance's options allow; changed live", async () => {
      const put = "PUT /latest/api/token HTTP/1.0\\r\\nX-aws-ec2-metadata-token-ttl-seconds: 60\\r\\n\\r\\n";
      const hops = async (request: string): Promise<number[]> => {
        const seen = A!.frames().length;
        assert.match(await metadata(A!, request), /you are/);
        const answers = A!
          .frames()
          .slice(seen)
          .filter((frame) => isIpv4(frame) && frame.subarray(26, 30).join(".") === "169.254.169.254");
        return answers.filter((frame) => frame.toString("latin1").includes("you are")).map((frame) => frame[22]!);
      };
      await fabric.setMetadata(a.instanceId, { enabled: true, hopLimit: 1 });
      assert.deepEqual(await hops(put), [1]);
      assert.deepEqual(await hops("GET / HTTP/1.0\\r\\n\\r\\n"), [64]);
      await fabric.setMetadata(a.instanceId, { enabled: true, hopLimit: 3 });
      assert.deepEqual(await hops(put), [3]);
      await fabric.setMetadata(a.instanceId, { enabled: false, hopLimit: 1 });
      assert.match(await metadata(A!, put), /403 Forbidden/);
      await fabric.setMetadata(a.instanceId, { enabled: true, hopLimit: 1 });
      assert.match(await metadata(A!, put), /you are/);
    });

    test("DNS: computed names, names back, public names inside, unknown names, the world's", async () => {
      assert.match(await A!.run("nslookup ip-172-31-7-9.ec2.internal"), /Address: 172\.31\.7\.9/);
      assert.match(await A!.run("nslookup ip-172-31-7-9.ec2.internal 169.254.169.253"), /Address: 172\.31\.7\.9/);
      assert.match(await A!.run("nslookup 172.31.5.2"), /name = ip-172-31-5-2\.ec2\.internal/);
      assert.match(await A!.run("nslookup ec2-127-83-77-2.compute-1.amazonaws.com"), /Address: 172\.31\.5\.2/);
      assert.match(await C!.run("nslookup ec2-127-83-77-2.compute-1.amazonaws.com"), /NXDOMAIN/);
      assert.match(await A!.run("nslookup nothing.ec2.internal"), /NXDOMAIN/);
      // Over TCP: one question for ip-10-0-0-1.ec2.internal, type A.
      const question =
        "\\x00\\x2a\\x12\\x34\\x01\\x00\\x00\\x01\\x00\\x00\\x00\\x00\\x00\\x00\\x0bip-10-0-0-1\\x03ec2\\x08internal\\x00\\x00\\x01\\x00\\x01";
      const answer = await A!.run(`printf '${question}' | nc -w 3 172.31.0.2 53 | hexdump -v -e '/1 "%02x"'`);
      assert.match(answer, /^003a12348[45]80.*0a000001$/);
    });

    test("the host dials guests past their groups: bytes both ways, each side ending by itself", async () => {
      await rules(group(ONE, [], []), group(TWO, []));
      await A!.run("(nc -l -p 7000 >/tmp/got </www/hello) & sleep 0.2");
      const stream = await dial(a.privateIp, 7000);
      const sent = randomBytes(1_500_000);
      stream.end(sent);
      assert.equal((await collect(stream)).toString(), "hello from 0\n");
      // The guest has said all that it had to say, and may still be reading.
      await A!.run("while [ $(wc -c </tmp/got) -lt 1500000 ]; do sleep 0.1; done");
      assert.match(await A!.run("sha256sum /tmp/got"), new RegExp(createHash("sha256").update(sent).digest("hex")));
      await A!.run(
        "dd if=/dev/urandom of=/tmp/sent bs=1000 count=1500; (nc -l -p 7001 </tmp/sent >/dev/null) & sleep 0.2",
      );
      const other = await dial(a.privateIp, 7001);
      const got = await collect(other); // busybox nc leaves when the other side ends first
      other.end();
      assert.match(await A!.run("sha256sum /tmp/sent"), new RegExp(createHash("sha256").update(got).digest("hex")));
    });

    test("dialling where nobody listens is refused, and where no guest is, unreachable", async () => {
      await assert.rejects(dial(a.privateIp, 7999), causedBy("ECONNREFUSED"));
      await assert.rejects(dial("172.31.9.9", 22), causedBy("EHOSTUNREACH"));
    });

    test("a public address answers on the ports that the groups open to the client, and follows the rules", async (t) => {
      const forwarder = new Forwarder(dial, silentLog);
      t.after(() => forwarder.close());
      const sync = (ingress: SecurityRule[]) => forwarder.sync([a, b, c], [group(ONE, [all]), group(TWO, ingress)]);
      await sync([tcp(8080, { kind: "cidr", cidr: "127.0.0.0/8" }), tcp(7998)]);
      const answer = await collectFrom("127.83.77.2", 8080, "GET /hello HTTP/1.0\r\n\r\n");
      assert.match(answer, /hello from 1/);
      // Open in the group, but nothing listens in the guest: a reset, not an empty answer.
      await assert.rejects(collectFrom("127.83.77.2", 7998, "x"), { code: "ECONNRESET" });
      await assert.rejects(collectFrom("127.83.77.2", 8081, "x"), { code: "ECONNREFUSED" });
      await sync([tcp(8081), tcp(8080, { kind: "cidr", cidr: "127.9.9.9/32" })]);
      assert.match(await collectFrom("127.83.77.2", 8081, "GET /hello HTTP/1.0\r\n\r\n"), /hello from 1/);
      await assert.rejects(collectFrom("127.83.77.2", 8080, "x"), { code: "ECONNRESET" });
      assert.match(await collectFrom("127.83.77.2", 8080, "GET /hello HTTP/1.0\r\n\r\n", "127.9.9.9"), /hello from 1/);
      await sync([]);
      await assert.rejects(collectFrom("127.83.77.2", 8081, "x"), { code: "ECONNREFUSED" });
    });

    const own = Object.values(networkInterfaces()).flatMap((l) =>
      (l ?? []).filter((i) => i.family === "IPv4" && !i.internal),
    );
    test("guests reach the world, but none of the host's own addresses", {
      skip: own.length === 0 && "no address but loopback",
    }, async (t) => {
      const address = own[0]!.address;
      const server = await echoServer(t, address);
      const port = (server.address() as { port: number }).port;
      const asks = async (ip: string) => (await A!.run(`echo marco | nc -w 3 ${ip} ${port}`)).includes("marco");
      t.after(() => {
        hidden = [];
      });
      // The host's address stands for the world as long as the fabric is not told that it is the host's.
      hidden = [];
      await rules(group(ONE, [], [tcp(port)]), group(TWO, []));
      assert.equal(await asks(address), true);
      await rules(group(ONE, [], [tcp(port + 1)]), group(TWO, []));
      assert.equal(await asks(address), false);
      hidden = [address];
      await rules(group(ONE, [], [all]), group(TWO, [], [all]));
      assert.equal(await asks(address), false);
      // Nor loopback by the names that slirp has for it.
      const loopback = await echoServer(t, "127.0.0.1", port);
      assert.equal((loopback.address() as { port: number }).port, port);
      for (const gateway of ["169.254.2.2", "169.254.0.2", "10.0.2.2", "172.31.0.1", "0.0.0.0"]) {
        assert.equal(await asks(gateway), false, gateway);
      }
    });

    test("the process that carries requests may be killed: it is started again, and guests notice a pause", async () => {
      await rules(group(ONE, [all]), group(TWO, [all]));
      const carrier = () => fabric.status().processes.find((p) => p.name === "agent" || p.name === "switch")!.pid;
      const before = carrier();
      process.kill(before!, "SIGKILL");
      await until("another one runs", () => carrier() !== null && carrier() !== before);
      await until("guests are answered", async () =>
        (await metadata(A!, "GET / HTTP/1.0\\r\\n\\r\\n")).includes("you are"),
      );
      assert.match(await A!.run("udhcpc -i eth0 -n -q -t 10"), /lease of 172\.31\.5\.1 obtained/);
      await until("guests meet", () => fetches(A!, b.privateIp));
      (await dial(a.privateIp, 8080)).destroy();
    });

    test("so may the way out", async (t) => {
      if (own.length === 0) return t.skip("no address but loopback");
      const uplink = () => fabric.status().processes.find((p) => p.name === "slirp4netns" || p.name === "router")!.pid;
      const server = await echoServer(t, own[0]!.address);
      const port = (server.address() as { port: number }).port;
      await rules(group(ONE, [], [all]), group(TWO, []));
      const before = uplink();
      process.kill(before!, "SIGKILL");
      await until("another one runs", () => uplink() !== null && uplink() !== before);
      await until("it works", async () =>
        (await A!.run(`echo marco | nc -w 3 ${own[0]!.address} ${port}`)).includes("marco"),
      );
    });

    test("the next server adopts what runs, and drops what is not wanted", async () => {
      await rules(group(ONE, [all]), group(TWO, [tcp(8080)]));
      await fabric.addInstance(nic(9, 1, [ONE]));
      const processes = fabric.status().processes;
      await fabric.close();
      assert.equal(await fetches(A!, b.privateIp), true, "guests do not need the server");
      fabric = await open(options);
      await fabric.sync([a, b, c], [group(ONE, [all]), group(TWO, [tcp(8081)])]);
      assert.deepEqual(fabric.status().processes, processes);
      assert.deepEqual(
        fabric.nics().map((n) => n.instanceId),
        [a, b, c].map((n) => n.instanceId),
      );
      assert.equal(await fetches(A!, b.privateIp, 8080), false);
      assert.equal(await fetches(A!, b.privateIp, 8081), true);
      await assert.rejects(dial("172.31.5.9", 22), causedBy("EHOSTUNREACH"));
    });

    test("with the server away the metadata service says so at once", async () => {
      metadataServer.closeAllConnections();
      await new Promise((resolve) => metadataServer.close(resolve));
      assert.match(await metadata(A!, "GET / HTTP/1.0\\r\\n\\r\\n"), /503 Service Unavailable/);
      await new Promise<void>((resolve) => metadataServer.listen(options.metadataSocket, resolve));
      assert.match(await metadata(A!, "GET / HTTP/1.0\\r\\n\\r\\n"), /you are/);
    });

    test("an instance that is taken away has no cable", async () => {
      await rules(group(ONE, [all]), group(TWO, [all]));
      assert.equal(await fetches(A!, b.privateIp), true);
      await fabric.removeInstance(b.instanceId);
      await fabric.removeInstance(b.instanceId);
      assert.equal(await fetches(A!, b.privateIp), false);
      assert.equal(await fetches(B!, a.privateIp), false);
    });

    test("stop leaves no process behind", async () => {
      const { processes } = fabric.status();
      const pids = processes.map((p) => p.pid);
      assert.ok(pids.every(alive));
      const holder = processes.find((p) => p.name === "holder");
      const namespace = holder === undefined ? null : readlinkSync(`/proc/${holder.pid}/ns/net`);
      for (const guest of guests) await guest.kill();
      await fabric.stop();
      assert.deepEqual(pids.filter(alive), []);
      // A namespace lives as long as anyone is in it.
      assert.deepEqual(processesIn(namespace), []);
    });
  });
}

const isIpv4 = (frame: Buffer): boolean => frame.length >= 34 && frame.readUInt16BE(12) === 0x0800;

const causedBy = (code: string) => (error: unknown) => {
  for (let e: unknown = error; e instanceof Error; e = e.cause) if ("code" in e && e.code === code) return true;
  return false;
};

async function collectFrom(host: string, port: number, request: string, localAddress = "127.0.0.1"): Promise<string> {
  const socket: Socket = connect({ host, port, localAddress });
  socket.end(request);
  return (await collect(socket)).toString();
}

async function echoServer(t: { after(f: () => unknown): void }, host: string, port = 0): Promise<Server> {
  const server = createServer((socket) => {
    socket.on("error", () => {});
    socket.pipe(socket);
  });
  server.listen(port, host);
  await once(server, "listening");
  t.after(() => new Promise((resolve) => server.close(resolve)));
  return server;
}

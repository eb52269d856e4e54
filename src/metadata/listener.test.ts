import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { createPublicKey, verify, X509Certificate } from "node:crypto";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer, request } from "node:http";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { silentLog } from "../base/log.ts";
import { GUEST_ADDRESS_HEADER, GUEST_INSTANCE_HEADER } from "../model/metadata-header.ts";
import type { InstanceMetadata, MetadataOptions } from "./instance-metadata.ts";
import { listenForMetadata } from "./listener.ts";
import { openSigner } from "./signer.ts";
import { version1Use } from "./version-1-use.ts";

const web: InstanceMetadata = {
  instanceId: "i-0123456789abcdef0",
  imageId: "ami-0123456789abcdef0",
  ancestorImageIds: ["ami-0aaaaaaaaaaaaaaaa", "ami-0bbbbbbbbbbbbbbbb"],
  accountId: "111122223333",
  region: "us-east-1",
  availabilityZone: "us-east-1a",
  availabilityZoneId: "use1-az1",
  architecture: "x86_64",
  instanceType: "t3.micro",
  reservationId: "r-0123456789abcdef0",
  launchIndex: 1,
  launchTime: new Date("2026-11-24T08:00:00.250Z"),
  privateIp: "172.31.5.6",
  privateDnsName: "ip-172-31-5-6.ec2.internal",
  publicIp: "127.10.0.1",
  publicDnsName: "ec2-127-10-0-1.compute-1.amazonaws.com",
  mac: "02:00:ac:1f:05:06",
  networkInterfaceId: "eni-0123456789abcdef0",
  subnetId: "subnet-0123456789abcdef0",
  subnetCidr: "172.31.0.0/20",
  vpcId: "vpc-0123456789abcdef0",
  vpcCidr: "172.31.0.0/16",
  securityGroups: [
    { id: "sg-1", name: "default" },
    { id: "sg-2", name: "web servers" },
  ],
  keyPair: { name: "my key", publicKey: "ssh-ed25519 AAAA my key" },
  rootDeviceName: "/dev/xvda",
  dataDeviceNames: ["/dev/sdf"],
  userData: Buffer.from([0, 255, 10, 35]),
  instanceProfile: {
    arn: "arn:aws:iam::111122223333:instance-profile/builder",
    id: "AIPAEXAMPLE",
    roleName: "builder",
  },
  tags: { Name: "web 1", env: "prod" },
  options: { enabled: true, tokensRequired: false, tags: true },
};
/** A second instance, with next to nothing. */
const bare: InstanceMetadata = {
  ...web,
  instanceId: "i-0ffffffffffffffff",
  privateIp: "172.31.5.7",
  publicIp: null,
  publicDnsName: null,
  keyPair: null,
  userData: null,
  instanceProfile: null,
  ancestorImageIds: [],
  tags: {},
};

const issuedAt = new Date("2026-11-24T08:30:00.900Z");
const expiresAt = new Date("2026-11-24T14:30:00Z");

interface Guest {
  /** As the guest with this address asks. */
  ask(path: string, options?: AskOptions): Promise<Reply>;
}
interface AskOptions {
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
}
interface Reply {
  readonly status: number;
  readonly text: string;
  readonly bytes: Buffer;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
}

async function start(t: TestContext, options: Partial<MetadataOptions> = {}) {
  const directory = mkdtempSync(join(tmpdir(), "ingot-imds-"));
  const socket = join(directory, "metadata.sock");
  const signer = await openSigner(join(directory, "identity"), new Date("2026-11-24T08:00:00Z"));
  const state = { now: new Date("2026-11-24T09:00:00Z"), delivered: [] as string[], version1: [] as string[] };
  const instances = [{ ...web, options: { ...web.options, ...options } }, bare];
  const listen = (tokenKey: Uint8Array = Buffer.alloc(32, 7)) =>
    listenForMetadata({
      socket,
      signer,
      tokenKey,
      clock: { now: () => state.now },
      log: silentLog,
      onVersion1: version1Use({ now: () => state.now }, ({ instanceId }, { requests, path }) =>
        state.version1.push(`${instanceId} ${path} ${requests}`),
      ),
      source: {
        describe: async (ip) => instances.find((instance) => instance.privateIp === ip) ?? null,
        roleCredentials: async (instanceId, delivery) => {
          state.delivered.push(delivery);
          if (instanceId !== web.instanceId) return null;
          return {
            accessKeyId: "ASIAEXAMPLE",
            secretAccessKey: "secret/+",
            sessionToken: "token==",
            issuedAt,
            expiresAt,
          };
        },
      },
    });
  let listener = await listen();
  t.after(async () => {
    await listener.close();
    rmSync(directory, { recursive: true, force: true });
  });
  const guest = (address: string): Guest => ({
    ask: (path, { method = "GET", headers = {} } = {}) =>
      new Promise((resolve, reject) => {
        const asked = request(
          { socketPath: socket, path, method, headers: { ...headers, [GUEST_ADDRESS_HEADER]: address } },
          async (response) => {
            const bytes = Buffer.concat(await response.toArray());
            resolve({ status: response.statusCode ?? 0, text: bytes.toString(), bytes, headers: response.headers });
          },
        );
        asked.on("error", reject);
        asked.end();
      }),
  });
  const restart = async (tokenKey?: Buffer) => {
    await listener.close();
    listener = await listen(tokenKey);
  };
  return { directory, socket, signer, state, restart, guest, web: guest(web.privateIp), bare: guest(bare.privateIp) };
}

const TTL = "X-aws-ec2-metadata-token-ttl-seconds";
const TOKEN = "X-aws-ec2-metadata-token";
const login = async (guest: Guest, ttl = 21600): Promise<string> =>
  (await guest.ask("/latest/api/token", { method: "PUT", headers: { [TTL]: String(ttl) } })).text;

test("every path of the tree gives what EC2 gives", async (t) => {
  const imds = await start(t);
  const mac = `network/interfaces/macs/${web.mac}`;
  const expected: Readonly<Record<string, string>> = {
    "": [
      "ami-id",
      "ami-launch-index",
      "ami-manifest-path",
      "ancestor-ami-ids",
      "block-device-mapping/",
      "events/",
      "hibernation/",
      "hostname",
      "iam/",
      "instance-action",
      "instance-id",
      "instance-life-cycle",
      "instance-type",
      "local-hostname",
      "local-ipv4",
      "mac",
      "metrics/",
      "network/",
      "placement/",
      "profile",
      "public-hostname",
      "public-ipv4",
      "public-keys/",
      "reservation-id",
      "security-groups",
      "services/",
      "system",
      "tags/",
    ].join("\n"),
    "ami-id": web.imageId,
    "ami-launch-index": "1",
    "ami-manifest-path": "(unknown)",
    "ancestor-ami-ids": "ami-0aaaaaaaaaaaaaaaa\nami-0bbbbbbbbbbbbbbbb",
    "block-device-mapping/": "ami\nebs1\nroot",
    "block-device-mapping/ami": "/dev/xvda",
    "block-device-mapping/ebs1": "sdf",
    "block-device-mapping/root": "/dev/xvda",
    hostname: web.privateDnsName,
    "iam/": "info\nsecurity-credentials/",
    "iam/security-credentials/": "builder",
    "instance-action": "none",
    "instance-id": web.instanceId,
    "instance-life-cycle": "on-demand",
    "instance-type": "t3.micro",
    "local-hostname": web.privateDnsName,
    "local-ipv4": "172.31.5.6",
    mac: web.mac,
    "network/interfaces/macs/": `${web.mac}/`,
    [`${mac}/device-number`]: "0",
    [`${mac}/interface-id`]: web.networkInterfaceId,
    [`${mac}/ipv4-associations/127.10.0.1`]: "172.31.5.6",
    [`${mac}/local-ipv4s`]: "172.31.5.6",
    [`${mac}/owner-id`]: web.accountId,
    [`${mac}/security-group-ids`]: "sg-1\nsg-2",
    [`${mac}/security-groups`]: "default\nweb servers",
    [`${mac}/subnet-id`]: web.subnetId,
    [`${mac}/subnet-ipv4-cidr-block`]: web.subnetCidr,
    [`${mac}/vpc-id`]: web.vpcId,
    [`${mac}/vpc-ipv4-cidr-blocks`]: web.vpcCidr,
    "placement/": "availability-zone\navailability-zone-id\nregion",
    "placement/availability-zone": "us-east-1a",
    "placement/region": "us-east-1",
    profile: "default-hvm",
    "public-hostname": "ec2-127-10-0-1.compute-1.amazonaws.com",
    "public-ipv4": "127.10.0.1",
    "public-keys/": "0=my key",
    "public-keys/0/": "openssh-key",
    "public-keys/0/openssh-key": "ssh-ed25519 AAAA my key",
    "reservation-id": web.reservationId,
    "security-groups": "default\nweb servers",
    "services/domain": "amazonaws.com",
    "services/partition": "aws",
    system: "nitro",
    "tags/instance/": "Name\nenv",
    "tags/instance/Name": "web 1",
  };
  for (const [path, text] of Object.entries(expected)) {
    const reply = await imds.web.ask(`/latest/meta-data/${path}`);
    assert.deepEqual([reply.status, reply.text], [200, text], path);
    assert.equal(reply.headers.server, "EC2ws");
  }
  assert.match((await imds.web.ask("/")).text, /^1\.0\n2007-01-19\n.*2009-04-04\n.*2021-03-23\n.*latest$/s);
  assert.equal((await imds.web.ask("/latest")).text, "dynamic\nmeta-data\nuser-data");
  assert.equal((await imds.web.ask("//latest//meta-data/instance-id/")).text, web.instanceId);
});

test("what an instance does not have is 404 and not listed", async (t) => {
  const imds = await start(t);
  const listed = (await imds.bare.ask("/latest/meta-data/")).text.split("\n");
  for (const name of ["public-ipv4", "public-hostname", "public-keys/", "iam/", "ancestor-ami-ids"]) {
    assert.ok(!listed.includes(name), name);
    assert.equal((await imds.bare.ask(`/latest/meta-data/${name}`)).status, 404, name);
  }
  assert.equal((await imds.bare.ask("/latest/user-data")).status, 404);
  assert.equal((await imds.bare.ask("/latest")).text, "dynamic\nmeta-data");
  assert.equal((await imds.web.ask("/latest/meta-data/nothing")).status, 404);
  assert.equal((await imds.web.ask("/latest/meta-data/constructor")).status, 404);
  assert.equal((await imds.web.ask("/latest/meta-data/instance-id/deeper")).status, 404);
  assert.equal((await imds.web.ask("/1999-01-01/meta-data/")).status, 404);
  assert.match((await imds.web.ask("/latest/no")).text, /<title>404 - Not Found<\/title>/);
  assert.equal((await imds.guest("172.31.9.9").ask("/latest/meta-data/instance-id")).status, 404);
});

test("an old version knows what there was then", async (t) => {
  const imds = await start(t);
  assert.equal((await imds.web.ask("/2009-04-04/meta-data/instance-id")).text, web.instanceId);
  assert.equal((await imds.web.ask("/2021-03-23/meta-data/tags/instance/env")).text, "prod");
  assert.equal((await imds.web.ask("/2009-04-04/meta-data/tags/")).status, 404);
  assert.equal((await imds.web.ask("/1.0/")).text, "meta-data\nuser-data");
});

test("user data comes back byte for byte", async (t) => {
  const imds = await start(t);
  const reply = await imds.web.ask("/latest/user-data");
  assert.deepEqual(reply.bytes, Buffer.from([0, 255, 10, 35]));
  assert.equal(reply.headers["content-type"], "application/octet-stream");
  const head = await imds.web.ask("/latest/user-data", { method: "HEAD" });
  assert.deepEqual([head.status, head.headers["content-length"], head.bytes.length], [200, "4", 0]);
});

test("tokens: only by PUT, with a time to live from 1 to 21600, and not through a proxy", async (t) => {
  const imds = await start(t);
  const put = (headers: Readonly<Record<string, string>>) =>
    imds.web.ask("/latest/api/token", { method: "PUT", headers });
  for (const [ttl, status] of [
    ["1", 200],
    ["21600", 200],
    ["0", 400],
    ["21601", 400],
    ["-1", 400],
    ["1.5", 400],
    ["", 400],
  ] as const) {
    assert.equal((await put({ [TTL]: ttl })).status, status, ttl);
  }
  assert.equal((await put({})).status, 400);
  assert.equal((await put({ [TTL]: "60", "X-Forwarded-For": "10.0.0.1" })).status, 403);
  assert.equal((await imds.web.ask("/latest/api/token")).status, 405);
  assert.equal((await imds.web.ask("/latest/meta-data/", { method: "PUT", headers: { [TTL]: "60" } })).status, 405);
  assert.equal((await imds.web.ask("/latest/meta-data/", { method: "POST" })).status, 405);
  const token = await put({ [TTL]: "60" });
  assert.match(token.text, /^[A-Za-z0-9_-]{54}==$/);
  assert.equal(token.headers[TTL.toLowerCase()], "60");
});

test("a token is good for its instance, until its end, over restarts, and unaltered only", async (t) => {
  const imds = await start(t);
  const token = await login(imds.web, 60);
  const status = async (guest: Guest, value: string) =>
    (await guest.ask("/latest/meta-data/instance-id", { headers: { [TOKEN]: value } })).status;
  assert.equal(await status(imds.web, token), 200);
  assert.equal(await status(imds.bare, token), 401);
  await imds.restart();
  assert.equal(await status(imds.web, token), 200);
  for (const at of [0, 3, 10, 30, 53]) {
    const altered = token.slice(0, at) + (token[at] === "A" ? "B" : "A") + token.slice(at + 1);
    assert.equal(await status(imds.web, altered), 401, `character ${at}`);
  }
  assert.equal(await status(imds.web, ""), 401);
  imds.state.now = new Date("2026-11-24T09:00:59Z");
  assert.equal(await status(imds.web, token), 200);
  imds.state.now = new Date("2026-11-24T09:01:00Z");
  assert.equal(await status(imds.web, token), 401);
  await imds.restart(Buffer.alloc(32, 8));
  assert.equal(await status(imds.web, await login(imds.web)), 200);
});

test("HttpTokens=required refuses IMDSv1; a disabled endpoint refuses everything", async (t) => {
  const imds = await start(t, { tokensRequired: true });
  const refused = await imds.web.ask("/latest/meta-data/instance-id");
  assert.equal(refused.status, 401);
  assert.match(refused.text, /<h1>401 - Unauthorized<\/h1>/);
  const headers = { [TOKEN]: await login(imds.web) };
  assert.equal((await imds.web.ask("/latest/meta-data/instance-id", { headers })).text, web.instanceId);
  const off = await start(t, { enabled: false });
  assert.equal((await off.web.ask("/latest/meta-data/instance-id")).status, 403);
  assert.equal((await off.web.ask("/latest/api/token", { method: "PUT", headers: { [TTL]: "60" } })).status, 403);
});

test("answers without a token are told once an hour for each instance, with how many there were", async (t) => {
  const { state, web: guest, bare: other } = await start(t);
  const token = (await guest.ask("/latest/api/token", { method: "PUT", headers: { [TTL]: "60" } })).text;
  await guest.ask("/latest/meta-data/instance-id", { headers: { [TOKEN]: token } });
  await guest.ask("/latest/nothing-of-the-kind");
  assert.deepEqual(state.version1, []);
  for (let n = 0; n < 3; n++) await guest.ask("/latest/meta-data/instance-id");
  await other.ask("/latest/meta-data/");
  const first = [`${web.instanceId} /latest/meta-data/instance-id 1`, `${bare.instanceId} /latest/meta-data 1`];
  assert.deepEqual(state.version1, first);
  state.now = new Date(state.now.getTime() + 60 * 60 * 1000);
  await guest.ask("/latest/user-data");
  assert.deepEqual(state.version1, [...first, `${web.instanceId} /latest/user-data 3`]);
  const strict = await start(t, { tokensRequired: true });
  assert.equal((await strict.web.ask("/latest/meta-data/instance-id")).status, 401);
  assert.deepEqual(strict.state.version1, []);
});

test("tags are shown only where the instance's options say so", async (t) => {
  const imds = await start(t, { tags: false });
  assert.equal((await imds.web.ask("/latest/meta-data/tags/instance/Name")).status, 404);
});

test("role credentials: for the role by name, with how they were handed out", async (t) => {
  const imds = await start(t);
  const v1 = await imds.web.ask("/latest/meta-data/iam/security-credentials/builder");
  assert.equal(
    v1.text,
    `{
  "Code" : "Success",
  "LastUpdated" : "2026-11-24T08:30:00Z",
  "Type" : "AWS-HMAC",
  "AccessKeyId" : "ASIAEXAMPLE",
  "SecretAccessKey" : "secret/+",
  "Token" : "token==",
  "Expiration" : "2026-11-24T14:30:00Z"
}`,
  );
  const headers = { [TOKEN]: await login(imds.web) };
  await imds.web.ask("/latest/meta-data/iam/security-credentials/builder", { headers });
  assert.deepEqual(imds.state.delivered, ["1.0", "2.0"]);
  assert.equal((await imds.web.ask("/latest/meta-data/iam/security-credentials/other")).status, 404);
  const info = JSON.parse((await imds.web.ask("/latest/meta-data/iam/info")).text);
  assert.deepEqual([info.Code, info.InstanceProfileArn], ["Success", web.instanceProfile?.arn]);
});

test("the identity document and its signatures: node verifies, and so does openssl", async (t) => {
  const imds = await start(t);
  const get = async (name: string) => (await imds.web.ask(`/latest/dynamic/instance-identity/${name}`)).text;
  assert.equal((await imds.web.ask("/latest/dynamic/instance-identity/")).text, "document\npkcs7\nrsa2048\nsignature");
  const document = await get("document");
  const parsed = JSON.parse(document);
  assert.deepEqual(
    [parsed.accountId, parsed.instanceId, parsed.imageId, parsed.pendingTime, parsed.billingProducts],
    ["111122223333", web.instanceId, web.imageId, "2026-11-24T08:00:00Z", null],
  );
  assert.match(document, /^\{\n {2}"accountId" : "111122223333",\n/);

  const certificate = new X509Certificate(imds.signer.certificate);
  assert.ok(certificate.verify(certificate.publicKey));
  const signature = Buffer.from(await get("signature"), "base64");
  assert.ok(verify("sha256", Buffer.from(document), createPublicKey(imds.signer.certificate), signature));

  const path = (name: string) => join(imds.directory, name);
  writeFileSync(path("certificate.pem"), imds.signer.certificate);
  for (const name of ["pkcs7", "rsa2048"]) {
    // As AWS's documentation tells guests to do it.
    writeFileSync(path("rsa2048"), `-----BEGIN PKCS7-----\n${await get(name)}\n-----END PKCS7-----\n`);
    const arguments_ = ["smime", "-verify", "-in", path("rsa2048"), "-inform", "PEM"];
    const trust = ["-certfile", path("certificate.pem"), "-CAfile", path("certificate.pem")];
    const content = execFileSync("openssl", [...arguments_, ...trust], { stdio: ["ignore", "pipe", "pipe"] });
    assert.equal(content.toString(), document);
  }
  const again = await openSigner(join(imds.directory, "identity"), new Date());
  assert.equal(again.certificate, imds.signer.certificate);
});

test("an address that passed on to another instance gives nothing to the one before", async (t) => {
  const imds = await start(t);
  const stale = { headers: { [GUEST_INSTANCE_HEADER]: "i-0eeeeeeeeeeeeeeee" } };
  assert.equal((await imds.web.ask("/latest/meta-data/instance-id", stale)).status, 404);
  const right = { headers: { [GUEST_INSTANCE_HEADER]: web.instanceId } };
  assert.equal((await imds.web.ask("/latest/meta-data/instance-id", right)).status, 200);
});

test("garbage, broken escapes and HTTP/1.0 do no harm", async (t) => {
  const imds = await start(t);
  assert.equal((await imds.web.ask("/latest/meta-data/%ff")).status, 400);
  const raw = async (bytes: string | Buffer): Promise<string> => {
    const socket = connect(imds.socket);
    socket.end(bytes);
    const received: Buffer[] = [];
    socket.on("data", (chunk) => received.push(chunk));
    // A server that has refused may reset the connection while we still send.
    socket.on("error", () => {});
    await new Promise((resolve) => socket.on("close", resolve));
    return Buffer.concat(received).toString();
  };
  assert.match(
    await raw(`GET /latest/meta-data/instance-id HTTP/1.0\r\n${GUEST_ADDRESS_HEADER}: 172.31.5.6\r\n\r\n`),
    /i-0123456789abcdef0$/,
  );
  assert.match(await raw("GARBAGE\r\n\r\n"), /^HTTP\/1\.1 400/);
  await raw(Buffer.alloc(1_000_000, 0x41));
  assert.equal((await imds.web.ask("/latest/meta-data/instance-id")).status, 200);
});

/** A TCP port that stands for 169.254.169.254 as one guest sees it. */
async function asGuest(t: TestContext, socket: string, address: string): Promise<string> {
  const relay = createServer((incoming, response) => {
    const headers = { ...incoming.headers, [GUEST_ADDRESS_HEADER]: address };
    const asked = request({ socketPath: socket, path: incoming.url, method: incoming.method, headers }, (answer) => {
      response.writeHead(answer.statusCode ?? 502, answer.headers);
      answer.pipe(response);
    });
    incoming.pipe(asked);
  });
  relay.listen(0, "127.0.0.1");
  await once(relay, "listening");
  t.after(() => {
    relay.close();
    relay.closeAllConnections();
  });
  const { port } = relay.address() as { port: number };
  return `http://127.0.0.1:${port}`;
}

test("the AWS SDK's provider for instances gets the role's credentials", async (t) => {
  const imds = await start(t, { tokensRequired: true });
  process.env.AWS_EC2_METADATA_SERVICE_ENDPOINT = await asGuest(t, imds.socket, web.privateIp);
  t.after(() => {
    delete process.env.AWS_EC2_METADATA_SERVICE_ENDPOINT;
  });
  const { fromInstanceMetadata } = await import("@smithy/credential-provider-imds");
  const credentials = await fromInstanceMetadata({ maxRetries: 0 })();
  assert.equal(credentials.accessKeyId, "ASIAEXAMPLE");
  assert.equal(credentials.sessionToken, "token==");
  assert.deepEqual(imds.state.delivered, ["2.0"]);
});

test("curl, as AWS's documentation has it", async (t) => {
  const imds = await start(t, { tokensRequired: true });
  const url = await asGuest(t, imds.socket, web.privateIp);
  const curl = async (...args: string[]) => {
    const child = spawn("curl", ["-s", ...args], { stdio: ["ignore", "pipe", "inherit"] });
    return Buffer.concat(await child.stdout.toArray()).toString();
  };
  const token = await curl("-X", "PUT", `${url}/latest/api/token`, "-H", `${TTL}: 21600`);
  assert.equal(await curl("-H", `${TOKEN}: ${token}`, `${url}/latest/meta-data/instance-id`), web.instanceId);
});

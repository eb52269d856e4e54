// What may go wrong around the server: bad bytes, bad neighbours, missing programs, kills.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { request } from "node:http";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { CreateKeyPairCommand, DescribeKeyPairsCommand, DescribeRegionsCommand, EC2Client } from "@aws-sdk/client-ec2";
import { startPlatform } from "../support/platform.ts";

const MAIN = join(dirname(dirname(import.meta.dirname)), "src", "main.ts");

/** Starts `ingot serve` where it is expected to fail; resolves with its exit code and its words. */
async function failsToStart(args: readonly string[]): Promise<{ code: number; said: string }> {
  const child = spawn(process.execPath, [MAIN, ...args], { stdio: ["ignore", "pipe", "pipe"] });
  let said = "";
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding("utf8").on("data", (text: string) => (said += text));
  const [code] = (await once(child, "exit")) as [number];
  return { code, said };
}

test("a megabyte of garbage is answered, or hung up on, and the server goes on", async (t) => {
  const { port, ec2 } = await startPlatform(t);
  for (const garbage of [randomBytes(1 << 20), Buffer.alloc(1 << 20, "GET "), Buffer.from("\r\n".repeat(10_000))]) {
    const socket = connect(port, "127.0.0.1");
    socket.on("error", () => {});
    socket.resume();
    // A reset is an answer too.
    const closed = new Promise((resolve) => socket.once("close", resolve));
    socket.write(garbage);
    await closed;
  }
  const { Regions = [] } = await ec2.send(new DescribeRegionsCommand({}));
  assert.ok(Regions.length > 10);
});

test("a body of a hundred megabytes is refused before it is read", async (t) => {
  const { port, ec2 } = await startPlatform(t);
  for (const headers of [{ "content-length": String(100 << 20) }, { "transfer-encoding": "chunked" }]) {
    const sent = request({ host: "127.0.0.1", port, method: "POST", path: "/", headers });
    let bytes = 0;
    const chunk = Buffer.alloc(1 << 16, "a");
    const pump = (): void => {
      while (bytes < 100 << 20) {
        bytes += chunk.length;
        if (!sent.write(chunk)) {
          sent.once("drain", pump);
          return;
        }
      }
      sent.end();
    };
    // Once it has been refused, it may be hung up on.
    sent.on("error", () => {});
    const answered = new Promise<number | undefined>((resolve) => {
      sent.once("response", (answer) => resolve(answer.statusCode));
      sent.once("close", () => resolve(undefined));
    });
    pump();
    assert.equal(await answered, 413);
    sent.destroy();
    assert.ok(bytes < 50 << 20, `it took ${bytes} bytes before it refused`);
  }
  await ec2.send(new DescribeRegionsCommand({}));
});

test("an unsigned call, an unknown path and a call to a service that is not there get an answer that says so", async (t) => {
  const platform = await startPlatform(t);
  const unsigned = await fetch(`${platform.url}/?Action=DescribeRegions&Version=2016-11-15`);
  assert.equal(unsigned.status, 403);
  assert.match(await unsigned.text(), /<Code>MissingAuthenticationToken<\/Code>/);
  const health = await fetch(`${platform.url}/healthz`);
  assert.deepEqual([health.status, await health.text()], [204, ""]);
  const wrong = platform.client(EC2Client, { accessKeyId: "AKIAAAAAAAAAAAAAAAAA", secretAccessKey: "x".repeat(40) });
  await assert.rejects(wrong.send(new DescribeRegionsCommand({})), { name: "AuthFailure" });
  const guess = platform.client(EC2Client, { ...platform.credentials, secretAccessKey: "x".repeat(40) });
  await assert.rejects(guess.send(new DescribeRegionsCommand({})), { name: "AuthFailure" });
});

test("a port that is taken, a data directory that is in use and a bad option each say what to do", async (t) => {
  const platform = await startPlatform(t);
  const scratch = mkdtempSync(join(tmpdir(), "ingot-start-"));
  t.after(() => rmSync(scratch, { recursive: true, force: true }));
  const other = createServer().listen(0, "127.0.0.1");
  await once(other, "listening");
  t.after(() => other.close());
  const taken = (other.address() as { port: number }).port;
  const onPort = await failsToStart(["--data", join(scratch, "d"), "--port", String(taken), "--no-image"]);
  assert.equal(onPort.code, 1);
  assert.match(onPort.said, new RegExp(`port ${taken} on 127.0.0.1 is in use: .*--port`));
  const onData = await failsToStart(["--data", platform.dataDirectory, "--port", "0", "--no-image"]);
  assert.equal(onData.code, 1);
  assert.match(onData.said, /another Ingot runs on the data directory/);
  const badPort = await failsToStart(["--port", "99999"]);
  assert.equal(badPort.code, 2);
  assert.match(badPort.said, /--port takes a number up to 65535.*ingot serve --help/);
  const unknown = await failsToStart(["--prot", "1"]);
  assert.equal(unknown.code, 2);
  assert.match(unknown.said, /Unknown option '--prot'/);
  await platform.ec2.send(new DescribeRegionsCommand({}));
});

test("what was acknowledged before a kill -9 is there after the restart", async (t) => {
  const platform = await startPlatform(t);
  const acknowledged: string[] = [];
  for (let round = 0; round < 3; round++) {
    const calls = Array.from({ length: 8 }, async (_, n) => {
      const name = `round-${round}-${n}`;
      await platform.ec2.send(new CreateKeyPairCommand({ KeyName: name, KeyType: "ed25519" }));
      acknowledged.push(name);
    });
    // The kill comes as soon as the first is acknowledged, while the others are under way.
    await Promise.race(calls);
    await platform.kill9();
    await Promise.allSettled(calls);
    await platform.startServer();
    const { KeyPairs = [] } = await platform.ec2.send(new DescribeKeyPairsCommand({}));
    const names = KeyPairs.map((pair) => pair.KeyName);
    for (const name of acknowledged) assert.ok(names.includes(name), `${name} was acknowledged and is gone`);
  }
  assert.ok(acknowledged.length >= 3);
});

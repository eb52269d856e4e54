// The command line against a running server: contracts that scripts rely on, and what a person is told when it can't be done.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test, { type TestContext } from "node:test";
import {
  DescribeImagesCommand,
  DescribeRegionsCommand,
  DescribeSnapshotsCommand,
  EC2Client,
} from "@aws-sdk/client-ec2";
import { GetCallerIdentityCommand, STSClient } from "@aws-sdk/client-sts";
import { ingot, ingotOn, type Ran } from "../support/ingot-command.ts";
import { ACCOUNT, type Platform, startPlatform } from "../support/platform.ts";
import { processesOf } from "../support/processes.ts";

function scratchDirectory(t: TestContext): string {
  const path = mkdtempSync(join(tmpdir(), "ingot-cli-"));
  t.after(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

/** What failed says why in one line, to stderr alone, without a stack. */
function assertRefused({ code, stdout, stderr }: Ran, exitCode: number, message: RegExp): void {
  assert.equal(code, exitCode, stderr);
  assert.equal(stdout, "");
  assert.match(stderr, message);
  assert.equal(stderr.trimEnd().split("\n").length, 1, stderr);
}

test("on a running server", async (t) => {
  const platform: Platform = await startPlatform(t, { image: true });
  const onData = { INGOT_DATA: platform.dataDirectory };

  await t.test("env: a shell that evaluates it talks to the server", async () => {
    const { stdout } = await ingot(["env", "--data", platform.dataDirectory]);
    const names = ["AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION"];
    assert.deepEqual(
      stdout
        .trimEnd()
        .split("\n")
        .map((line) => line.split("=")[0]),
      names.map((name) => `export ${name}`),
    );
    const script = `eval "$1"; printf '%s\\n' ${names.map((name) => `"$${name}"`).join(" ")}`;
    const values = execFileSync("sh", ["-c", script, "sh", stdout], { encoding: "utf8", env: {} });
    const { accessKeyId, secretAccessKey } = platform.credentials;
    assert.deepEqual(values.trimEnd().split("\n"), [platform.url, accessKeyId, secretAccessKey, "us-east-1"]);
  });

  await t.test("env: says nothing of another server that the shell still points at", async () => {
    const stale = { AWS_ENDPOINT_URL: "http://127.0.0.1:9", AWS_ACCESS_KEY_ID: "AKIA", AWS_SECRET_ACCESS_KEY: "x" };
    const { stdout } = await ingot(["env", "--json"], { ...onData, ...stale, AWS_SESSION_TOKEN: "y" });
    assert.equal(JSON.parse(stdout).AWS_ENDPOINT_URL, platform.url);
  });

  await t.test("images: the public one, as a table and as JSON", async () => {
    const text = await ingotOn(platform, "images");
    assert.match(text, /^IMAGE +NAME +STATE/);
    assert.match(text, /^ami-[0-9a-f]{17} +ingot\/tiny +available/m);
    const { Images } = JSON.parse(await ingotOn(platform, "images", "--json"));
    assert.deepEqual(
      Images.map((each: { Name: string }) => each.Name),
      ["ingot/tiny"],
    );
  });

  await t.test("ps: no instances is an answer", async () => {
    assert.deepEqual(JSON.parse(await ingotOn(platform, "ps", "--json")), { Instances: [] });
    assert.match(await ingotOn(platform, "ps"), /no instances/);
  });

  await t.test("what every command takes counts before its name as after it", async () => {
    const { dataDirectory: data } = platform;
    const elsewhere = { INGOT_DATA: "/nonexistent" };
    for (const words of [
      ["--data", data, "--json", "ps"],
      [`--data=${data}`, "ps", "--json"],
      ["--json", "ps", `--data=${data}`],
      // The nearest counts.
      ["--data", "/nonexistent", "ps", "--data", data, "--json"],
    ]) {
      const { code, stdout, stderr } = await ingot(words, elsewhere);
      assert.equal(code, 0, `${words.join(" ")}: ${stderr}`);
      assert.deepEqual(JSON.parse(stdout), { Instances: [] });
    }
    const between = await ingot(["store", "--data", data, "usage", "--json"], elsewhere);
    assert.equal(between.code, 0, between.stderr);
    assertRefused(await ingot(["--data", data, "serve", "--port", "0"], elsewhere), 1, /another Ingot runs/);
  });

  await t.test(
    "ssh: options may follow the instance, as with OpenSSH; what no option is begins the command",
    async () => {
      const elsewhere = { INGOT_DATA: "/nonexistent" };
      const named = await ingot(
        ["ssh", "nobody", "--data", platform.dataDirectory, "-l", "root", "ls", "--json"],
        elsewhere,
      );
      assertRefused(named, 1, /no instance is called nobody/);
      const slip = await ingot(["ssh", "nobody", "-x"], onData);
      assert.equal(slip.code, 2);
      assert.match(slip.stderr, /unknown option '-x'/);
      assertRefused(await ingot(["ssh", "nobody", "--", "-x"], onData), 1, /no instance is called nobody/);
    },
  );

  await t.test("status: the server, its processes, what it takes", async () => {
    const report = JSON.parse(await ingotOn(platform, "status", "--json"));
    assert.equal(report.server.url, platform.url);
    assert.equal(report.server.pid, platform.pid);
    assert.ok(["kvm", "tcg"].includes(report.server.accelerator));
    assert.deepEqual(report.instances, {});
    assert.ok(report.storage.snapshots > 0);
    assert.ok(
      report.processes.some(
        ({ kind, pid }: { kind: string; pid: number }) => kind === "server" && pid === platform.pid,
      ),
    );
  });

  await t.test("keys of the environment count with an endpoint, and only then", async () => {
    const { accessKeyId, secretAccessKey } = platform.credentials;
    const alone = await ingot(["ps", "--json"], {
      ...onData,
      AWS_ACCESS_KEY_ID: "AKIAFORAMAZONALONE00",
      AWS_SECRET_ACCESS_KEY: "x",
    });
    assert.equal(alone.code, 0, alone.stderr);
    const elsewhere = { INGOT_DATA: "/nonexistent", AWS_ENDPOINT_URL: platform.url, AWS_DEFAULT_REGION: "us-east-1" };
    const right = { AWS_ACCESS_KEY_ID: accessKeyId, AWS_SECRET_ACCESS_KEY: secretAccessKey };
    assert.equal((await ingot(["ps"], { ...elsewhere, ...right })).code, 0);
    const wrong = await ingot(["ps"], { ...elsewhere, ...right, AWS_SECRET_ACCESS_KEY: "wrong" });
    assertRefused(wrong, 1, /^ingot: \w+: .*Next: .*ingot env/);
  });

  await t.test("what names nothing is refused in one line that says where to look", async () => {
    assertRefused(await ingot(["ssh", "nobody"], onData), 1, /no instance is called nobody: see ingot ps/);
    assertRefused(await ingot(["launch", "nothing"], onData), 1, /no image is called nothing: see ingot images/);
    assertRefused(await ingot(["terminate", "i-0123456789abcdef0"], onData), 1, /InvalidInstanceID\.NotFound/);
    assertRefused(await ingot(["import", "/nonexistent"], onData), 1, /open \/nonexistent/);
    assertRefused(await ingot(["bake", "windows"], onData), 2, /no recipe windows: .*tiny/);
    assert.equal((await ingot(["launch", "ingot/tiny", "--count", "none"], onData)).code, 2);
    assert.equal((await ingot(["dance"], onData)).code, 2);
    const stop = await ingot(["stop", "web"], onData);
    assert.equal(stop.code, 2);
    assert.match(stop.stderr, /ingot stop-instance web/);
    // Nothing of it went halfway.
    assert.deepEqual(JSON.parse(await ingotOn(platform, "ps", "--json")), { Instances: [] });
  });

  await t.test("import and export: the bytes that went in come out", async (t) => {
    const scratch = scratchDirectory(t);
    const raw = join(scratch, "disk.raw");
    const blocks = [randomBytes(700 * 1024), randomBytes(10)];
    writeFileSync(raw, blocks[0]!);
    truncateSync(raw, 5 * 1024 * 1024);
    writeFileSync(raw, blocks[1]!, { flag: "a" });
    truncateSync(raw, 5 * 1024 * 1024 + 512);
    execFileSync("qemu-img", ["convert", "-f", "raw", "-O", "qcow2", raw, join(scratch, "disk.qcow2")]);
    for (const name of ["disk.raw", "disk.qcow2"]) {
      const made = JSON.parse(await ingotOn(platform, "import", join(scratch, name), "--name", name, "--json"));
      assert.deepEqual(made, { ImageId: made.ImageId, Name: name, State: "available" });
      const out = join(scratch, `${name}.out`);
      assert.equal((await ingotOn(platform, "export", name, out, "--format", "raw")).trim(), out);
      const content = readFileSync(out);
      assert.equal(content.length, 1024 ** 3, "an image's disk is a whole number of GiB");
      assert.ok(content.subarray(0, statSync(raw).size).equals(readFileSync(raw)), `${name} comes out otherwise`);
      const again = await ingot(["export", name, out, "--format", "raw"], onData);
      assertRefused({ ...again, stderr: again.stderr.split("\n").slice(-2).join("\n") }, 1, /exists/);
    }
  });

  await t.test("import: a disk that names another file is refused, and nothing is kept of it", async (t) => {
    const scratch = scratchDirectory(t);
    const { Snapshots: before } = await platform.ec2.send(new DescribeSnapshotsCommand({ OwnerIds: ["self"] }));
    writeFileSync(join(scratch, "secret"), "not yours");
    truncateSync(join(scratch, "secret"), 1024 * 1024);
    const disk = join(scratch, "overlay.qcow2");
    execFileSync("qemu-img", ["create", "-q", "-f", "qcow2", "-b", join(scratch, "secret"), "-F", "raw", disk]);
    assertRefused(await ingot(["import", disk], onData), 1, /names another file|backing/);
    const { Snapshots: after } = await platform.ec2.send(new DescribeSnapshotsCommand({ OwnerIds: ["self"] }));
    assert.deepEqual(after, before);
    const { Images } = await platform.ec2.send(
      new DescribeImagesCommand({ Filters: [{ Name: "name", Values: ["overlay"] }] }),
    );
    assert.deepEqual(Images, []);
  });

  await t.test("login: a profile among others, which stay as they are", async (t) => {
    const scratch = scratchDirectory(t);
    const files = {
      AWS_CONFIG_FILE: join(scratch, "a", "config"),
      AWS_SHARED_CREDENTIALS_FILE: join(scratch, "a", "credentials"),
    };
    await ingot(["login"], { ...onData, ...files });
    const mine = "# mine\n[default]\nregion=eu-west-1\n\n[profile work]\n  sso_start_url = https://example.com\n";
    writeFileSync(files.AWS_CONFIG_FILE, mine);
    const first = await ingot(["login"], { ...onData, ...files });
    assert.equal(first.code, 0, first.stderr);
    const config = readFileSync(files.AWS_CONFIG_FILE, "utf8");
    assert.ok(config.startsWith(mine));
    assert.ok(config.includes(`[profile ingot]`) && config.includes(`endpoint_url = ${platform.url}\n`), config);
    assert.ok(readFileSync(files.AWS_SHARED_CREDENTIALS_FILE, "utf8").includes(platform.credentials.secretAccessKey));
    assert.equal(statSync(files.AWS_SHARED_CREDENTIALS_FILE).mode & 0o777, 0o600);
    await ingot(["login"], { ...onData, ...files });
    assert.equal(readFileSync(files.AWS_CONFIG_FILE, "utf8"), config, "again: the same");
    assertRefused(await ingot(["login", "--profile", "work"], { ...onData, ...files }), 1, /work is yours.*--profile/);
    assert.equal(readFileSync(files.AWS_CONFIG_FILE, "utf8"), config);
  });

  await t.test("account create: keys of another account, which sees nothing of the first one's", async () => {
    const made = JSON.parse(await ingotOn(platform, "account", "create", "--name", "Two", "--json"));
    const keys = { accessKeyId: made.AccessKeyId, secretAccessKey: made.SecretAccessKey };
    const { Account } = await platform.client(STSClient, keys).send(new GetCallerIdentityCommand({}));
    assert.equal(Account, made.AccountId);
    assert.notEqual(Account, ACCOUNT);
    const { Images } = await platform.client(EC2Client, keys).send(new DescribeImagesCommand({ Owners: ["self"] }));
    assert.deepEqual(Images, []);
    const { Accounts } = JSON.parse(await ingotOn(platform, "account", "list", "--json"));
    const ids = Accounts.map(({ Id }: { Id: string }) => Id);
    assert.ok(ids.includes(ACCOUNT) && ids.includes(made.AccountId), ids.join());
  });
});

test("without a server each command says how to start one", async (t) => {
  const data = join(scratchDirectory(t), "data");
  const endpoint = { AWS_ENDPOINT_URL: await closedPort(), AWS_ACCESS_KEY_ID: "AKIA", AWS_SECRET_ACCESS_KEY: "x" };
  assertRefused(await ingot(["env", "--data", data]), 3, /no server runs on .*data: start it with ingot serve --data /);
  assertRefused(await ingot(["ps", "--data", data]), 3, /ingot serve --data/);
  assertRefused(await ingot(["stop", "--data", data]), 3, /no server runs/);
  assertRefused(await ingot(["ps"], endpoint), 3, /no server answers at http:\/\/127\.0\.0\.1:\d+.*ingot serve/);
  const { code, stdout } = await ingot(["status", "--data", data, "--json"]);
  assert.equal(code, 0);
  assert.equal(JSON.parse(stdout).server, null);
  assert.ok(!existsSync(data), "looking made no data directory");
});

test("a server that was killed is not running, whatever its files say", async (t) => {
  const platform = await startPlatform(t);
  await platform.kill9();
  assert.ok(existsSync(join(platform.dataDirectory, "server.json")));
  assert.equal(JSON.parse(await ingotOn(platform, "status", "--json")).server, null);
  assertRefused(await ingot(["env"], { INGOT_DATA: platform.dataDirectory }), 3, /no server runs/);
  await platform.startServer();
  assert.equal(JSON.parse(await ingotOn(platform, "status", "--json")).server.pid, platform.pid);
});

test("serve: one server per data directory", async (t) => {
  const platform = await startPlatform(t);
  const second = await ingot(["serve", "--data", platform.dataDirectory, "--port", "0", "--no-image"]);
  assertRefused(second, 1, /another Ingot runs on the data directory/);
  assert.ok((await platform.ec2.send(new DescribeRegionsCommand({}))).Regions, "the first one goes on");
});

test("stop ends the server; stop --all everything of its data directory, and nothing else", async (t) => {
  const [platform, other] = [await startPlatform(t), await startPlatform(t)];
  await ingotOn(platform, "stop");
  assert.deepEqual(
    processesOf(platform.dataDirectory).filter(({ pid }) => pid === platform.pid),
    [],
  );
  assert.notDeepEqual(processesOf(platform.dataDirectory), [], "the network waits for the next server");
  const { ended } = JSON.parse(await ingotOn(platform, "stop", "--all", "--json"));
  assert.ok(ended.length > 0);
  assert.deepEqual(processesOf(platform.dataDirectory), []);
  assert.ok((await other.ec2.send(new DescribeRegionsCommand({}))).Regions);
  assert.equal(await ingotOn(platform, "stop", "--all"), "Nothing ran.\n");
});

/** The URL of a port on which nothing listens. */
async function closedPort(): Promise<string> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  return `http://127.0.0.1:${typeof address === "object" ? address?.port : 9}`;
}

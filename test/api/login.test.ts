// ingot login: profiles for the AWS CLI, and keys that are rotated whatever happens in between.
import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { CreateAccessKeyCommand, CreateUserCommand, IAMClient, ListAccessKeysCommand } from "@aws-sdk/client-iam";
import { GetCallerIdentityCommand, STSClient } from "@aws-sdk/client-sts";
import { ingot, type Ran } from "../support/ingot-command.ts";
import { type Keys, type Platform, startPlatform } from "../support/platform.ts";

/** A home with AWS files of its own, as somebody has who uses Amazon too. */
function home(t: TestContext, platform: Platform) {
  const directory = mkdtempSync(join(tmpdir(), "ingot-login-"));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  mkdirSync(join(directory, ".aws"));
  const path = join(directory, ".aws", "credentials");
  writeFileSync(path, "[default]\naws_access_key_id = AKIAMINE\naws_secret_access_key = x\n");
  const environment = { HOME: directory, INGOT_DATA: platform.dataDirectory };
  return {
    directory,
    path,
    login: (words: readonly string[], more: NodeJS.ProcessEnv = {}): Promise<Ran> =>
      ingot(["login", ...words], { ...environment, ...more }),
    run: (...words: readonly string[]): Promise<Ran> => ingot(words, environment),
    profile(name: string): Keys {
      const section = new RegExp(`^\\[${name}\\]\\n([^[]*)`, "m").exec(readFileSync(path, "utf8"))?.[1] ?? "";
      const value = (key: string) => new RegExp(`^${key} = (.*)$`, "m").exec(section)?.[1] ?? "";
      return { accessKeyId: value("aws_access_key_id"), secretAccessKey: value("aws_secret_access_key") };
    },
    stored(): Keys {
      return JSON.parse(readFileSync(join(platform.dataDirectory, "credentials.json"), "utf8")).administrator;
    },
  };
}

const worksWith = (platform: Platform, { accessKeyId, secretAccessKey }: Keys): Promise<string> =>
  platform
    .client(STSClient, { accessKeyId, secretAccessKey })
    .send(new GetCallerIdentityCommand({}))
    .then(
      () => "works",
      (error: Error) => error.name,
    );

const keysWith = async (platform: Platform, { accessKeyId, secretAccessKey }: Keys): Promise<string[]> => {
  const iam = platform.client(IAMClient, { accessKeyId, secretAccessKey });
  const { AccessKeyMetadata = [] } = await iam.send(new ListAccessKeysCommand({}));
  return AccessKeyMetadata.map(({ AccessKeyId = "" }) => AccessKeyId);
};

const succeeded = ({ code, stderr }: Ran): void => assert.equal(code, 0, stderr);

test("login --rotate: a new key in every profile of ours, and the old one is of no use", async (t) => {
  const platform = await startPlatform(t);
  const at = home(t, platform);
  succeeded(await at.login(["--profile", "second"]));
  succeeded(await at.login([]));
  const old = at.stored();
  assert.deepEqual([at.profile("ingot").accessKeyId, at.profile("second").accessKeyId], Array(2).fill(old.accessKeyId));
  const pasted = `\n[pasted]\naws_access_key_id=${old.accessKeyId}\n`;
  writeFileSync(at.path, readFileSync(at.path, "utf8") + pasted);
  const { code, stdout, stderr } = await at.login(["--rotate"]);
  assert.equal(code, 0, stderr);
  assert.match(stdout, /Still the old one: the profile pasted/);
  const made = at.stored();
  assert.notEqual(made.accessKeyId, old.accessKeyId);
  for (const name of ["ingot", "second"]) {
    assert.deepEqual(at.profile(name), { accessKeyId: made.accessKeyId, secretAccessKey: made.secretAccessKey });
  }
  const text = readFileSync(at.path, "utf8");
  assert.ok(text.startsWith("[default]\naws_access_key_id = AKIAMINE\naws_secret_access_key = x\n"));
  assert.ok(text.endsWith(pasted));
  assert.equal(statSync(at.path).mode & 0o777, 0o600);
  assert.equal(await worksWith(platform, made), "works");
  assert.equal(await worksWith(platform, old), "InvalidClientTokenId");
  assert.deepEqual(await keysWith(platform, made), [made.accessKeyId]);
  succeeded(await at.run("ps"));
  assert.deepEqual(
    readdirSync(platform.dataDirectory).filter((name) => name.startsWith("key-rotation")),
    [],
  );
  // Of a user whose keys are in the environment, likewise; root's, too.
  const iam = platform.client(IAMClient, made);
  await iam.send(new CreateUserCommand({ UserName: "bob" }));
  const { AccessKey: bob } = await iam.send(new CreateAccessKeyCommand({ UserName: "bob" }));
  const shell = { AWS_ENDPOINT_URL: platform.url, AWS_DEFAULT_REGION: "us-east-1" };
  const asBob = { AWS_ACCESS_KEY_ID: bob?.AccessKeyId ?? "", AWS_SECRET_ACCESS_KEY: bob?.SecretAccessKey ?? "" };
  const denied = await at.login(["--profile", "bob", "--rotate"], { ...shell, ...asBob });
  assert.match(denied.stderr, /AccessDenied/);
  const { accessKeyId, secretAccessKey } = platform.rootCredentials;
  const asRoot = { AWS_ACCESS_KEY_ID: accessKeyId, AWS_SECRET_ACCESS_KEY: secretAccessKey };
  const rotated = await at.login(["--profile", "root", "--rotate"], { ...shell, ...asRoot });
  assert.match(rotated.stdout, /this shell's AWS_ACCESS_KEY_ID/, rotated.stderr);
  assert.equal(await worksWith(platform, at.profile("root")), "works");
  assert.equal(await worksWith(platform, platform.rootCredentials), "InvalidClientTokenId");
  assert.equal(at.stored().accessKeyId, made.accessKeyId);
});

test("login --rotate: a second key of the user's is nobody's to delete; somebody else's profile is left alone", async (t) => {
  const platform = await startPlatform(t);
  const at = home(t, platform);
  const { AccessKey: second } = await platform.iam.send(new CreateAccessKeyCommand({ UserName: "admin" }));
  const refused = await at.login(["--rotate"]);
  assert.equal(refused.code, 1);
  assert.ok(refused.stderr.includes(`there is a second key, ${second?.AccessKeyId}`), refused.stderr);
  assert.equal((await at.login(["--rotate", "--profile", "default"])).code, 1);
  assert.equal(await worksWith(platform, at.stored()), "works");
  assert.equal((await keysWith(platform, at.stored())).length, 2);
});

/** Loaded before the command: kills it before its nth change to a file, or after that. */
const KILLER = `
import fs from "node:fs";
import { syncBuiltinESMExports } from "node:module";
let left = Number(process.env.KILL_AT);
for (const name of ["rename", "rm"]) {
  const real = fs.promises[name];
  fs.promises[name] = async (...args) => {
    if (--left === 0) process.kill(process.pid, "SIGKILL");
    return await real(...args);
  };
}
syncBuiltinESMExports();
`;

test("login --rotate killed at any change: nobody is locked out, and the next one leaves one good key", async (t) => {
  const platform = await startPlatform(t);
  const at = home(t, platform);
  succeeded(await at.login([]));
  const preload = { NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(KILLER)}` };
  let kills = 0;
  for (let step = 1; ; step++) {
    const before = at.stored().accessKeyId;
    const killed = await at.login(["--rotate"], { ...preload, KILL_AT: String(step) });
    if (killed.code === 0) break;
    assert.equal(killed.code, null, killed.stderr);
    kills++;
    assert.equal(await worksWith(platform, at.stored()), "works", `killed at ${step}`);
    assert.equal(await worksWith(platform, at.profile("ingot")), "works", `killed at ${step}`);
    succeeded(await at.login(["--rotate"]));
    const now = at.stored();
    assert.notEqual(now.accessKeyId, before);
    assert.equal(at.profile("ingot").accessKeyId, now.accessKeyId);
    assert.deepEqual(await keysWith(platform, now), [now.accessKeyId], `killed at ${step}`);
  }
  // The note, the note with the key, credentials.json, the profile in two files and once more, the end of the note.
  assert.ok(kills >= 6, `${kills} kills`);
});

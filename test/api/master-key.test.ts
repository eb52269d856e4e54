// The server's master key, in the data directory or elsewhere.
import assert from "node:assert/strict";
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { GetSnapshotBlockCommand, ListSnapshotBlocksCommand } from "@aws-sdk/client-ebs";
import { GetCallerIdentityCommand, GetSessionTokenCommand, STSClient } from "@aws-sdk/client-sts";
import { ingot } from "../support/ingot-command.ts";
import { type Platform, startPlatform } from "../support/platform.ts";
import { smallSnapshot } from "../support/small-snapshot.ts";

/** Keys of users and of sessions are good after a restart, and so is what snapshots hold. */
async function keepsSecrets(platform: Platform): Promise<void> {
  const snapshot = await smallSnapshot(platform);
  const { Credentials: made } = await platform.sts.send(new GetSessionTokenCommand({}));
  const session = {
    accessKeyId: made?.AccessKeyId ?? "",
    secretAccessKey: made?.SecretAccessKey ?? "",
    sessionToken: made?.SessionToken ?? "",
  };
  await platform.restart();
  for (const keys of [platform.credentials, session]) {
    assert.ok(await platform.client(STSClient, keys).send(new GetCallerIdentityCommand({})));
  }
  const { Blocks = [] } = await platform.ebs.send(new ListSnapshotBlocksCommand({ SnapshotId: snapshot }));
  const BlockToken = Blocks[0]?.BlockToken ?? "";
  await platform.ebs.send(new GetSnapshotBlockCommand({ SnapshotId: snapshot, BlockIndex: 0, BlockToken }));
}

test("a master key elsewhere: made there for its owner alone, none in the data directory, nothing opens without it", async (t) => {
  const elsewhere = mkdtempSync(join(tmpdir(), "ingot-key-"));
  t.after(() => rmSync(elsewhere, { recursive: true, force: true }));
  const path = join(elsewhere, "master.key");
  const platform = await startPlatform(t, { args: ["--master-key", path] });
  assert.equal(statSync(path).mode & 0o777, 0o600);
  assert.equal(existsSync(join(platform.dataDirectory, "master.key")), false);
  await keepsSecrets(platform);
  assert.equal(existsSync(join(platform.dataDirectory, "master.key")), false);
  await platform.stopServer();
  const without = await ingot(["serve", "--data", platform.dataDirectory, "--port", "0", "--no-image"]);
  assert.equal(without.code, 1);
  assert.match(without.stderr, /another master key|the master key is not the one/);
  const both = { INGOT_MASTER_KEY: readFileSync(path, "utf8").trim() };
  const twice = await ingot(["serve", "--data", platform.dataDirectory, "--master-key", path], both);
  assert.match(twice.stderr, /give one of them/);
  await platform.startServer();
  assert.ok(await platform.client(STSClient).send(new GetCallerIdentityCommand({})));
});

test("a master key in the environment is written nowhere", async (t) => {
  const INGOT_MASTER_KEY = "5a".repeat(32);
  const platform = await startPlatform(t, { environment: { INGOT_MASTER_KEY } });
  await keepsSecrets(platform);
  assert.equal(existsSync(join(platform.dataDirectory, "master.key")), false);
});

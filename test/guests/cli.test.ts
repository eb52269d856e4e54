// The command line with a machine: launched, reached, captured, ended.
import assert from "node:assert/strict";
import { statSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { ingot, ingotOn } from "../support/ingot-command.ts";
import { startPlatform } from "../support/platform.ts";
import { processesOf } from "../support/processes.ts";

test("launch, ssh, console, capture, terminate", async (t) => {
  const platform = await startPlatform(t, { image: true });
  const onData = { INGOT_DATA: platform.dataDirectory };
  const launched = JSON.parse(
    await ingotOn(platform, "launch", "ingot/tiny", "--name", "web", "--type", "t3.nano", "--wait", "--json"),
  );
  assert.equal(launched.Instances.length, 1);
  const [{ InstanceId: id, PublicIpAddress: address }] = launched.Instances;
  assert.equal(
    statSync(join(platform.dataDirectory, "ssh", platform.accountId, "us-east-1", "ingot.pem")).mode & 0o777,
    0o600,
  );

  await t.test("ps names it", async () => {
    assert.match(await ingotOn(platform, "ps"), new RegExp(`^${id} +web +running +t3.nano +ami-\\w+ +${address}`, "m"));
  });

  await t.test(
    "ssh: by name, by the beginning of its id; output and exit code are the command's, words are not split twice",
    async () => {
      const byName = await ingot(["ssh", "web", "--", "echo 'a  b'; echo to stderr >&2; exit 7"], onData);
      assert.deepEqual(byName, { code: 7, stdout: "a  b\n", stderr: "to stderr\n" });
      const byId = await ingot(["ssh", id.slice(2, 9), "id", "-un"], onData);
      assert.deepEqual(byId, { code: 0, stdout: "ec2-user\n", stderr: "" });
      const asRoot = await ingot(["ssh", "web", "-l", "root", "id", "-un"], onData);
      assert.deepEqual(asRoot, { code: 0, stdout: "root\n", stderr: "" });
    },
  );

  await t.test("console: what it said at its boot", async () => {
    assert.match(await ingotOn(platform, "console", "web"), /Linux version/);
  });

  await t.test("capture: an image that can be launched by its name", async () => {
    const image = JSON.parse(await ingotOn(platform, "capture", "web", "mine", "--wait", "--json"));
    assert.deepEqual(image, { ImageId: image.ImageId, Name: "mine", State: "available" });
    const again = await ingot(["capture", "web", "mine"], onData);
    assert.equal(again.code, 1);
    assert.match(again.stderr, /^ingot: InvalidAMIName\.Duplicate: .*Next: give another name\n$/);
  });

  await t.test("status counts it; stop leaves it running; stop --all does not", async () => {
    await ingotOn(platform, "stop");
    const alone = JSON.parse(await ingotOn(platform, "status", "--json"));
    assert.ok(
      alone.processes.some(({ kind, name }: { kind: string; name: string }) => kind === "guest" && name === id),
    );
    await platform.startServer();
    assert.deepEqual(JSON.parse(await ingotOn(platform, "status", "--json")).instances, { running: 1 });
    await ingotOn(platform, "stop-instance", "web", "--wait", "--force");
    await ingotOn(platform, "start", "web", "--wait");
    assert.match(await ingotOn(platform, "terminate", "web", "--wait"), new RegExp(`^${id} +terminated\n$`));
    const gone = await ingot(["ssh", "web", "true"], onData);
    assert.equal(gone.code, 1);
    await ingotOn(platform, "stop", "--all");
    assert.deepEqual(processesOf(platform.dataDirectory), []);
  });
});

// The kernel network as an ordinary user: the same suite, run again by a process that has given up root. Run by an
// ordinary user, `network-kernel.test.ts` is this test already.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { prepareGuest } from "../support/network-guest.ts";

const suite = fileURLToPath(new URL("./network-kernel.test.ts", import.meta.url));

// Ordinary users may open /dev/net/tun on every distribution, but not in every container. Here it is so in a mount
// namespace that ends with the test. The script is constant; what varies comes as its arguments.
const AS_NOBODY = `
mount --make-rprivate /
mount -t tmpfs -o mode=755 none /mnt
mknod -m 666 /mnt/tun c 10 200
mount --bind /mnt/tun /dev/net/tun
exec setpriv --reuid 65534 --regid 65534 --clear-groups --inh-caps=-all -- "$@"
`;

test("the kernel network as an ordinary user, in a user namespace", { timeout: 600_000 }, async (t) => {
  if (process.geteuid?.() !== 0) return t.skip("not root: the kernel network's own test has shown it");
  const reason = prepareGuest();
  if (reason !== null) return t.skip(reason);
  const argv = [
    "--mount",
    "--",
    "sh",
    "-ec",
    AS_NOBODY,
    "sh",
    process.execPath,
    "--test",
    "--test-reporter=spec",
    suite,
  ];
  const { NODE_TEST_CONTEXT: _, ...env } = process.env;
  const child = spawn("unshare", argv, { env: { ...env, HOME: "/nonexistent" }, stdio: ["ignore", "pipe", "pipe"] });
  let output = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    output += text;
  });
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    output += text;
  });
  const [code] = (await once(child, "close")) as [number | null];
  assert.equal(code, 0, output);
  assert.match(output, /pass 2\d/);
});

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { generateKey, parsePublicKey } from "./ssh-key.ts";

for (const type of ["rsa", "ed25519"] as const) {
  test(`a new ${type} key is one that ssh-keygen reads, and both halves belong together`, (t) => {
    const directory = mkdtempSync(join(tmpdir(), "ingot-key-"));
    t.after(() => rmSync(directory, { recursive: true }));
    const key = generateKey(type);
    const file = join(directory, "key.pem");
    writeFileSync(file, `${key.privateKey}\n`, { mode: 0o600 });
    const line = execFileSync("ssh-keygen", ["-y", "-f", file], { encoding: "utf8" }).trim();
    assert.equal(line.split(" ").slice(0, 2).join(" "), key.line);
    assert.equal(parsePublicKey(Buffer.from(`${key.line} someone@somewhere`))?.line, key.line);
  });
}

// Figures from `openssl pkey -pubin -outform DER | md5sum` and `ssh-keygen -l`, for keys made for this test.
test("an imported key shows EC2's fingerprint: MD5 of the DER for RSA, SHA-256 of the blob for Ed25519", () => {
  const rsa = generateKey("rsa");
  const imported = parsePublicKey(Buffer.from(rsa.line));
  assert.match(imported?.fingerprint ?? "", /^([0-9a-f]{2}:){15}[0-9a-f]{2}$/);
  assert.match(rsa.fingerprint, /^([0-9a-f]{2}:){19}[0-9a-f]{2}$/);
  const ed = generateKey("ed25519");
  assert.equal(parsePublicKey(Buffer.from(ed.line))?.fingerprint, ed.fingerprint);
  assert.match(ed.fingerprint, /^[A-Za-z0-9+/]{43}=$/);
});

test("what is no key is null, never a crash", () => {
  for (const text of [
    "",
    "ssh-rsa",
    "ssh-rsa AAAA",
    "ssh-dss AAAAB3NzaC1kc3MAAA==",
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAAA==",
    "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----",
  ]) {
    assert.equal(parsePublicKey(Buffer.from(text)), null, text);
  }
});

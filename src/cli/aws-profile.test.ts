import assert from "node:assert/strict";
import test from "node:test";
import { withSection } from "./aws-profile.ts";

const values = { region: "us-east-1", endpoint_url: "http://127.0.0.1:8773" };
const section = "[profile ingot]\n# kept by ingot login\nregion = us-east-1\nendpoint_url = http://127.0.0.1:8773\n";

test("a new section comes after all others, which stay byte for byte", () => {
  for (const text of [
    "",
    "[default]\nregion=x\n",
    "[default]\r\nregion=x\r\n\r\n",
    "# only a comment",
    "[profile a]\n s3 =\n  x = 1\n\n",
  ]) {
    const after = withSection(text, "profile ingot", values);
    assert.ok(after.startsWith(text), JSON.stringify(after));
    assert.ok(after.endsWith(section));
    assert.match(after.slice(text.length), /^\n{0,2}\[profile ingot\]/);
  }
});

test("our own section is replaced in its place", () => {
  const text = `[default]\nregion = a\n\n[profile ingot]\n# kept by ingot login\nregion = old\n\n[profile z]\nregion = z\n`;
  const after = withSection(text, "profile ingot", values);
  assert.equal(after, `[default]\nregion = a\n\n${section}\n[profile z]\nregion = z\n`);
  assert.equal(withSection(after, "profile ingot", values), after);
});

test("a section of that name that somebody else has written is refused, however it is spelled", () => {
  for (const header of ["[profile ingot]", "[ profile   ingot ]", '[profile "ingot"]', "  [profile ingot] # mine"]) {
    assert.throws(() => withSection(`${header}\nregion = mine\n`, "profile ingot", values), /ingot is yours already/);
  }
});

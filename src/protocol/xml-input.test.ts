import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { readXml } from "./xml-input.ts";
import { escapeXml } from "./xml-output.ts";

test("elements, text, references and what is passed over", () => {
  const root = readXml(
    `\ufeff<?xml version="1.0"?><!-- a --><s:A xmlns:s="u" b='c'><B>1 &lt; 2 &amp;&#x41;&#66;</B><C/><B><![CDATA[<&]]></B>\r\n</s:A>`,
  );
  assert.equal(root?.name, "A");
  assert.deepEqual(
    root?.children.map(({ name, text }) => [name, text]),
    [
      ["B", "1 < 2 &AB"],
      ["C", ""],
      ["B", "<&"],
    ],
  );
});

test("what is not well-formed, or could name a file, is refused", () => {
  for (const text of [
    "",
    "a",
    "<a>",
    "</a>",
    "<a></b>",
    "<a/><b/>",
    "<a b></a>",
    "<a>&nbsp;</a>",
    "<a>&</a>",
    "<a>&#0;</a>",
    "<a>&#xd800;</a>",
    "<a>&constructor;</a>",
    "<!DOCTYPE a [<!ENTITY e SYSTEM 'file:///etc/passwd'>]><a>&e;</a>",
    "<a><!-- </a>",
    "<a><![CDATA[</a>",
    "<a/>x",
    "<a>".repeat(100) + "</a>".repeat(100),
  ]) {
    assert.equal(readXml(text), undefined, text.slice(0, 60));
  }
});

test("any text that was written is read, and any at all is read or refused", () => {
  fc.assert(
    fc.property(
      fc.string({ unit: fc.constantFrom("a", "&", "<", "]]>", '"', "\r\n", "\t", "é", "😀", "\ufffd", "\u0001") }),
      (text) => {
        const clean = text.replace(/[^\t\n\x20-\ud7ff\ue000-\ufffd]/gu, "");
        assert.equal(readXml(`<a>${escapeXml(clean)}</a>`)?.text, clean);
      },
    ),
  );
  const piece = fc.constantFrom(
    "<",
    ">",
    "/",
    "a",
    "<a>",
    "</a>",
    "<a/>",
    "&amp;",
    "&",
    ";",
    " ",
    "=",
    '"',
    "<!--",
    "-->",
    "<![CDATA[",
    "]]>",
    "<?",
    "?>",
  );
  fc.assert(fc.property(fc.array(piece), (pieces) => void readXml(pieces.join(""))));
});

// Were it not, this would not end.
test("time is linear in the length of what is hostile", () => {
  for (const text of ["<", "<a ", "<a>", "&", "&a", "<!--", "<a b='", "<a><b>"]) {
    assert.equal(readXml(text.repeat(300_000)), undefined);
  }
});

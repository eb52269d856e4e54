// What every home of objects' content promises (src/objects/content.ts). A new one calls this before anything uses it.
import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { buffer } from "node:stream/consumers";
import { type TestContext, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { Content, type ContentHome } from "../../src/objects/content.ts";

const MIB = 1024 * 1024;
const NO_LIMIT = { checksum: undefined, maxBytes: Number.POSITIVE_INFINITY, tooLong: () => new Error("too long") };

const md5 = (bytes: Uint8Array): string => createHash("md5").update(bytes).digest("hex");

/** In pieces as a network brings them. */
function* pieces(bytes: Buffer): Generator<Buffer> {
  for (let at = 0; at < bytes.length; at += 61_000) yield bytes.subarray(at, at + 61_000);
}

/** Removals are nobody's to wait for: they come about. */
async function until(condition: () => Promise<boolean>): Promise<void> {
  for (let tries = 0; !(await condition()); tries++) {
    assert.ok(tries < 500, "it does not come about");
    await delay(10);
  }
}

/**
 * @param open  gives an empty home of its own for each test, and opens the same one again
 */
export function contentSuite(
  name: string,
  open: (t: TestContext) => Promise<{ readonly home: ContentHome; reopen(): Promise<ContentHome> }>,
): void {
  // Nothing, a few bytes, one part and a byte, and what takes several parts.
  for (const bytes of [0, 11, MIB + 1, 8 * MIB, 20 * MIB + 17]) {
    test(`${name}: ${bytes} bytes come back as they went in, whole and in ranges`, async (t) => {
      const content = new Content((await open(t)).home);
      const body = randomBytes(bytes);
      const written = await content.write(pieces(body), { ...NO_LIMIT, checksum: "SHA256" });
      assert.equal(written.bytes, bytes);
      assert.equal(written.md5.toString("hex"), md5(body));
      assert.equal(written.checksum?.toString("hex"), createHash("sha256").update(body).digest("hex"));
      const read = (first: number, last: number) => buffer(content.read(written.pieces, first, last, content.reader()));
      assert.ok((await read(0, bytes - 1)).equals(body));
      for (const [first, last] of [
        [0, 0],
        [5, 9],
        [bytes - 3, bytes - 1],
        [Math.floor(bytes / 2), bytes - 2],
      ] as const) {
        if (first >= 0 && last < bytes) assert.ok((await read(first, last)).equals(body.subarray(first, last + 1)));
      }
      assert.deepEqual(
        await content.files(),
        written.pieces.map(({ file }) => file),
      );
    });
  }

  test(`${name}: pieces of several files are read as one`, async (t) => {
    const content = new Content((await open(t)).home);
    const one = (await content.write([Buffer.from("hello world")], NO_LIMIT)).pieces[0];
    const two = (await content.write([Buffer.from("goodbye")], NO_LIMIT)).pieces[0];
    assert.ok(one !== undefined && two !== undefined);
    const joined = [
      { file: one.file, first: 6, bytes: 5 },
      { file: two.file, first: 4, bytes: 3 },
      { file: one.file, first: 0, bytes: 5 },
    ];
    assert.equal((await buffer(content.read(joined, 2, 11, content.reader()))).toString(), "rldbyehell");
  });

  test(`${name}: a body that fails or is too long leaves nothing, however much of it had come`, async (t) => {
    const content = new Content((await open(t)).home);
    for (const bytes of [1000, 18 * MIB]) {
      const failing = async function* () {
        yield* pieces(Buffer.alloc(bytes, 7));
        throw new Error("torn");
      };
      await assert.rejects(content.write(failing(), NO_LIMIT), /torn/);
      await assert.rejects(
        content.write(pieces(Buffer.alloc(bytes)), { ...NO_LIMIT, maxBytes: bytes - 1 }),
        /too long/,
      );
    }
    assert.deepEqual(await content.files(), []);
  });

  test(`${name}: what is given up goes when its last reader has gone, ended or not`, async (t) => {
    const content = new Content((await open(t)).home);
    const body = randomBytes(3 * MIB);
    const { pieces: made } = await content.write(pieces(body), NO_LIMIT);
    const reader = content.reader();
    reader.narrow(made.map(({ file }) => file));
    const whole = content.read(made, 0, body.length - 1, reader);
    const left = content.read(made, 0, body.length - 1, content.reader());
    left.once("readable", () => left.destroy());
    content.giveUp(made.map(({ file }) => file));
    assert.ok((await buffer(whole)).equals(body));
    await until(async () => (await content.files()).length === 0);
    const gone = content.read(made, 0, 0, content.reader());
    await assert.rejects(buffer(gone));
  });

  test(`${name}: a file that is shorter than its row says ends in an error, not early`, async (t) => {
    const content = new Content((await open(t)).home);
    const [piece] = (await content.write([Buffer.from("short")], NO_LIMIT)).pieces;
    assert.ok(piece !== undefined);
    const longer = [{ ...piece, bytes: 10 }];
    await assert.rejects(buffer(content.read(longer, 0, 9, content.reader())));
  });

  test(`${name}: what was written is there for whoever opens it next`, async (t) => {
    const { home, reopen } = await open(t);
    const content = new Content(home);
    const body = randomBytes(9 * MIB);
    const { pieces: made } = await content.write(pieces(body), NO_LIMIT);
    content.close();
    const again = new Content(await reopen());
    assert.deepEqual(
      await again.files(),
      made.map(({ file }) => file),
    );
    assert.ok((await buffer(again.read(made, 0, body.length - 1, again.reader()))).equals(body));
    again.close();
  });
}

// XML that clients send: S3's documents are elements and text, and nothing else is read. A document type, which could name
// files and grow without bound, is refused; attributes, comments and processing instructions are passed over.

/** Names lose their namespace's prefix. */
export interface XmlElement {
  readonly name: string;
  readonly children: readonly XmlElement[];
  /** Its own text, in one piece. */
  readonly text: string;
}

/** S3's deepest document has five levels. */
const MAX_DEPTH = 16;
const MAX_ELEMENTS = 200_000;

const NAME = /[A-Za-z_][\w.-]*(?::[A-Za-z_][\w.-]*)?/y;
const ATTRIBUTE = /\s+[A-Za-z_][\w.:-]*\s*=\s*(?:"[^"<]*"|'[^'<]*')/y;
const SPACE = /\s*/y;
const ENTITIES: Readonly<Record<string, string>> = { lt: "<", gt: ">", amp: "&", quot: '"', apos: "'" };

interface Open {
  readonly name: string;
  readonly tag: string;
  readonly children: XmlElement[];
  text: string;
}

/** The root element; undefined if the text is not a well-formed document of the kind above. Time is linear in its length. */
export function readXml(text: string): XmlElement | undefined {
  let at = text.startsWith("\ufeff") ? 1 : 0;
  let root: XmlElement | undefined;
  let elements = 0;
  const open: Open[] = [];

  const match = (pattern: RegExp): string | undefined => {
    pattern.lastIndex = at;
    const found = pattern.exec(text)?.[0];
    if (found !== undefined) at += found.length;
    return found;
  };
  const skipTo = (end: string): boolean => {
    const found = text.indexOf(end, at);
    if (found < 0) return false;
    at = found + end.length;
    return true;
  };
  const close = (): boolean => {
    const done = open.pop();
    if (done === undefined) return false;
    const element = { name: done.name, children: done.children, text: done.text };
    const parent = open.at(-1);
    if (parent !== undefined) parent.children.push(element);
    else if (root === undefined) root = element;
    else return false;
    return true;
  };

  while (at < text.length) {
    const next = text.indexOf("<", at);
    const raw = text.slice(at, next < 0 ? text.length : next);
    if (raw !== "") {
      const parent = open.at(-1);
      const content = decodeText(raw);
      if (content === undefined) return undefined;
      if (parent !== undefined) parent.text += content;
      else if (raw.trim() !== "") return undefined;
    }
    if (next < 0) break;
    at = next;
    if (text.startsWith("<!--", at)) {
      if (!skipTo("-->")) return undefined;
    } else if (text.startsWith("<![CDATA[", at)) {
      const start = at + 9;
      const parent = open.at(-1);
      if (parent === undefined || !skipTo("]]>")) return undefined;
      parent.text += text.slice(start, at - 3);
    } else if (text.startsWith("<?", at)) {
      if (!skipTo("?>")) return undefined;
    } else if (text.startsWith("</", at)) {
      at += 2;
      const tag = match(NAME);
      match(SPACE);
      if (tag === undefined || tag !== open.at(-1)?.tag || text[at] !== ">") return undefined;
      at++;
      if (!close()) return undefined;
    } else {
      at++;
      const tag = match(NAME);
      if (tag === undefined || open.length >= MAX_DEPTH || ++elements > MAX_ELEMENTS) return undefined;
      while (match(ATTRIBUTE) !== undefined);
      match(SPACE);
      open.push({ name: tag.slice(tag.indexOf(":") + 1), tag, children: [], text: "" });
      if (text.startsWith("/>", at)) {
        at += 2;
        if (!close()) return undefined;
      } else if (text[at] === ">") at++;
      else return undefined;
    }
  }
  return open.length === 0 ? root : undefined;
}

/** Line ends are as XML wants them; undefined where `&` begins nothing that XML knows. */
function decodeText(raw: string): string | undefined {
  let wrong = false;
  const text = raw.replaceAll("\r\n", "\n").replace(/&([^;&\s]{0,16})(;?)/g, (_, name: string, end: string) => {
    const code = /^#(?:(\d{1,7})|x([0-9a-fA-F]{1,6}))$/.exec(name);
    const point =
      code === null ? Number.NaN : Number.parseInt(code[1] ?? code[2] ?? "", code[1] === undefined ? 16 : 10);
    const known = Object.hasOwn(ENTITIES, name) ? ENTITIES[name] : undefined;
    if (end === "" || (known === undefined && !isCharacter(point))) {
      wrong = true;
      return "";
    }
    return known ?? String.fromCodePoint(point);
  });
  return wrong ? undefined : text;
}

const isCharacter = (point: number): boolean => point > 0 && point <= 0x10ffff && !(point >= 0xd800 && point <= 0xdfff);

// Text on the wire ↔ the SDK's simple types. Readers return undefined for text that is not one; each protocol has its
// own words for that. `Number()`, `new Date()` and `Buffer.from(…, "base64")` are all too forgiving to be used bare.

/** A whole number within ±2^53, or with `fractions` any finite decimal. */
export function readNumber(text: string, fractions: boolean): number | undefined {
  if (!/^[+-]?\d{1,19}$/.test(text)) {
    if (!fractions || !/^[+-]?(\d{1,25}(\.\d{0,25})?|\.\d{1,25})([eE][+-]?\d{1,3})?$/.test(text)) return undefined;
  }
  const value = Number(text);
  return fractions ? (Number.isFinite(value) ? value : undefined) : Number.isSafeInteger(value) ? value : undefined;
}

/** `true`, `false` in any case, `1`, `0`: old tools send all of these. */
export function readBoolean(text: string): boolean | undefined {
  switch (text.toLowerCase()) {
    case "true":
    case "1":
      return true;
    case "false":
    case "0":
      return false;
    default:
      return undefined;
  }
}

const ISO_8601 = /^(\d{4})-(\d\d)-(\d\d)(?:T(\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?(Z|[+-]\d\d:?\d\d)?)?$/;

/** ISO 8601 with or without a time, seconds, a fraction (cut to milliseconds) and a zone (UTC if none). */
export function readTimestamp(text: string): Date | undefined {
  const match = ISO_8601.exec(text);
  if (match === null) return undefined;
  const [, year, month, day, hour = "00", minute = "00", second = "00", fraction = "", zone = "Z"] = match;
  const ms = fraction.slice(0, 3).padEnd(3, "0");
  const local = `${year}-${month}-${day}T${hour}:${minute}:${second}.${ms}Z`;
  const date = new Date(local);
  // Date accepts the 31st of every month and 24:00, and moves them on; a client that says so means something else.
  if (Number.isNaN(date.getTime()) || date.toISOString() !== local) return undefined;
  if (zone === "Z") return date;
  const hours = Number(zone.slice(1, 3));
  const minutes = Number(zone.slice(-2));
  if (hours > 23 || minutes > 59) return undefined;
  const offsetMs = (hours * 60 + minutes) * 60_000;
  return new Date(date.getTime() + (zone.startsWith("-") ? offsetMs : -offsetMs));
}

const HTTP_DATE = /^[A-Z][a-z]{2,8}, (\d{2}) ([A-Z][a-z]{2}) (\d{4}) (\d\d:\d\d:\d\d) GMT$/;

/** `Fri, 31 Jan 2026 10:20:30 GMT`; ISO 8601, which some clients send in its place, is taken too. */
export function readHttpDate(text: string): Date | undefined {
  const match = HTTP_DATE.exec(text);
  if (match === null) return readTimestamp(text);
  const [, day, month, year, time] = match;
  const date = new Date(`${day} ${month} ${year} ${time} GMT`);
  return Number.isNaN(date.getTime()) || !writeHttpDate(date).includes(`${day} ${month} ${year}`) ? undefined : date;
}

export const writeHttpDate = (date: Date): string => date.toUTCString();

/** Seconds since 1970, with a fraction (kept to milliseconds). */
export function readEpochSeconds(seconds: number): Date | undefined {
  const date = new Date(Math.round(seconds * 1000));
  return Number.isNaN(date.getTime()) ? undefined : date;
}

/** RFC 4648 with or without padding; line breaks and spaces, which `base64(1)` adds, are skipped. */
export function readBase64(text: string): Buffer | undefined {
  const packed = /\s/.test(text) ? text.replace(/\s+/g, "") : text;
  if (!/^[A-Za-z0-9+/]*={0,2}$/.test(packed)) return undefined;
  const digits = packed.replace(/=+$/, "");
  if (digits.length % 4 === 1) return undefined;
  if (packed.length !== digits.length && packed.length % 4 !== 0) return undefined;
  return Buffer.from(digits, "base64");
}

/** `2026-01-31T00:00:00.000Z`. @throws RangeError on an invalid date, which only we could have made */
export const writeTimestampMs = (date: Date): string => date.toISOString();

/** `2026-01-31T00:00:00Z`; milliseconds only where there are some. */
export const writeTimestamp = (date: Date): string => date.toISOString().replace(".000Z", "Z");

export const writeBase64 = (bytes: Uint8Array): string =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("base64");

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** UTF-8, strictly: undefined if any byte is out of place. */
export function readUtf8(bytes: Uint8Array): string | undefined {
  try {
    return utf8.decode(bytes);
  } catch {
    return undefined;
  }
}

/** Names and values of a raw query string, decoded (`+` is a space, as in forms); undefined if they are not UTF-8. */
export function readQuery(query: string): [string, string][] | undefined {
  const pairs: [string, string][] = [];
  if (!query.isWellFormed()) return undefined;
  try {
    for (const pair of query.split("&")) {
      if (pair === "") continue;
      const equals = pair.indexOf("=");
      const name = equals === -1 ? pair : pair.slice(0, equals);
      const value = equals === -1 ? "" : pair.slice(equals + 1);
      pairs.push([decodeURIComponent(name.replaceAll("+", " ")), decodeURIComponent(value.replaceAll("+", " "))]);
    }
  } catch {
    return undefined;
  }
  return pairs;
}

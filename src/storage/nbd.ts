// The NBD protocol's numbers, as far as we speak it: fixed newstyle, structured replies, block status.
// https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md

export const NBD_MAGIC = 0x4e42444d41474943n; // NBDMAGIC
export const OPTION_MAGIC = 0x49484156454f5054n; // IHAVEOPT
export const OPTION_REPLY_MAGIC = 0x0003e889045565a9n;
export const REQUEST_MAGIC = 0x25609513;
export const SIMPLE_REPLY_MAGIC = 0x67446698;
export const STRUCTURED_REPLY_MAGIC = 0x668e33ef;

export const HANDSHAKE = { fixedNewstyle: 1, noZeroes: 2 } as const;
export const OPT = {
  exportName: 1,
  abort: 2,
  list: 3,
  startTls: 5,
  info: 6,
  go: 7,
  structuredReply: 8,
  listMetaContext: 9,
  setMetaContext: 10,
} as const;
export const REP = {
  ack: 1,
  server: 2,
  info: 3,
  metaContext: 4,
  errUnsupported: 0x80000001,
  errPolicy: 0x80000002,
  errInvalid: 0x80000003,
  errUnknown: 0x80000006,
  errTooBig: 0x80000009,
} as const;
export const INFO = { export: 0, name: 1, description: 2, blockSize: 3 } as const;
export const FLAG = {
  hasFlags: 1,
  readOnly: 2,
  sendFlush: 4,
  sendFua: 8,
  sendTrim: 32,
  sendWriteZeroes: 64,
  sendDf: 128,
  canMultiConn: 256,
  sendCache: 1024,
} as const;
export const CMD = {
  read: 0,
  write: 1,
  disconnect: 2,
  flush: 3,
  trim: 4,
  cache: 5,
  writeZeroes: 6,
  blockStatus: 7,
} as const;
export const CMD_FLAG = { fua: 1, noHole: 2, df: 4, reqOne: 8 } as const;
export const REPLY_FLAG_DONE = 1;
export const CHUNK = {
  none: 0,
  offsetData: 1,
  offsetHole: 2,
  blockStatus: 5,
  error: 0x8001,
  errorOffset: 0x8002,
} as const;
export const ERRNO = { eperm: 1, eio: 5, einval: 22, enospc: 28, eoverflow: 75, enotsup: 95, eshutdown: 108 } as const;
export const STATE = { hole: 1, zero: 2 } as const;

export const REQUEST_BYTES = 28;
/** The protocol asks servers to take at least this much in one request, and clients not to send more. */
export const MAX_REQUEST = 32 * 1024 * 1024;
export const MAX_STRING = 4096;

// The part of QEMU's QMP that we use, as types: what each command takes and returns. QEMU 7.2; all of it since 5.2.

/** QEMU's RunState, those that a machine of ours can be seen in. */
export type RunState =
  | "running"
  | "paused"
  | "shutdown"
  | "guest-panicked"
  | "io-error"
  | "internal-error"
  | "prelaunch"
  | "suspended"
  | (string & {});

export interface QmpBitmap {
  readonly name?: string;
  readonly granularity: number;
  /** Bytes marked. */
  readonly count: number;
  readonly recording: boolean;
  readonly busy: boolean;
  readonly persistent: boolean;
  readonly inconsistent?: boolean;
}

export interface QmpBlockNode {
  readonly "node-name": string;
  readonly drv: string;
  readonly file: string;
  readonly ro: boolean;
  readonly image: { readonly "virtual-size": number };
  readonly "dirty-bitmaps"?: readonly QmpBitmap[];
}

export interface QmpJob {
  readonly id: string;
  readonly type: string;
  readonly status: string;
  readonly error?: string;
}

export interface TransactionAction {
  readonly type: string;
  readonly data: Readonly<Record<string, unknown>>;
}

type None = Record<string, never>;

/** Command -> [arguments, result]. */
export interface QmpCommands {
  qmp_capabilities: [None, None];
  "object-add": [{ readonly "qom-type": string; readonly id: string; readonly [property: string]: unknown }, None];
  "query-status": [None, { readonly status: RunState; readonly running: boolean }];
  "query-uuid": [None, { readonly UUID: string }];
  "query-name": [None, { readonly name?: string }];
  "query-version": [
    None,
    { readonly qemu: { readonly major: number; readonly minor: number; readonly micro: number } },
  ];
  system_powerdown: [None, None];
  system_reset: [None, None];
  stop: [None, None];
  cont: [None, None];
  quit: [None, None];
  "blockdev-add": [Readonly<Record<string, unknown>>, None];
  "blockdev-del": [{ readonly "node-name": string }, None];
  device_add: [Readonly<Record<string, unknown>>, None];
  device_del: [{ readonly id: string }, None];
  block_resize: [{ readonly "node-name": string; readonly size: number }, None];
  "qom-list": [{ readonly path: string }, readonly { readonly name: string; readonly type: string }[]];
  "qom-get": [{ readonly path: string; readonly property: string }, unknown];
  "query-named-block-nodes": [{ readonly flat: boolean }, readonly QmpBlockNode[]];
  "query-block-exports": [
    None,
    readonly { readonly id: string; readonly "node-name": string; readonly "shutting-down": boolean }[],
  ];
  "query-chardev": [None, readonly { readonly label: string; readonly "frontend-open": boolean }[]];
  "query-jobs": [None, readonly QmpJob[]];
  transaction: [{ readonly actions: readonly TransactionAction[] }, None];
  "nbd-server-start": [
    {
      readonly addr: { readonly type: "unix"; readonly data: { readonly path: string } };
      readonly "max-connections": number;
    },
    None,
  ];
  "nbd-server-stop": [None, None];
  "block-export-add": [Readonly<Record<string, unknown>>, None];
  "block-export-del": [{ readonly id: string; readonly mode: "safe" | "hard" }, None];
  "block-job-cancel": [{ readonly device: string; readonly force?: boolean }, None];
  screendump: [{ readonly filename: string; readonly format: "png" | "ppm" }, None];
  "human-monitor-command": [{ readonly "command-line": string }, string];
  "x-debug-block-dirty-bitmap-sha256": [{ readonly node: string; readonly name: string }, { readonly sha256: string }];
}
export type QmpCommand = keyof QmpCommands;

export interface QmpEvent {
  readonly event: string;
  readonly data: Readonly<Record<string, unknown>>;
}

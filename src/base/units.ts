// Sizes are bytes in a `number` (64 TiB is far below 2^53). Any other unit is in the name.
export const KIB = 1024;
export const MIB = 1024 * KIB;
export const GIB = 1024 * MIB;

/** EBS direct APIs move snapshots in blocks of this many bytes. */
export const BLOCK_BYTES = 512 * KIB;

/** Smallest volume, in GiB, that holds `imageBytes`: EC2 sizes are whole GiB, never 0. */
export const volumeSizeGib = (imageBytes: number): number => Math.max(1, Math.ceil(imageBytes / GIB));

/** Every table, by area: each file in `tables/` says what its rows hold. */
export type Schema = Record<never, never>;

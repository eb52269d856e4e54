import { lookupEvents } from "./lookup-events.ts";

export const cloudtrailOperations = { LookupEvents: lookupEvents };

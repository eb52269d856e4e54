import { createTrail, deleteTrail, updateTrail } from "./change-trail.ts";
import { describeTrails, getTrail, listTrails } from "./describe-trails.ts";
import { getEventSelectors, putEventSelectors } from "./event-selectors.ts";
import { listPublicKeys } from "./list-public-keys.ts";
import { getTrailStatus, startLogging, stopLogging } from "./logging.ts";
import { lookupEvents } from "./lookup-events.ts";
import { addTags, listTags, removeTags } from "./tags.ts";

export const cloudtrailOperations = {
  AddTags: addTags,
  CreateTrail: createTrail,
  DeleteTrail: deleteTrail,
  DescribeTrails: describeTrails,
  GetEventSelectors: getEventSelectors,
  GetTrail: getTrail,
  GetTrailStatus: getTrailStatus,
  ListPublicKeys: listPublicKeys,
  ListTags: listTags,
  ListTrails: listTrails,
  LookupEvents: lookupEvents,
  PutEventSelectors: putEventSelectors,
  RemoveTags: removeTags,
  StartLogging: startLogging,
  StopLogging: stopLogging,
  UpdateTrail: updateTrail,
};

// Which events a trail delivers. Selectors are kept as the API gives them; services/cloudtrail/event-selectors.ts has
// checked them before they get here.
import type { Category, Resource } from "./record.ts";

export interface DataResource {
  readonly Type: string;
  /** ARNs and beginnings of ARNs. */
  readonly Values: readonly string[];
}

export interface BasicSelector {
  readonly ReadWriteType: "All" | "ReadOnly" | "WriteOnly";
  readonly IncludeManagementEvents: boolean;
  readonly DataResources: readonly DataResource[];
  readonly ExcludeManagementEventSources: readonly string[];
}

export const OPERATORS = ["Equals", "StartsWith", "EndsWith", "NotEquals", "NotStartsWith", "NotEndsWith"] as const;
export type Operator = (typeof OPERATORS)[number];

export type FieldSelector = { readonly Field: string } & { readonly [O in Operator]?: readonly string[] };

export interface AdvancedSelector {
  readonly Name?: string;
  readonly FieldSelectors: readonly FieldSelector[];
}

/** Several selectors are alternatives. */
export type Selectors =
  | { readonly kind: "basic"; readonly selectors: readonly BasicSelector[] }
  | { readonly kind: "advanced"; readonly selectors: readonly AdvancedSelector[] };

/** What a trail has until somebody says otherwise: all management events, no data events. */
export const DEFAULT_SELECTORS: Selectors = {
  kind: "basic",
  selectors: [
    { ReadWriteType: "All", IncludeManagementEvents: true, DataResources: [], ExcludeManagementEventSources: [] },
  ],
};

export interface SelectableEvent {
  readonly category: Category;
  readonly eventName: string;
  readonly eventSource: string;
  readonly readOnly: boolean;
  readonly resources: readonly Resource[];
  /** The record: JSON text. Parsed only for fields that are nowhere else. */
  readonly body: string;
}

/** Does one of the selectors choose this event? */
export function selects(selectors: Selectors, event: SelectableEvent): boolean {
  switch (selectors.kind) {
    case "basic":
      return selectors.selectors.some((selector) => basicMatches(selector, event));
    case "advanced":
      return selectors.selectors.some((selector) =>
        selector.FieldSelectors.every((field) => fieldMatches(field, event)),
      );
  }
}

function basicMatches(selector: BasicSelector, event: SelectableEvent): boolean {
  if (selector.ReadWriteType === "ReadOnly" && !event.readOnly) return false;
  if (selector.ReadWriteType === "WriteOnly" && event.readOnly) return false;
  if (event.category === "Management") {
    return selector.IncludeManagementEvents && !selector.ExcludeManagementEventSources.includes(event.eventSource);
  }
  return selector.DataResources.some(({ Type, Values }) =>
    event.resources.some(({ type, arn }) => type === Type && Values.some((value) => arn.startsWith(value))),
  );
}

function fieldMatches(selector: FieldSelector, event: SelectableEvent): boolean {
  const values = valuesOf(selector.Field, event);
  const some = (operator: Operator, test: (value: string, wanted: string) => boolean): boolean => {
    const wanted = selector[operator];
    return wanted === undefined || values.some((value) => wanted.some((one) => test(value, one)));
  };
  const none = (operator: Operator, test: (value: string, wanted: string) => boolean): boolean => {
    const wanted = selector[operator];
    return wanted === undefined || !values.some((value) => wanted.some((one) => test(value, one)));
  };
  return (
    // Positive operators of one field are alternatives to each other; each negative one must hold.
    (!(selector.Equals ?? selector.StartsWith ?? selector.EndsWith) ||
      (selector.Equals !== undefined && some("Equals", (value, one) => value === one)) ||
      (selector.StartsWith !== undefined && some("StartsWith", (value, one) => value.startsWith(one))) ||
      (selector.EndsWith !== undefined && some("EndsWith", (value, one) => value.endsWith(one)))) &&
    none("NotEquals", (value, one) => value === one) &&
    none("NotStartsWith", (value, one) => value.startsWith(one)) &&
    none("NotEndsWith", (value, one) => value.endsWith(one))
  );
}

/** A field's values in an event: several for resources, none where it is absent. */
function valuesOf(field: string, event: SelectableEvent): readonly string[] {
  switch (field) {
    case "eventCategory":
      return [event.category];
    case "eventName":
      return [event.eventName];
    case "eventSource":
      return [event.eventSource];
    case "readOnly":
      return [String(event.readOnly)];
    case "resources.type":
      return event.resources.map((resource) => resource.type);
    case "resources.ARN":
      return event.resources.map((resource) => resource.arn);
    default: {
      let value: unknown = JSON.parse(event.body);
      for (const name of field.split(".")) value = member(value, name);
      return typeof value === "string" || typeof value === "boolean" ? [String(value)] : [];
    }
  }
}

const member = (value: unknown, name: string): unknown =>
  typeof value === "object" && value !== null && Object.hasOwn(value, name)
    ? (value as Readonly<Record<string, unknown>>)[name]
    : undefined;

// Does a value fit a validator? Asked before writing, so that a refusal can name the record: Convex's
// own validation fails the whole call without saying whose fault it was.

import type { GenericValidator, Validator, Value } from "convex/values";

/** Nothing that Convex stores is nested deeper; beyond that, Convex itself may judge. */
const MAX_DEPTH = 16;

/** True when Convex would accept `value` (undefined: the column is absent) for this validator. */
export function fits(validator: GenericValidator, value: Value | undefined, depth = 0): boolean {
  const known = validator as Validator<unknown, "required" | "optional", string>;
  if (value === undefined) return known.isOptional === "optional";
  if (depth > MAX_DEPTH) return true;
  switch (known.kind) {
    case "null":
      return value === null;
    case "boolean":
      return typeof value === "boolean";
    case "float64":
      return typeof value === "number";
    case "int64":
      return typeof value === "bigint";
    case "string":
      return typeof value === "string";
    case "bytes":
      return value instanceof ArrayBuffer;
    case "id":
      return typeof value === "string";
    case "literal":
      return value === known.value;
    case "union":
      return known.members.some((member: GenericValidator) => fits(member, value, depth + 1));
    case "array":
      return Array.isArray(value) && value.every((item) => fits(known.element, item, depth + 1));
    case "record":
      return (
        isObject(value) &&
        Object.entries(value).every(
          ([name, item]) => fits(known.key, name, depth + 1) && fits(known.value, item, depth + 1),
        )
      );
    case "object":
      return isObject(value) && unfit(known.fields, value, depth + 1) === null;
    default:
      // `any`, and kinds that are younger than this file: Convex itself judges.
      return true;
  }
}

/** The first misfit of an object: a value that does not fit, a column missing, a column unknown. */
export function unfit(
  fields: Record<string, GenericValidator>,
  object: Record<string, Value | undefined>,
  depth = 0,
): { field: string; fault: "invalid" | "missing" | "unknown" } | null {
  for (const [field, validator] of Object.entries(fields)) {
    const value = object[field];
    if (!fits(validator, value, depth)) {
      return { field, fault: value === undefined ? "missing" : "invalid" };
    }
  }
  for (const [field, value] of Object.entries(object)) {
    if (value !== undefined && !has(fields, field)) return { field, fault: "unknown" };
  }
  return null;
}

/** Whether an object itself, and not what it inherits from, has a property: `Object.hasOwn`, for
 * projects that compile for an older standard. */
export function has(object: object, name: string): boolean {
  return Object.prototype.hasOwnProperty.call(object, name);
}

function isObject(value: Value): value is Record<string, Value> {
  return (
    typeof value === "object" &&
    value !== null &&
    !Array.isArray(value) &&
    !(value instanceof ArrayBuffer)
  );
}

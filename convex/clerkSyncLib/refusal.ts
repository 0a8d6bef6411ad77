// How a function says no: a structured ConvexError, because a deployment in production redacts the
// message of every other error. The data names the record and the reason, never a value.

import { ConvexError } from "convex/values";

/** Why an item, or a whole call, could not be carried out. */
export type RefusalCode =
  /** More changes or keys in one call than Convex's limits allow: send fewer. */
  | "batch_too_large"
  /** The app has switched this table off. */
  | "unknown_table"
  /** The key is empty. */
  | "invalid_key"
  /** `createdAt` or `version` is not a finite number. */
  | "invalid_version"
  /** A field that is neither synced nor among the extra fields, or a column the schema lacks. */
  | "unknown_field"
  /** A value that the column's validator does not accept. */
  | "invalid_field"
  /** A column that the app's schema requires and nobody supplies. */
  | "missing_field"
  /** The row would be larger than a Convex document may be. */
  | "too_large"
  /** Convex refused the write; the app's schema is the usual cause. */
  | "invalid_row"
  /** A hook of the app threw. */
  | "hook_failed"
  /** Files are to be deleted, but the factory was not told where they are. */
  | "files_not_configured"
  /** A row that is to be merged into an older one owns more files than can be moved at once. */
  | "too_many_files"
  /** `list` was given a cursor that is not one of its own. */
  | "invalid_cursor"
  /** A page or a number of edits below one was asked for. */
  | "invalid_limit"
  /** `editProfile`: the user has no profile row. */
  | "no_profile";

/** An error that names the record and the reason; `field` is a column's name where one is to blame. */
export function refusal(
  code: RefusalCode,
  key: string | null,
  field?: string,
): ConvexError<{ code: string; key: string | null; field?: string }> {
  return new ConvexError(field === undefined ? { code, key } : { code, key, field });
}

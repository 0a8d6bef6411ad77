// Reading: `list` walks a table in the order of Clerk's `created_at`, `get` looks up keys, `members` shows
// the memberships of one organization.
//
// A cursor is a position in the index and nothing more, so it survives deployments and the deletion of
// the row it points at. Rows without a Clerk id are the app's own and do not appear. A row that exists
// during the whole walk appears once; every page sees the table as it is at its own moment.

import { getDocumentSize, type Value } from "convex/values";
import type { IndexRange, Reader } from "./database";
import { MAX_SHOWN_DUPLICATES } from "./merge";
import { refusal } from "./refusal";
import { rowsOf } from "./rows";
import { column, indexOf, type Settings, tableOf, type TableSettings } from "./settings";
import type { Row, Table } from "./tables";
import type { SyncRecord } from "./wire";

/** The contract's bound on one page. */
export const MAX_PAGE = 4000;
/** A page ends early after this much, half of what Convex lets a transaction read. */
export const MAX_PAGE_BYTES = 8 * 1024 * 1024;
/** Keys of one `get`: each is an index range, and Convex allows 4,096. */
export const MAX_KEYS = 4000;

export type ListArgs = {
  table: Table;
  from: number | null;
  before: number | null;
  cursor: string | null;
  limit: number;
};

export type MembersArgs = { organization: string; cursor: string | null; limit: number };

/** Where a page ended: `createdAt` null for a row without one. */
type Position = { createdAt: number | null; key: string; creationTime: number };

type Range = (q: IndexRange) => IndexRange;

export async function listRecords(
  db: Reader,
  settings: Settings,
  args: ListArgs,
): Promise<{ records: SyncRecord[]; cursor: string | null }> {
  const table = tableOf(settings, args.table, null);
  if (!(args.limit >= 1)) throw refusal("invalid_limit", null);
  const limit = Math.min(Math.floor(args.limit), MAX_PAGE);
  const start = args.cursor === null ? null : decode(args.cursor);
  const records: SyncRecord[] = [];
  let bytes = 0;
  let last: Position | null = null;
  for (const range of ranges(table, args.from, args.before, start)) {
    const rows = db.query(table.table).withIndex(indexOf(table, "byCreated"), range);
    for await (const row of rows) {
      const full = records.length === limit || bytes > MAX_PAGE_BYTES;
      if (full && last !== null) return { records, cursor: encode(last) };
      bytes += getDocumentSize(row as Record<string, Value>);
      last = positionOf(table, row);
      if (keyOf(table, row) !== null) records.push(toRecord(table, row));
    }
  }
  return { records, cursor: null };
}

export async function getRecords(
  db: Reader,
  settings: Settings,
  name: Table,
  keys: string[],
): Promise<{ records: SyncRecord[] }> {
  const table = tableOf(settings, name, null);
  const excess = keys[MAX_KEYS];
  if (excess !== undefined) throw refusal("batch_too_large", excess);
  const records: SyncRecord[] = [];
  let bytes = 0;
  for (const key of new Set(keys)) {
    // The empty string is what a row without a key might hold; it names no record.
    const rows = key === "" ? [] : await rowsOf(db, table, key, MAX_SHOWN_DUPLICATES);
    for (const row of rows) {
      bytes += getDocumentSize(row as Record<string, Value>);
      records.push(toRecord(table, row));
    }
    if (bytes > MAX_PAGE_BYTES) throw refusal("batch_too_large", key);
  }
  return { records };
}

/** One organization's memberships, in no promised order; a page may be short and not be the last. */
export async function listMembers(
  db: Reader,
  settings: Settings,
  { organization, cursor, limit }: MembersArgs,
): Promise<{ records: SyncRecord[]; cursor: string | null }> {
  const table = tableOf(settings, "memberships", null);
  if (!(limit >= 1)) throw refusal("invalid_limit", null);
  const { page, isDone, continueCursor } = await db
    .query(table.table)
    .withIndex(indexOf(table, "byOrganization"), (q) =>
      q.eq(column(table, "clerkOrganizationId"), organization),
    )
    .paginate({
      cursor,
      numItems: Math.min(Math.floor(limit), MAX_PAGE),
      maximumBytesRead: MAX_PAGE_BYTES,
    });
  const ours = page.filter((row) => keyOf(table, row) !== null);
  return {
    records: ours.map((row) => toRecord(table, row)),
    cursor: isDone ? null : continueCursor,
  };
}

/**
 * The index ranges that follow a position, in order: the rest of the same key (duplicates), the rest of
 * the same millisecond, everything later. Rows without `createdAt` form the beginning of the table.
 */
function ranges(
  table: TableSettings,
  from: number | null,
  before: number | null,
  start: Position | null,
): Range[] {
  const created = column(table, "clerkCreatedAt");
  const clerkId = column(table, "clerkId");
  const below = (q: IndexRange) => (before === null ? q : q.lt(created, before));
  // Every number sorts above null, and no other type occurs in this column.
  const dated: Range = (q) => below(from === null ? q.gt(created, null) : q.gte(created, from));
  const undated: Range = (q) => q.eq(created, undefined).gt(clerkId, "");
  if (start === null) return from === null ? [undated, dated] : [dated];
  const at = start.createdAt ?? undefined;
  const same: Range = (q) =>
    q.eq(created, at).eq(clerkId, start.key).gt("_creationTime", start.creationTime);
  const rest: Range = (q) => q.eq(created, at).gt(clerkId, start.key);
  const later: Range =
    start.createdAt === null ? dated : (q) => below(q.gt(created, start.createdAt));
  return [same, rest, later];
}

function keyOf(table: TableSettings, row: Row): string | null {
  const key = row[column(table, "clerkId")];
  return typeof key === "string" && key !== "" ? key : null;
}

/** The position after a row. One without a key is followed by every key of its millisecond. */
function positionOf(table: TableSettings, row: Row): Position {
  const createdAt = row[column(table, "clerkCreatedAt")];
  const key = keyOf(table, row);
  return {
    createdAt: typeof createdAt === "number" ? createdAt : null,
    key: key ?? "",
    creationTime: key === null ? Number.MAX_VALUE : row._creationTime,
  };
}

function encode({ createdAt, key, creationTime }: Position): string {
  return JSON.stringify([createdAt, key, creationTime]);
}

function decode(cursor: string): Position {
  let parts: unknown;
  try {
    parts = JSON.parse(cursor);
  } catch {
    throw refusal("invalid_cursor", null);
  }
  if (!Array.isArray(parts) || parts.length !== 3) throw refusal("invalid_cursor", null);
  const [createdAt, key, creationTime] = parts as unknown[];
  const valid =
    (createdAt === null || typeof createdAt === "number") &&
    typeof key === "string" &&
    typeof creationTime === "number";
  if (!valid) throw refusal("invalid_cursor", null);
  return { createdAt, key, creationTime };
}

function toRecord(table: TableSettings, row: Row): SyncRecord {
  const fields: Record<string, Value> = {};
  for (const [name, field] of Object.entries(table.fields)) {
    const value = row[field.column];
    if (value !== undefined) fields[name] = value;
    else if (field.nullIsAbsent && field.readsNull) fields[name] = null;
  }
  const time = (name: string) => {
    const value = row[column(table, name)];
    return typeof value === "number" ? value : null;
  };
  return {
    id: row._id,
    key: String(row[column(table, "clerkId")]),
    createdAt: time("clerkCreatedAt"),
    version: time("clerkUpdatedAt"),
    deletedAt: time("deletedAt"),
    fields,
  };
}

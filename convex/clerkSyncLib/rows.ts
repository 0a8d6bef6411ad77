// Reading and writing rows, tombstones and nothing else: the only file that inserts, patches or
// deletes rows of the synced tables.
//
// Always through the `ctx.db` that the app's own builder gave, so that its triggers fire. Knows no
// versions and makes no decision. A key with several rows (a bad import, an app's own insert) never
// makes it throw: the oldest row stands for the record.

import { getDocumentSize, type Value } from "convex/values";
import type { Columns, MutationCtx, Reader } from "./database";
import { unfit } from "./fits";
import * as hooks from "./hooks";
import { refusal } from "./refusal";
import { column, indexOf, type Settings, type TableSettings } from "./settings";
import type { Row, Table } from "./tables";
import type { CascadeJob, Conflict } from "./wire";

/** One call of `apply` or `cascade`, and what it has gathered so far. */
export type Call = {
  ctx: MutationCtx;
  settings: Settings;
  /** Milliseconds since 1970, the same for the whole call. */
  now: number;
  /** Deletions whose dependents are left to scheduled steps. */
  jobs: CascadeJob[];
  /** Fields that both sides have changed, and whose word goes. */
  conflicts: Conflict[];
  /** Index ranges that are left of Convex's limit, and changes of the call still to come. */
  room: { ranges: number; changesLeft: number };
};

/** A document may be 1 MiB; the margin is for the system fields. */
const MAX_ROW_BYTES = 1024 * 1024 - 256;

/** The rows of a key, oldest first. */
export async function rowsOf(
  db: Reader,
  table: TableSettings,
  key: string,
  limit: number,
): Promise<Row[]> {
  return await db
    .query(table.table)
    .withIndex(indexOf(table, "byKey"), (q) => q.eq(column(table, "clerkId"), key))
    .take(limit);
}

/** The row that stands for a key. */
export async function oldest(db: Reader, table: TableSettings, key: string): Promise<Row | null> {
  return (await rowsOf(db, table, key, 1))[0] ?? null;
}

/** True when the row is marked as deleted. */
export function isDeleted(table: TableSettings, row: Row): boolean {
  return typeof row[column(table, "deletedAt")] === "number";
}

/** `updatedAt` and `lastSyncAt`, as far as the app has them. */
export function touched(table: TableSettings, now: number): Columns {
  const columns: Columns = {};
  for (const name of ["updatedAt", "lastSyncAt"]) {
    const own = table.own[name];
    if (typeof own === "string") columns[own] = now;
  }
  return columns;
}

export async function insertRow(
  call: Call,
  table: TableSettings,
  key: string,
  columns: Columns,
): Promise<string> {
  const { ctx, settings } = call;
  const doc = compact(columns);
  checkRow(table, key, doc);
  const id = await written(key, () => ctx.db.insert(table.table, doc));
  if (settings.hooks[table.name]?.onCreate !== undefined) {
    await hooks.created(settings.hooks, table.name, ctx, key, await mustGet(ctx, id));
  }
  return id;
}

export async function patchRow(
  call: Call,
  table: TableSettings,
  key: string,
  row: Row,
  columns: Columns,
): Promise<void> {
  const { ctx, settings } = call;
  checkSize(key, compact({ ...row, ...columns }));
  await written(key, () => ctx.db.patch(row._id, columns));
  if (settings.hooks[table.name]?.onUpdate !== undefined) {
    await hooks.updated(settings.hooks, table.name, ctx, key, await mustGet(ctx, row._id), row);
  }
}

/** Moves Clerk's times or a reference: nothing that an app would want to hear of. */
export async function patchQuietly(
  call: Call,
  key: string,
  row: Row,
  columns: Columns,
): Promise<void> {
  await written(key, () => call.ctx.db.patch(row._id, columns));
}

export async function deleteRow(call: Call, table: TableSettings, row: Row): Promise<void> {
  const { ctx, settings } = call;
  const key = String(row[column(table, "clerkId")]);
  await written(key, () => ctx.db.delete(row._id));
  await hooks.deleted(settings.hooks, table.name, ctx, key, row, "hard");
}

/** Removes a row whose record lives on in another row: no hook, since the record is not deleted. */
export async function dropRow(call: Call, key: string, row: Row): Promise<void> {
  await written(key, () => call.ctx.db.delete(row._id));
}

/** Marks a row as deleted and leaves the rest as it is. */
export async function markDeleted(call: Call, table: TableSettings, key: string, row: Row) {
  const { ctx, settings, now } = call;
  const columns = { [column(table, "deletedAt")]: now, ...touched(table, now) };
  await written(key, () => ctx.db.patch(row._id, columns));
  if (settings.hooks[table.name]?.onDelete !== undefined) {
    const doc = await mustGet(ctx, row._id);
    await hooks.deleted(settings.hooks, table.name, ctx, key, doc, "soft");
  }
}

/** What is remembered of a deleted key. */
export type Tombstone = Row & { mode: "hard" | "soft"; rowIds: string[] };

/** Row ids kept for finding files: more duplicates than this nobody has seen. */
const MAX_ROW_IDS = 64;

export async function findTombstone(
  db: Reader,
  settings: Settings,
  table: Table,
  key: string,
): Promise<Tombstone | null> {
  return (await db
    .query(settings.tombstones)
    .withIndex("by_table_key", (q) => q.eq("table", table).eq("key", key))
    .first()) as Tombstone | null;
}

/** Leaves a tombstone, or makes the one that is there say more; never less. */
export async function bury(
  call: Call,
  table: Table,
  key: string,
  mode: "hard" | "soft",
  rowIds: readonly string[],
  known?: Tombstone | null,
): Promise<void> {
  const { ctx, settings, now } = call;
  const there = known === undefined ? await findTombstone(ctx.db, settings, table, key) : known;
  if (there === null) {
    const ids = rowIds.slice(0, MAX_ROW_IDS);
    await ctx.db.insert(settings.tombstones, { table, key, deletedAt: now, mode, rowIds: ids });
    return;
  }
  const added = rowIds.filter((id) => !there.rowIds.includes(id));
  const hardened = there.mode === "soft" && mode === "hard";
  if (added.length === 0 && !hardened) return;
  const ids = [...there.rowIds, ...added].slice(-MAX_ROW_IDS);
  await ctx.db.patch(there._id, { mode: hardened ? mode : there.mode, rowIds: ids });
}

export async function unbury(call: Call, tombstone: Tombstone): Promise<void> {
  await call.ctx.db.delete(tombstone._id);
}

async function mustGet(ctx: MutationCtx, id: string): Promise<Row> {
  const row = await ctx.db.get(id);
  if (row === null) throw new Error("clerkSync: a row written in this transaction is not there");
  return row;
}

function compact(columns: Columns): Record<string, Value> {
  return Object.fromEntries(
    Object.entries(columns).filter((entry): entry is [string, Value] => entry[1] !== undefined),
  );
}

function checkRow(table: TableSettings, key: string, doc: Record<string, Value>): void {
  checkSize(key, doc);
  if (table.columns === null) return;
  const misfit = unfit(table.columns, doc);
  if (misfit !== null) throw refusal(`${misfit.fault}_field`, key, misfit.field);
}

function checkSize(key: string, doc: Record<string, Value>): void {
  if (getDocumentSize(doc) > MAX_ROW_BYTES) throw refusal("too_large", key);
}

/** Convex's own message about a refused write quotes the row, so it goes no further than here. */
async function written<T>(key: string, write: () => Promise<T>): Promise<T> {
  try {
    return await write();
  } catch {
    throw refusal("invalid_row", key);
  }
}

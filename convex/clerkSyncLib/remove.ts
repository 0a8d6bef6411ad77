// One deletion: the row goes, or is marked, and a tombstone stays in either case.
//
// A hard deletion of a user or an organization takes along what hangs on it (`cascade.ts`), even when
// its own row is not there: the dependents may have come first. Repeating a deletion finishes whatever
// an earlier one left.

import { sweepOrSchedule } from "./cascade";
import { dropEdits } from "./edits";
import { refreshUsersOf } from "./organization";
import { refusal } from "./refusal";
import { bury, deleteRow, isDeleted, markDeleted, rowsOf, type Call } from "./rows";
import { tableOf, type TableSettings } from "./settings";
import type { Row } from "./tables";
import type { Delete, Outcome } from "./wire";

/** Rows of one key that a deletion takes at once. More is no bad import but another fault; what is
 * left is found by the next diff and deleted again. */
export const MAX_DUPLICATES = 64;

export async function remove(call: Call, change: Delete): Promise<Outcome> {
  const { ctx, settings } = call;
  const { key } = change;
  if (key === "") throw refusal("invalid_key", key);
  const table = tableOf(settings, change.table, key);
  if (change.files === "delete" && change.table === "users" && settings.files === null) {
    throw refusal("files_not_configured", key);
  }
  const rows = await rowsOf(ctx.db, table, key, MAX_DUPLICATES);
  return change.mode === "soft"
    ? await mark(call, table, key, rows)
    : await erase(call, table, change, rows);
}

async function mark(call: Call, table: TableSettings, key: string, rows: Row[]): Promise<Outcome> {
  await bury(call, table.name, key, "soft", []);
  const first = rows[0];
  if (first === undefined) return { key, outcome: "absent" };
  const standing = rows.filter((row) => !isDeleted(table, row));
  for (const row of standing) await markDeleted(call, table, key, row);
  await refreshUsersOf(call, table, standing);
  return { key, outcome: standing.length > 0 ? "deleted" : "unchanged", id: first._id };
}

async function erase(
  call: Call,
  table: TableSettings,
  change: Delete,
  rows: Row[],
): Promise<Outcome> {
  const { key } = change;
  for (const row of rows) await deleteRow(call, table, row);
  const ids = rows.map((row) => row._id);
  await bury(call, table.name, key, "hard", ids);
  if (table.name === "profiles") await dropEdits(call, key);
  await refreshUsersOf(call, table, rows);
  if (change.table === "users" || change.table === "organizations") {
    await sweepOrSchedule(call, { table: change.table, key, files: change.files ?? "keep" });
  }
  const first = rows[0];
  return first === undefined
    ? { key, outcome: "absent" }
    : { key, outcome: "deleted", id: first._id };
}

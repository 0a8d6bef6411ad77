// A user's own change of a profile field, from the app to Clerk.
//
//   editProfile ──▶ pending ──settle(done)───▶ done ──▶ (removed by a later edit, a release or time)
//                      │ └────settle(refused)─▶ refused, the row goes back to Clerk's value
//                      └── a newer value from Clerk, or another edit of the field, takes its place
//
// `editProfile` changes the row at once and leaves the edit in the outbox, in one transaction; the daemon
// reads `edits`, carries them to Clerk and reports with `settle`. Until Clerk's echo is in, an older
// value from Clerk does not overwrite the edited field. There is at most one pending edit per user.

import type { Value } from "convex/values";
import type { Columns, MutationCtx, Reader } from "./database";
import { fits, has } from "./fits";
import { ECHO_WAIT_MS, holdsBack } from "./newest";
import { refusal } from "./refusal";
import { isDeleted, oldest, patchRow, type Call } from "./rows";
import { column, tableOf, type Settings, type TableSettings } from "./settings";
import type { Row } from "./tables";
import type { Edit, Settlement, Upsert } from "./wire";

type Text = string | null;

/** An edit as the outbox keeps it; the columns are described in `schema.ts`. */
type OutboxRow = Row & {
  key: string;
  status: "pending" | "done" | "refused";
  editedAt: number;
  settledAt?: number;
  fields: Record<string, Text>;
  base: Record<string, Text>;
  replaced: Record<string, Text[]>;
};

/** Edits read at once by the daemon. */
const MAX_EDITS = 1000;
/** Rows of one user in the outbox; the oldest settled ones make room for new ones. */
const MAX_PER_KEY = 16;
/** Former values remembered per field. */
const MAX_REPLACED = 8;
/** Characters kept of Clerk's reason for refusing. */
const MAX_REASON = 500;

/**
 * Records a user's own change of profile fields. To be called from a mutation of the app that has
 * checked who is asking. A null clears a field. Throws a structured ConvexError for a field that may
 * not be edited, a value that does not fit, or a user without a profile.
 */
export async function editProfile(
  ctx: MutationCtx,
  settings: Settings,
  edit: { clerkId: string; fields: Record<string, Text> },
): Promise<{ editId: string | null }> {
  const key = edit.clerkId;
  const table = tableOf(settings, "profiles", key);
  for (const [name, value] of Object.entries(edit.fields)) {
    const field = has(table.fields, name) ? table.fields[name] : undefined;
    if (field === undefined || !settings.editable.has(name)) {
      throw refusal("unknown_field", key, name);
    }
    if (!fits(field.validator, stored(table, name, value))) {
      throw refusal("invalid_field", key, name);
    }
  }
  const row = await oldest(ctx.db, table, key);
  if (row === null || isDeleted(table, row)) throw refusal("no_profile", key);
  const changed = Object.entries(edit.fields).filter(
    ([name, value]) => valueOf(table, row, name) !== value,
  );
  if (changed.length === 0) return { editId: null };
  const now = Date.now();
  const editId = await enqueue(ctx, settings, table, row, Object.fromEntries(changed), now);
  const columns: Columns = {};
  for (const [name, value] of changed) {
    columns[table.fields[name]?.column as string] = stored(table, name, value);
  }
  if (typeof table.own.updatedAt === "string") columns[table.own.updatedAt] = now;
  await ctx.db.patch(row._id, columns);
  return { editId };
}

/** The pending edits, those that wait longest first. */
export async function pendingEdits(
  db: Reader,
  settings: Settings,
  limit: number,
): Promise<{ edits: Edit[] }> {
  if (!(limit >= 1)) throw refusal("invalid_limit", null);
  const rows = (await db
    .query(settings.edits)
    .withIndex("by_status_editedAt", (q) => q.eq("status", "pending"))
    .take(Math.min(Math.floor(limit), MAX_EDITS))) as OutboxRow[];
  return {
    edits: rows.map(({ _id, key, fields, editedAt }) => ({ id: _id, key, fields, editedAt })),
  };
}

/** What became of edits at Clerk. Unknown ids and settled ones are skipped: calls may be repeated. */
export async function settleEdits(call: Call, settled: Settlement[]): Promise<{ settled: number }> {
  const { ctx, settings, now } = call;
  if (settled.length > MAX_EDITS) throw refusal("batch_too_large", settled[MAX_EDITS]?.id ?? null);
  let count = 0;
  for (const { id, result, reason } of settled) {
    const known = ctx.db.normalizeId(settings.edits, id);
    const row = known === null ? null : ((await ctx.db.get(known)) as OutboxRow | null);
    if (row === null || row.status !== "pending") continue;
    const why = reason === undefined ? {} : { reason: reason.slice(0, MAX_REASON) };
    await ctx.db.patch(row._id, { status: result, settledAt: now, ...why });
    if (result === "refused") await putBack(call, row);
    count += 1;
  }
  return { settled: count };
}

/** The columns of a change that must not be written, because the user has typed something newer. */
export async function withheldFields(
  call: Call,
  table: TableSettings,
  change: Upsert,
  differing: Columns,
): Promise<Set<string>> {
  const withheld = new Set<string>();
  const concerned = Object.entries(change.fields).filter(
    ([name]) => call.settings.editable.has(name) && (table.fields[name]?.column ?? "") in differing,
  );
  if (concerned.length === 0) return withheld;
  const rows = await outboxOf(call.ctx.db, call.settings, change.key);
  const releases = new Map<OutboxRow, string[]>();
  for (const [name, value] of concerned) {
    const latest = latestOf(rows, name);
    if (latest === undefined) continue;
    const held = {
      status: latest.status,
      editedAt: latest.editedAt,
      settledAt: latest.settledAt ?? null,
      value: latest.fields[name] as Text,
      replaced: latest.replaced[name] ?? [],
    };
    if (holdsBack(held, value as Value, change.version, call.now) === "keep") {
      withheld.add(table.fields[name]?.column as string);
    } else if (latest.status !== "refused") {
      releases.set(latest, [...(releases.get(latest) ?? []), name]);
    }
  }
  for (const [row, names] of releases) await release(call, row, names);
  return withheld;
}

/** Everything in the outbox of a user who is gone. */
export async function dropEdits(call: Call, key: string): Promise<void> {
  for (const row of await outboxOf(call.ctx.db, call.settings, key)) {
    await call.ctx.db.delete(row._id);
  }
}

/** The latest edit of a field, of edits in the order in which they were made. */
function latestOf(rows: OutboxRow[], name: string): OutboxRow | undefined {
  return rows.filter((row) => has(row.fields, name)).pop();
}

async function outboxOf(db: Reader, settings: Settings, key: string): Promise<OutboxRow[]> {
  return (await db
    .query(settings.edits)
    .withIndex("by_key", (q) => q.eq("key", key))
    .take(MAX_PER_KEY * 2)) as OutboxRow[];
}

/** Puts an edit in the outbox, in the place of the one that still waits there. Its id is new, so that a
 * daemon that carries the former one right now cannot settle this one with it. */
async function enqueue(
  ctx: MutationCtx,
  settings: Settings,
  table: TableSettings,
  row: Row,
  changed: Record<string, Text>,
  now: number,
): Promise<string> {
  const key = String(row[column(table, "clerkId")]);
  const earlier = await outboxOf(ctx.db, settings, key);
  const pending = earlier.find((each) => each.status === "pending");
  const fields = { ...pending?.fields, ...changed };
  const base: Record<string, Text> = {};
  const replaced: Record<string, Text[]> = {};
  for (const name of Object.keys(fields)) {
    const current = valueOf(table, row, name);
    const latest = latestOf(
      earlier.filter((each) => each.status !== "refused"),
      name,
    );
    const before = latest?.replaced[name] ?? [];
    base[name] = pending?.base[name] ?? current;
    replaced[name] = [...new Set([...before, current])]
      .filter((value) => value !== fields[name])
      .slice(-MAX_REPLACED);
  }
  if (pending !== undefined) await ctx.db.delete(pending._id);
  const settled = earlier.filter((each) => each.status !== "pending");
  for (const [place, each] of settled.entries()) {
    const over = each.status === "refused" || now - (each.settledAt ?? 0) > ECHO_WAIT_MS;
    const crowded = place < settled.length - MAX_PER_KEY + 1;
    if (over || crowded) await ctx.db.delete(each._id);
  }
  const outboxRow = { key, status: "pending", editedAt: now, fields, base, replaced };
  return await ctx.db.insert(settings.edits, outboxRow);
}

/** Clerk has refused: the row shows again what Clerk holds, unless something newer stands there. */
async function putBack(call: Call, edit: OutboxRow): Promise<void> {
  const table = tableOf(call.settings, "profiles", edit.key);
  const row = await oldest(call.ctx.db, table, edit.key);
  if (row === null) return;
  const columns: Columns = {};
  for (const [name, value] of Object.entries(edit.fields)) {
    const field = table.fields[name];
    if (field === undefined || valueOf(table, row, name) !== value) continue;
    columns[field.column] = stored(table, name, edit.base[name] ?? null);
  }
  if (Object.keys(columns).length === 0) return;
  if (typeof table.own.updatedAt === "string") columns[table.own.updatedAt] = call.now;
  await patchRow(call, table, edit.key, row, columns);
}

/** Clerk's value goes: these fields of the edit are over. */
async function release(call: Call, edit: OutboxRow, names: string[]): Promise<void> {
  const rest = Object.entries(edit.fields).filter(([name]) => !names.includes(name));
  if (rest.length === 0) await call.ctx.db.delete(edit._id);
  else await call.ctx.db.patch(edit._id, { fields: Object.fromEntries(rest) });
}

function valueOf(table: TableSettings, row: Row, name: string): Text {
  const value = row[table.fields[name]?.column as string] ?? null;
  if (value !== null && typeof value !== "string") throw refusal("invalid_field", null, name);
  return value;
}

function stored(table: TableSettings, name: string, value: Text): Value | undefined {
  return value === null && table.fields[name]?.nullIsAbsent === true ? undefined : value;
}

// A user's own change of a profile field, from the app to Clerk.
//
//   editProfile ──▶ pending ──settle(done)───▶ done ──▶ (removed by a later edit, a release or time)
//                      │ └────settle(refused)─▶ refused, the row goes back to Clerk's value
//                      └── a newer value from Clerk, or another edit of the field, takes its place
//
// `editProfile` changes the row at once and leaves the edit in the outbox, in one transaction; the daemon
// reads `edits`, carries them to Clerk and reports with `settle`. Until Clerk's echo is in, an older
// value from Clerk does not overwrite the edited field; what Clerk says after the echo does. There is at
// most one pending edit per user. Profile fields live in `profiles`, `username` lives in `users`.

import type { Value } from "convex/values";
import type { Columns, MutationCtx, Reader } from "./database";
import { fits, has } from "./fits";
import { contested, ECHO_WAIT_MS, holdsBack, isEcho, type HeldEdit, type Hold } from "./newest";
import { refusal } from "./refusal";
import { isDeleted, oldest, patchRow, type Call } from "./rows";
import type { Settings, TableSettings } from "./settings";
import type { Row, Table } from "./tables";
import type { Edit, Settlement, Upsert } from "./wire";

type Text = string | null;

/** A row with its table, and those of one user. */
type Home = { table: TableSettings; row: Row };
type Rows = Map<Table, Home>;

/** A field that the user has given another value. */
type Changed = { name: string; value: Text; current: Text; home: Home };

/** An edit as the outbox keeps it; the columns are described in `schema.ts`. */
type OutboxRow = Row & {
  key: string;
  status: "pending" | "done" | "refused";
  editedAt: number;
  settledAt?: number;
  fields: Record<string, Text>;
  base: Record<string, Text>;
  replaced: Record<string, Text[]>;
  carried?: Record<string, number>;
  contested?: Record<string, number>;
  at?: Record<string, number>;
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
  for (const [name, value] of Object.entries(edit.fields)) {
    const table = homeOf(settings, name);
    const field = table?.fields[name];
    if (table === undefined || field === undefined) throw refusal("unknown_field", key, name);
    if (!fits(field.validator, stored(table, name, value))) {
      throw refusal("invalid_field", key, name);
    }
  }
  const rows = await rowsOf(ctx.db, settings, key);
  const profile = rows.get("profiles");
  if (profile === undefined) throw refusal("no_profile", key);
  const changed: Changed[] = [];
  for (const [name, value] of Object.entries(edit.fields)) {
    const home = rows.get(homeOf(settings, name)?.name as Table);
    if (home === undefined) throw refusal("no_profile", key);
    const current = valueOf(home.table, home.row, name);
    if (current !== value) changed.push({ name, value, current, home });
  }
  if (changed.length === 0) return { editId: null };
  const now = Date.now();
  const editId = await enqueue(ctx, settings, key, changed, rows, now);
  for (const { table, row } of rows.values()) {
    const own = changed.filter((each) => each.home.table === table);
    if (own.length === 0) continue;
    const columns: Columns = {};
    for (const { name, value } of own) {
      columns[table.fields[name]?.column as string] = stored(table, name, value);
    }
    if (typeof table.own.updatedAt === "string") columns[table.own.updatedAt] = now;
    await ctx.db.patch(row._id, columns);
  }
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

/**
 * The columns of a change that must not be written, because the user has typed something newer. Notes in
 * the outbox what the change tells about it: that Clerk has the edit by now (`newer` says that the change
 * moves the version), what Clerk held before, and which edits are over.
 */
export async function withheldFields(
  call: Call,
  table: TableSettings,
  change: Upsert,
  differing: Columns,
  newer: boolean,
): Promise<Set<string>> {
  const withheld = new Set<string>();
  const fields = Object.entries(change.fields).filter(
    ([name]) => homeOf(call.settings, name) === table,
  );
  const differs = (name: string) => (table.fields[name]?.column ?? "") in differing;
  const concerned = fields.filter(([name]) => newer || differs(name));
  if (concerned.length === 0) return withheld;
  const rows = await outboxOf(call.ctx.db, call.settings, change.key);
  const notes = new Map<OutboxRow, OutboxRow>();
  for (const [name, value] of concerned) {
    const latest = latestOf(rows, name);
    if (latest === undefined || latest.status === "refused") continue;
    const note = notes.get(latest) ?? copyOf(latest);
    const edit = heldEdit(latest, name);
    if (!differs(name)) {
      if (!isEcho(edit, value as Value, change.version)) continue;
      note.carried = { [name]: change.version, ...note.carried };
      notes.set(latest, note);
      continue;
    }
    const hold = holdsBack(edit, value as Value, change.version, call.now);
    const winner = tellOf(call, change, name, edit, hold);
    if (hold === "keep") {
      withheld.add(table.fields[name]?.column as string);
      if (latest.status !== "pending") continue;
      if (winner !== null) note.contested = { ...note.contested, [name]: change.version };
      // Clerk held this before the edit: a refusal goes back to it, and it is old news from now on.
      note.base[name] = value as Text;
      note.replaced[name] = remembered([...(note.replaced[name] ?? []), value as Text]);
    } else {
      delete note.fields[name];
    }
    notes.set(latest, note);
  }
  for (const [row, note] of notes) await keepNote(call, row, note);
  return withheld;
}

/** Lets the daemon hear whose word goes, where both sides have changed a field: its log is to show both. */
function tellOf(call: Call, change: Upsert, field: string, edit: HeldEdit, hold: Hold) {
  const { key, version } = change;
  const [clerk, convex] = [change.fields[field] as Text, edit.value as Text];
  const winner = contested(edit, clerk, version, hold);
  if (winner === null) return null;
  call.conflicts.push({ key, field, winner, clerk, version, convex, editedAt: edit.editedAt });
  return winner;
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
  key: string,
  changed: Changed[],
  rows: Rows,
  now: number,
): Promise<string> {
  const earlier = await outboxOf(ctx.db, settings, key);
  const pending = earlier.find((each) => each.status === "pending");
  const typed = Object.fromEntries(changed.map(({ name, value }) => [name, value]));
  const fields = { ...pending?.fields, ...typed };
  const at: Record<string, number> = {};
  const base: Record<string, Text> = {};
  const replaced: Record<string, Text[]> = {};
  for (const name of Object.keys(fields)) {
    const home = rows.get(homeOf(settings, name)?.name as Table);
    const current = home === undefined ? null : valueOf(home.table, home.row, name);
    const latest = latestOf(
      earlier.filter((each) => each.status !== "refused"),
      name,
    );
    const before = latest?.replaced[name] ?? [];
    at[name] = pending === undefined || has(typed, name) ? now : editedAt(pending, name);
    // Null is a value here: what Clerk holds for a name that nobody has given.
    base[name] = (has(pending?.fields ?? {}, name) ? pending?.base[name] : current) ?? null;
    replaced[name] = remembered([...before, current]).filter((value) => value !== fields[name]);
  }
  if (pending !== undefined) await ctx.db.delete(pending._id);
  const settled = earlier.filter((each) => each.status !== "pending");
  for (const [place, each] of settled.entries()) {
    const over = each.status === "refused" || now - (each.settledAt ?? 0) > ECHO_WAIT_MS;
    const crowded = place < settled.length - MAX_PER_KEY + 1;
    if (over || crowded) await ctx.db.delete(each._id);
  }
  // What is known of the fields that were not edited now stays known.
  const others = (known: Record<string, number> | undefined) =>
    Object.fromEntries(Object.entries(known ?? {}).filter(([name]) => !has(typed, name)));
  const carried = others(pending?.carried);
  const contested = others(pending?.contested);
  const outboxRow = {
    ...{ key, status: "pending", editedAt: now },
    ...{ fields, base, replaced, at, carried, contested },
  };
  return await ctx.db.insert(settings.edits, outboxRow);
}

/** Clerk has refused: the row shows again what Clerk holds, unless something newer stands there. */
async function putBack(call: Call, edit: OutboxRow): Promise<void> {
  const rows = await rowsOf(call.ctx.db, call.settings, edit.key);
  for (const { table, row } of rows.values()) {
    const columns: Columns = {};
    for (const [name, value] of Object.entries(edit.fields)) {
      const field = homeOf(call.settings, name) === table ? table.fields[name] : undefined;
      if (field === undefined || valueOf(table, row, name) !== value) continue;
      columns[field.column] = stored(table, name, edit.base[name] ?? null);
    }
    if (Object.keys(columns).length === 0) continue;
    if (typeof table.own.updatedAt === "string") columns[table.own.updatedAt] = call.now;
    await patchRow(call, table, edit.key, row, columns);
  }
}

/** Writes down what a change has told about an edit; one without fields is over. */
async function keepNote(call: Call, row: OutboxRow, note: OutboxRow): Promise<void> {
  const { fields, base, replaced, carried, contested } = note;
  if (Object.keys(fields).length === 0) await call.ctx.db.delete(row._id);
  else await call.ctx.db.patch(row._id, { fields, base, replaced, carried, contested });
}

function copyOf(row: OutboxRow): OutboxRow {
  const { fields, base, replaced } = row;
  return { ...row, fields: { ...fields }, base: { ...base }, replaced: { ...replaced } };
}

/** An edit of one field, as the pure rules want to see it. */
function heldEdit(row: OutboxRow, name: string): HeldEdit {
  return {
    status: row.status,
    editedAt: editedAt(row, name),
    settledAt: row.settledAt ?? null,
    carriedAt: row.carried?.[name] ?? null,
    contestedAt: row.contested?.[name] ?? null,
    value: row.fields[name] as Text,
    // However often the user has typed, what Clerk was last known to hold is among it.
    replaced: [row.base[name] ?? null, ...(row.replaced[name] ?? [])],
  };
}

/** When this field was edited last: a later edit of another one does not make it later. */
function editedAt(row: OutboxRow, name: string): number {
  return (has(row.at ?? {}, name) ? row.at?.[name] : undefined) ?? row.editedAt;
}

/** Each value once, the last ones of too many. */
function remembered(values: Text[]): Text[] {
  return [...new Set(values)].slice(-MAX_REPLACED);
}

/** The table that holds a field which may be edited: `profiles`, or `users` for what only that has. */
function homeOf(settings: Settings, name: string): TableSettings | undefined {
  if (!settings.editable.has(name)) return undefined;
  const { profiles, users } = settings.tables;
  if (profiles !== undefined && has(profiles.fields, name)) return profiles;
  return name === "username" && users !== undefined && has(users.fields, name) ? users : undefined;
}

/** The rows of a user that an edit may touch, as far as they are there. */
async function rowsOf(db: Reader, settings: Settings, key: string): Promise<Rows> {
  const rows: Rows = new Map();
  for (const name of ["profiles", "users"] as const) {
    if (name === "users" && !settings.editable.has("username")) continue;
    const table = settings.tables[name];
    const row = table === undefined ? null : await oldest(db, table, key);
    if (table === undefined || row === null || isDeleted(table, row)) continue;
    rows.set(name, { table, row });
  }
  return rows;
}

function valueOf(table: TableSettings, row: Row, name: string): Text {
  const value = row[table.fields[name]?.column as string] ?? null;
  if (value !== null && typeof value !== "string") throw refusal("invalid_field", null, name);
  return value;
}

function stored(table: TableSettings, name: string, value: Text): Value | undefined {
  return value === null && table.fields[name]?.nullIsAbsent === true ? undefined : value;
}

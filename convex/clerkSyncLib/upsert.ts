// One upsert: a record as Clerk has it, against the row that is there.
//
// `newest.ts` decides; this file reads what the decision needs and carries it out. It touches the given
// fields, Clerk's times, `updatedAt` and `lastSyncAt`, and nothing else that the app keeps on the row.

import { compareValues, type Value } from "convex/values";
import type { Columns } from "./database";
import { withheldFields } from "./edits";
import { fits, has } from "./fits";
import { MAX_MERGED, mergeInto } from "./merge";
import { conclude, guard, type Incoming, type Standing } from "./newest";
import { derivedOrganization, refreshOrganization } from "./organization";
import { refusal } from "./refusal";
import {
  bury,
  findTombstone,
  insertRow,
  isDeleted,
  oldest,
  patchQuietly,
  patchRow,
  rowsOf,
  touched,
  unbury,
  type Call,
} from "./rows";
import { column, indexOf, tableOf, type TableSettings } from "./settings";
import type { Row } from "./tables";
import type { Outcome, Upsert } from "./wire";

export async function upsert(call: Call, change: Upsert): Promise<Outcome> {
  const { ctx, settings } = call;
  const { key } = change;
  const table = tableOf(settings, change.table, key);
  const given = checked(table, change);
  const incoming: Incoming = {
    version: change.version,
    createdAt: change.createdAt,
    revive: change.revive === true,
  };
  // Without a wish to merge, the rows beside the oldest are nobody's business here.
  const wished = change.merge === true ? 1 + MAX_MERGED : 1;
  const [first, ...younger] = await rowsOf(ctx.db, table, key, wished);
  const row = first ?? null;
  const tombstone = await findTombstone(ctx.db, settings, table.name, key);
  const standing = row && { ...standingOf(table, row), version: newest(table, [row, ...younger]) };
  const verdict = guard(standing, tombstone !== null, incoming);
  if (verdict === "tombstoned" || verdict === "stale") {
    return row === null ? { key, outcome: verdict } : { key, outcome: verdict, id: row._id };
  }
  const gone = verdict === "insert" && !incoming.revive ? await parentGone(call, change) : null;
  if (gone !== null) {
    if (gone === "hard") await bury(call, table.name, key, "hard", [], tombstone);
    return { key, outcome: "tombstoned" };
  }
  if (tombstone !== null) await unbury(call, tombstone);
  const wanted = { ...given, ...(await organizationColumns(call, table, change)) };
  if (row === null) return await insertOrLink(call, table, change, wanted);
  const outcome = await bringUp(call, table, change, incoming, row, wanted);
  if (younger.length === 0) return outcome;
  await mergeInto(call, table, key, row, younger);
  return { ...outcome, outcome: "updated" };
}

/** The newest version that any of the rows holds: nothing older may come out of merging them. */
function newest(table: TableSettings, rows: readonly Row[]): number | null {
  const versions = rows.map((row) => standingOf(table, row).version);
  const known = versions.filter((version) => version !== null);
  return known.length === 0 ? null : Math.max(...known);
}

/** What the version guard needs to know of a row. */
function standingOf(table: TableSettings, row: Row): Standing {
  const version = row[column(table, "clerkUpdatedAt")];
  const createdAt = row[column(table, "clerkCreatedAt")];
  return {
    version: typeof version === "number" ? version : null,
    createdAt: typeof createdAt === "number" ? createdAt : null,
    deleted: isDeleted(table, row),
  };
}

/** The given fields as columns, or a refusal that names the first that cannot be written. */
function checked(table: TableSettings, change: Upsert): Columns {
  const { key } = change;
  if (key === "") throw refusal("invalid_key", key);
  if (!Number.isFinite(change.version) || !Number.isFinite(change.createdAt)) {
    throw refusal("invalid_version", key);
  }
  const columns: Columns = {};
  for (const [name, value] of Object.entries(change.fields)) {
    if (!has(table.fields, name)) throw refusal("unknown_field", key, name);
    const stored = toColumn(table, name, value);
    const field = table.fields[name];
    if (field === undefined || !fits(field.validator, stored)) {
      throw refusal("invalid_field", key, name);
    }
    columns[field.column] = stored;
  }
  return columns;
}

/** A value as its column holds it: where null is not accepted, it is absence. */
function toColumn(table: TableSettings, name: string, value: Value): Value | undefined {
  return value === null && table.fields[name]?.nullIsAbsent === true ? undefined : value;
}

/**
 * A new record whose user or organization was removed for good would be an orphan at once. So would the
 * profile of a user who was deleted softly before its row came; a membership of such a user stays.
 */
async function parentGone(call: Call, change: Upsert): Promise<"hard" | "soft" | null> {
  const { ctx, settings } = call;
  const mode = async (table: "users" | "organizations", key: Value | undefined) =>
    typeof key === "string" ? (await findTombstone(ctx.db, settings, table, key))?.mode : undefined;
  if (change.table === "profiles") return (await mode("users", change.key)) ?? null;
  if (change.table !== "memberships") return null;
  const { clerkUserId, clerkOrganizationId } = change.fields;
  const gone =
    (await mode("users", clerkUserId)) === "hard" ||
    (await mode("organizations", clerkOrganizationId)) === "hard";
  return gone ? "hard" : null;
}

/** The columns of `organizationId`: as metadata says, or as the memberships do. */
async function organizationColumns(
  call: Call,
  table: TableSettings,
  change: Upsert,
): Promise<Columns> {
  const field = table.fields.organizationId;
  if (table.name !== "users" || field === undefined) return {};
  const pinned = column(table, "clerkOrganizationPinned");
  if (change.fields.organizationId !== undefined) return { [pinned]: true };
  const derived = await derivedOrganization(call.ctx.db, call.settings, change.key);
  return { [field.column]: toColumn(table, "organizationId", derived), [pinned]: undefined };
}

async function insertOrLink(
  call: Call,
  table: TableSettings,
  change: Upsert,
  wanted: Columns,
): Promise<Outcome> {
  const { key } = change;
  const columns: Columns = {
    ...wanted,
    ...clerkTimes(table, change),
    ...touched(table, call.now),
    [column(table, "clerkId")]: key,
  };
  const orphan = await rowToLink(call, table, change);
  if (orphan !== null) {
    const createdAt = table.own.createdAt;
    if (typeof createdAt === "string" && orphan[createdAt] === undefined) {
      columns[createdAt] = change.createdAt;
    }
    await patchRow(call, table, key, orphan, columns);
    await adoptProfile(call, key, orphan._id);
    return { key, outcome: "linked", id: orphan._id };
  }
  const createdAt = table.own.createdAt;
  if (typeof createdAt === "string") columns[createdAt] = change.createdAt;
  const owner = await ownerColumns(call, table, key, null);
  const id = await insertRow(call, table, key, {
    ...defaults(table, change),
    ...owner,
    ...columns,
  });
  if (table.name === "users") await adoptProfile(call, key, id);
  if (table.name === "memberships") await refreshOrganization(call, change.fields.clerkUserId);
  return { key, outcome: "created", id };
}

async function bringUp(
  call: Call,
  table: TableSettings,
  change: Upsert,
  incoming: Incoming,
  row: Row,
  wanted: Columns,
): Promise<Outcome> {
  const { key } = change;
  let differing = differences(row, wanted);
  if (table.name === "profiles" || table.name === "users") {
    const newer = incoming.version > (standingOf(table, row).version ?? -Infinity);
    const withheld = await withheldFields(call, table, change, differing, newer);
    differing = Object.fromEntries(
      Object.entries(differing).filter(([name]) => !withheld.has(name)),
    );
  }
  const sameContent = Object.keys(differing).length === 0;
  const conclusion = conclude(standingOf(table, row), incoming, sameContent);
  if (conclusion === "nothing") return { key, outcome: "unchanged", id: row._id };
  const times = differences(row, clerkTimes(table, change));
  if (conclusion === "advance") {
    await patchQuietly(call, key, row, times);
    if (table.name === "memberships") await refreshOrganization(call, change.fields.clerkUserId);
    return { key, outcome: "unchanged", id: row._id };
  }
  await patchRow(call, table, key, row, {
    ...differing,
    ...times,
    ...(await ownerColumns(call, table, key, row)),
    ...touched(table, call.now),
    [column(table, "deletedAt")]: undefined,
  });
  if (table.name === "memberships") await refreshBoth(call, table, change, row);
  return { key, outcome: "updated", id: row._id };
}

/** A membership that moved concerns the user it belonged to as well. */
async function refreshBoth(call: Call, table: TableSettings, change: Upsert, before: Row) {
  const former = before[column(table, "clerkUserId")];
  const now = change.fields.clerkUserId ?? former;
  await refreshOrganization(call, now);
  if (former !== now) await refreshOrganization(call, former);
}

function clerkTimes(table: TableSettings, change: Upsert): Columns {
  return {
    [column(table, "clerkCreatedAt")]: change.createdAt,
    [column(table, "clerkUpdatedAt")]: change.version,
  };
}

function differences(row: Row, wanted: Columns): Columns {
  return Object.fromEntries(
    // A column that is missing and one that is null say the same: there is no value.
    Object.entries(wanted).filter(
      ([name, value]) => compareValues(row[name] ?? null, value ?? null) !== 0,
    ),
  );
}

/** The app's own columns, written once. What the sync keeps cannot be given this way. */
function defaults(table: TableSettings, change: Upsert): Columns {
  const reserved = new Set(Object.values(table.own));
  const columns: Columns = {};
  for (const [name, value] of Object.entries(change.insertDefaults ?? {})) {
    if (reserved.has(name) || name.startsWith("_")) {
      throw refusal("unknown_field", change.key, name);
    }
    const validator = table.columns?.[name];
    columns[name] =
      value === null && validator !== undefined && !fits(validator, null) ? undefined : value;
  }
  return columns;
}

/** The row that has the user's verified address, if it is the only one and still the app's own. */
async function rowToLink(call: Call, table: TableSettings, change: Upsert): Promise<Row | null> {
  const { linkEmail } = change;
  if (table.name !== "users" || linkEmail === undefined || linkEmail === "") return null;
  const [first, second] = await call.ctx.db
    .query(table.table)
    .withIndex(indexOf(table, "byEmail"), (q) => q.eq(column(table, "email"), linkEmail))
    .take(2);
  // A second row with the address, whoever's it is, leaves in doubt which of them is meant.
  if (first === undefined || second !== undefined || isDeleted(table, first)) return null;
  // An empty key is none.
  return first[column(table, "clerkId")] ? null : first;
}

/** A profile's `userId`, as soon as the user's row is there. */
async function ownerColumns(
  call: Call,
  table: TableSettings,
  key: string,
  row: Row | null,
): Promise<Columns> {
  const userId = table.own.userId;
  const users = call.settings.tables.users;
  if (table.name !== "profiles" || typeof userId !== "string" || users === undefined) return {};
  if (row !== null && row[userId] !== undefined) return {};
  const user = await oldest(call.ctx.db, users, key);
  return user === null ? {} : { [userId]: user._id };
}

/** The other way round: a profile that was there before its user. */
async function adoptProfile(call: Call, key: string, id: string): Promise<void> {
  const profiles = call.settings.tables.profiles;
  const userId = profiles?.own.userId;
  if (profiles === undefined || typeof userId !== "string") return;
  const profile = await oldest(call.ctx.db, profiles, key);
  if (profile === null || profile[userId] === id) return;
  await patchQuietly(call, key, profile, { [userId]: id });
}

// What a hard deletion takes along: of a user its profile, its memberships and, if asked, its files; of
// an organization its memberships. Each synced row leaves a tombstone.
//
// A handful goes in the transaction of the deletion itself; more goes in scheduled steps of bounded
// size, so that no number of files can exceed a limit of Convex. A step looks at what is there now, so
// it may be repeated, and a deletion that is repeated takes the work up again where it stopped.

import { getDocumentSize, type Value } from "convex/values";
import type { RowQuery } from "./database";
import { dropEdits } from "./edits";
import { refreshOrganization } from "./organization";
import { bury, deleteRow, findTombstone, rowsOf, type Call } from "./rows";
import { column, indexOf, type FilesOptions, type TableSettings } from "./settings";
import type { Row } from "./tables";
import type { CascadeJob } from "./wire";

/** Dependents that go with the deletion itself. */
export const INLINE_DEPENDENTS = 50;
/** Dependents of one scheduled step: at some 5 index ranges each, a quarter of what a transaction may. */
export const STEP_DEPENDENTS = 200;
/** What a job costs even when nothing hangs on the record, in dependents. */
const JOB_COST = 5;
/** Bytes of dependents read in one go, well below the 16 MiB of a transaction. */
const MAX_STEP_BYTES = 4 * 1024 * 1024;
/** Index ranges that an inline sweep may need at most. */
const INLINE_RANGES = 400;
/** Index ranges kept back for each change of the call that is still to come. */
const RANGES_PER_CHANGE = 4;

/** Sweeps now if there is room, and leaves the rest, or all, to scheduled steps. */
export async function sweepOrSchedule(call: Call, job: CascadeJob): Promise<void> {
  const spare = call.room.ranges - call.room.changesLeft * RANGES_PER_CHANGE;
  if (spare < INLINE_RANGES) {
    call.jobs.push(job);
    return;
  }
  const { finished } = await sweep(call, job, INLINE_DEPENDENTS);
  if (!finished) call.jobs.push(job);
}

/** One scheduled step: as many dependents as are allowed, then the next step for the rest. */
export async function cascadeStep(call: Call, jobs: CascadeJob[]): Promise<null> {
  let left = STEP_DEPENDENTS;
  let next = 0;
  for (; next < jobs.length && left > 0; next += 1) {
    const job = jobs[next];
    if (job === undefined) break;
    if (!(await isGone(call, job))) {
      left -= 1;
      continue;
    }
    const { finished, used } = await sweep(call, job, left);
    if (!finished) break;
    left -= Math.max(used, JOB_COST);
  }
  call.jobs.push(...jobs.slice(next));
  await scheduleJobs(call);
  return null;
}

/** False for a record that was brought back since: what hangs on it now is its own. */
async function isGone(call: Call, { table, key }: CascadeJob): Promise<boolean> {
  const tombstone = await findTombstone(call.ctx.db, call.settings, table, key);
  return tombstone?.mode === "hard";
}

/** Hands what the call could not do itself to the scheduler; committed with the call, or not at all. */
export async function scheduleJobs(call: Call): Promise<void> {
  if (call.jobs.length === 0) return;
  await call.ctx.scheduler.runAfter(0, call.settings.cascade, { jobs: call.jobs });
}

type Swept = { finished: boolean; used: number };

async function sweep(call: Call, job: CascadeJob, limit: number): Promise<Swept> {
  const parts =
    job.table === "users"
      ? [sweepProfile, membershipsBy("byUser", "clerkUserId"), sweepFiles]
      : [membershipsBy("byOrganization", "clerkOrganizationId")];
  let used = 0;
  for (const part of parts) {
    if (used >= limit) return { finished: false, used };
    const swept = await part(call, job, limit - used);
    used += swept.used;
    if (!swept.finished) return { finished: false, used };
  }
  return { finished: true, used };
}

async function sweepProfile(call: Call, job: CascadeJob, limit: number): Promise<Swept> {
  const table = call.settings.tables.profiles;
  if (table === undefined) return { finished: true, used: 0 };
  const rows = await rowsOf(call.ctx.db, table, job.key, limit);
  for (const row of rows) await deleteRow(call, table, row);
  await bury(call, table.name, job.key, "hard", []);
  await dropEdits(call, job.key);
  return { finished: rows.length < limit, used: rows.length };
}

function membershipsBy(index: "byUser" | "byOrganization", parent: string) {
  return async (call: Call, job: CascadeJob, limit: number): Promise<Swept> => {
    const table = call.settings.tables.memberships;
    if (table === undefined) return { finished: true, used: 0 };
    const clerkId = column(table, "clerkId");
    const query = call.ctx.db
      .query(table.table)
      .withIndex(indexOf(table, index), (q) => q.eq(column(table, parent), job.key))
      // A membership of the app's own, without a Clerk id, is none of ours.
      .filter((q) => q.gte(q.field(clerkId), ""));
    const { rows, all } = await upTo(query, limit);
    for (const row of rows) await dropMembership(call, table, row);
    return { finished: all, used: rows.length };
  };
}

async function dropMembership(call: Call, table: TableSettings, row: Row): Promise<void> {
  await deleteRow(call, table, row);
  await bury(call, table.name, String(row[column(table, "clerkId")]), "hard", []);
  await refreshOrganization(call, row[column(table, "clerkUserId")]);
}

async function sweepFiles(call: Call, job: CascadeJob, limit: number): Promise<Swept> {
  const { ctx, settings } = call;
  const files = settings.files;
  if (files === null || job.files === "keep") return { finished: true, used: 0 };
  const owners =
    files.ownedBy === "clerkId"
      ? [job.key]
      : ((await findTombstone(ctx.db, settings, "users", job.key))?.rowIds ?? []);
  let used = 0;
  for (const owner of owners) {
    if (used >= limit) return { finished: false, used };
    const query = ctx.db.query(files.table).withIndex(files.index, (q) => q.eq(files.owner, owner));
    const { rows, all } = await upTo(query, limit - used);
    for (const row of rows) await dropFile(call, files, row);
    used += rows.length;
    if (!all) return { finished: false, used };
  }
  return { finished: true, used };
}

async function dropFile(call: Call, files: FilesOptions, row: Row): Promise<void> {
  const { ctx } = call;
  await ctx.db.delete(row._id);
  const object: Value | undefined = row[files.storage];
  if (typeof object !== "string") return;
  const id = ctx.db.system.normalizeId("_storage", object);
  // The object may be gone already: the app deleted it, or two rows shared it.
  if (id !== null && (await ctx.db.system.get(id)) !== null) await ctx.storage.delete(id);
}

/** The first rows of a query, bounded in number and in bytes, and whether these were all. */
export async function upTo(query: RowQuery, limit: number): Promise<{ rows: Row[]; all: boolean }> {
  const rows: Row[] = [];
  let bytes = 0;
  for await (const row of query) {
    if (rows.length === limit || bytes > MAX_STEP_BYTES) return { rows, all: false };
    rows.push(row);
    bytes += getDocumentSize(row as Record<string, Value>);
  }
  return { rows, all: true };
}

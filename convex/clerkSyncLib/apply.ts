// One call of `apply`: a batch of changes in one transaction, one outcome for each.
//
// Either every change of the batch is carried out or none: a change that cannot be is named by the
// refusal, and the caller sends the others again without it. Before each change the call looks at how
// much of Convex's limits is left, so that it ends in a refusal of its own and not in Convex's.

import { scheduleJobs } from "./cascade";
import type { MutationCtx } from "./database";
import { refusal } from "./refusal";
import { remove } from "./remove";
import type { Call } from "./rows";
import type { Settings } from "./settings";
import { upsert } from "./upsert";
import type { Applied, Change, Outcome } from "./wire";

/** The contract's bound on one call. */
export const MAX_CHANGES = 1000;
/** Index ranges of a transaction, by Convex's documentation. */
const MAX_RANGES = 4096;
/** What one more change may need at most, besides hooks and triggers of the app. */
const NEEDED = { databaseQueries: 12, documents: 80, bytes: 2 * 1024 * 1024 };
/** The same of one that merges rows: it removes rows and gives profiles and files to the one that stays. */
const NEEDED_TO_MERGE = { databaseQueries: 160, documents: 200, bytes: 4 * 1024 * 1024 };
/** Most changes need fewer ranges than this; only for Convex versions that cannot say what is left. */
const USUAL_RANGES = 8;

export function newCall(ctx: MutationCtx, settings: Settings): Call {
  const room = { ranges: MAX_RANGES, changesLeft: 0 };
  return { ctx, settings, now: Date.now(), jobs: [], conflicts: [], room };
}

export async function applyChanges(
  ctx: MutationCtx,
  settings: Settings,
  changes: Change[],
): Promise<Applied> {
  const excess = changes[MAX_CHANGES];
  if (excess !== undefined) throw refusal("batch_too_large", excess.key);
  const call = newCall(ctx, settings);
  const outcomes: Outcome[] = [];
  for (const change of changes) {
    const position = outcomes.length;
    await makeSure(call, position, changes.length - position - 1, change);
    outcomes.push(
      change.kind === "upsert" ? await upsert(call, change) : await remove(call, change),
    );
  }
  await scheduleJobs(call);
  const { conflicts } = call;
  return conflicts.length === 0 ? { outcomes } : { outcomes, conflicts };
}

/** Is there room for one more change? The first change of a call always gets its chance. */
async function makeSure(call: Call, position: number, changesLeft: number, change: Change) {
  const meta = call.ctx.meta;
  if (meta === undefined) {
    call.room = { ranges: MAX_RANGES - position * USUAL_RANGES, changesLeft };
    return;
  }
  const left = await meta.getTransactionMetrics();
  call.room = { ranges: left.databaseQueries.remaining, changesLeft };
  const merges = change.kind === "upsert" && change.merge === true;
  const needed = merges ? NEEDED_TO_MERGE : NEEDED;
  const enough =
    left.databaseQueries.remaining >= needed.databaseQueries &&
    left.documentsRead.remaining >= needed.documents &&
    left.documentsWritten.remaining >= needed.documents &&
    left.bytesRead.remaining >= needed.bytes &&
    left.bytesWritten.remaining >= needed.bytes;
  if (!enough && position > 0) throw refusal("batch_too_large", change.key);
}

// Several rows of one key become one: the oldest stays, the younger ones go.
//
// Asked for by an upsert that says `merge`, and done in its transaction after its content was written. What
// pointed at a removed row points at the kept one afterwards: the user's profile, and its files. What else
// the app kept on a removed row is lost. The record itself is not deleted, so no tombstone is left and no
// `onDelete` runs. Bounded: more rows than are removed at once are left to a later call.

import { upTo } from "./cascade";
import { refreshUsersOf } from "./organization";
import { refusal } from "./refusal";
import { dropRow, patchQuietly, rowsOf, type Call } from "./rows";
import type { TableSettings } from "./settings";
import type { Row } from "./tables";

/** Rows of one key that `get` shows. */
export const MAX_SHOWN_DUPLICATES = 8;
/** Younger rows that one change removes: no more than whoever asks for it can have seen. */
export const MAX_MERGED = MAX_SHOWN_DUPLICATES - 1;
/** Files of removed rows that find their new owner in the same transaction. */
export const MAX_MOVED_FILES = 100;

/** Removes the younger rows of a key for the one that is kept. */
export async function mergeInto(
  call: Call,
  table: TableSettings,
  key: string,
  kept: Row,
  younger: readonly Row[],
): Promise<void> {
  if (table.name === "users") {
    await moveProfiles(call, key, kept, younger);
    await moveFiles(call, key, kept, younger);
  }
  for (const row of younger) await dropRow(call, key, row);
  await refreshUsersOf(call, table, younger);
}

async function moveProfiles(call: Call, key: string, kept: Row, younger: readonly Row[]) {
  const profiles = call.settings.tables.profiles;
  const userId = profiles?.own.userId;
  if (profiles === undefined || typeof userId !== "string") return;
  const removed = new Set<unknown>(younger.map((row) => row._id));
  for (const profile of await rowsOf(call.ctx.db, profiles, key, MAX_SHOWN_DUPLICATES)) {
    if (removed.has(profile[userId])) {
      await patchQuietly(call, key, profile, { [userId]: kept._id });
    }
  }
}

async function moveFiles(call: Call, key: string, kept: Row, younger: readonly Row[]) {
  const { ctx, settings } = call;
  const files = settings.files;
  if (files === null || files.ownedBy === "clerkId") return;
  let room = MAX_MOVED_FILES;
  for (const owner of younger) {
    const query = ctx.db
      .query(files.table)
      .withIndex(files.index, (q) => q.eq(files.owner, owner._id));
    const { rows, all } = await upTo(query, room);
    if (!all) throw refusal("too_many_files", key);
    for (const file of rows) await ctx.db.patch(file._id, { [files.owner]: kept._id });
    room -= rows.length;
  }
}

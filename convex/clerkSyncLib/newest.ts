// "Newest wins", as pure functions over values: no database, no clock, no names of tables.
//
// `guard` decides by versions alone and before anything else is read; `conclude` decides what a
// change that passed the guard has to write. `holdsBack` decides whether a value from Clerk is older
// than what the user has typed in the app. Together they promise that the same changes, repeated any
// number of times and in any order, end in the same row.

import type { Value } from "convex/values";

/** What is known of the row before a change: `version` null means that Clerk has never spoken. */
export type Standing = { version: number | null; createdAt: number | null; deleted: boolean };

/** What the change says of itself. */
export type Incoming = { version: number; createdAt: number; revive: boolean };

export type Guard =
  /** The key was deleted and stays so. */
  | "tombstoned"
  /** The row holds something newer. */
  | "stale"
  /** There is no row yet. */
  | "insert"
  /** The contents have to be compared. */
  | "compare";

/** The verdict of the versions. `buried` is whether the key has a tombstone. */
export function guard(row: Standing | null, buried: boolean, incoming: Incoming): Guard {
  if ((buried || row?.deleted === true) && !incoming.revive) return "tombstoned";
  if (row === null) return "insert";
  if (row.version !== null && incoming.version < row.version) return "stale";
  return "compare";
}

export type Conclusion =
  /** The content differs: write it. */
  | "write"
  /** The content is equal, Clerk's times are not: move them, so that nothing older comes back. */
  | "advance"
  /** Everything is as it should be: write nothing, so that no subscription runs again. */
  | "nothing";

/** What remains to be done for a change that `guard` let through. */
export function conclude(row: Standing, incoming: Incoming, sameContent: boolean): Conclusion {
  if (!sameContent || row.deleted) return "write";
  const moved = row.version === null || incoming.version > row.version;
  return moved || row.createdAt !== incoming.createdAt ? "advance" : "nothing";
}

/** How long after `settle` a value from before the edit is still taken for old news, in milliseconds.
 * Ten minutes is far longer than a delivery is under way while its echo is, too. */
export const ECHO_WAIT_MS = 10 * 60 * 1000;

/** An edit of one field, as the outbox keeps it. */
export type HeldEdit = {
  status: "pending" | "done" | "refused";
  editedAt: number;
  settledAt: number | null;
  /** Clerk's version at which it was first seen to hold the value; null before that. */
  carriedAt: number | null;
  /** Clerk's version whose other value was held back last; null if none was. */
  contestedAt: number | null;
  /** What the user typed. */
  value: Value;
  /** What the field held before, oldest first. */
  replaced: readonly Value[];
};

/** What becomes of a value from Clerk for a field that the user has edited. */
export type Hold =
  /** An older value: the row keeps the user's. */
  | "keep"
  /** A newer value, or the echo of the edit: Clerk's word goes, and the edit is over. */
  | "release";

/**
 * Is this value from Clerk older than the user's edit? A version alone cannot tell, since a sign-in
 * moves it without touching the field: a value that the field held before the edit is old whatever
 * its version, until the edit has reached Clerk.
 */
export function holdsBack(edit: HeldEdit, incoming: Value, version: number, now: number): Hold {
  if (edit.status === "refused" || incoming === edit.value) return "release";
  // Clerk had the user's value and has another one since, be it one that stood there before.
  if (edit.carriedAt !== null && version > edit.carriedAt) return "release";
  const old = version < edit.editedAt || edit.replaced.includes(incoming);
  if (!old) return "release";
  if (edit.status === "pending") return "keep";
  const settledAt = edit.settledAt ?? 0;
  return version < settledAt && now - settledAt < ECHO_WAIT_MS ? "keep" : "release";
}

/**
 * Whose word goes where the user and somebody in Clerk have both changed a field; null where only one of them
 * has: Clerk holds what it held before the edit, or has had the edit already.
 */
export function contested(
  edit: HeldEdit,
  incoming: Value,
  version: number,
  hold: Hold,
): "clerk" | "convex" | null {
  if (edit.status !== "pending" || edit.carriedAt !== null || incoming === edit.value) return null;
  if (hold === "release") return "clerk";
  // The same change again gets the same answer: the first one may have been lost.
  const again = version === edit.contestedAt;
  return again || !edit.replaced.includes(incoming) ? "convex" : null;
}

/** Is this Clerk saying for the first time that it has the edit? */
export function isEcho(edit: HeldEdit, incoming: Value, version: number): boolean {
  return edit.carriedAt === null && incoming === edit.value && version >= edit.editedAt;
}

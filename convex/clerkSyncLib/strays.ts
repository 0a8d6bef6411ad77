// Files whose owner is gone, for reports: those that deletions kept, and those that a deletion missed.
//
// Reads the index of owners, not the files: one look for each owner, and the files of those only who are gone.
// A file that names no user (none at all, or a document of another table) is nobody's, and not counted.
// Changes nothing. A page is bounded in owners, files and bytes; a cursor names the owner that was done with.

import { getDocumentSize, type Value } from "convex/values";
import type { Reader } from "./database";
import { refusal } from "./refusal";
import { rowsOf } from "./rows";
import type { FilesOptions, Settings, TableSettings } from "./settings";
import type { Row } from "./tables";
import type { Stray } from "./wire";

/** Owners looked at, and files named, in one page: each owner takes up to three of 4,096 index ranges. */
export const MAX_STRAYS = 1000;
/** What a page may read, of the 16 MiB that Convex allows; the files of the last owner come on top. */
const MAX_BYTES = 4 * 1024 * 1024;
/** What Clerk's ids of users begin with, where files name their owner by it. */
const CLERK_USER = "user_";

export type StraysArgs = { cursor: string | null; limit: number };

type Page = { files: Stray[] | null; cursor: string | null };

/** Behind which owner to go on; or where among the files of this owner. */
type Place = { owner: string; inside: string | null };

export async function strayFiles(
  db: Reader,
  settings: Settings,
  { cursor, limit }: StraysArgs,
): Promise<Page> {
  if (!(limit >= 1)) throw refusal("invalid_limit", null);
  const { files } = settings;
  const { users } = settings.tables;
  if (files === null || users === undefined) return { files: null, cursor: null };
  const place = cursor === null ? { owner: "", inside: null } : decode(cursor);
  const most = Math.min(Math.floor(limit), MAX_STRAYS);
  if (place.inside !== null) return await filesOfOne(db, files, place, most);
  return await nextOwners(db, files, users, place.owner, most);
}

async function nextOwners(
  db: Reader,
  files: FilesOptions,
  users: TableSettings,
  after: string,
  most: number,
): Promise<Page> {
  const found: Stray[] = [];
  const room = { bytes: MAX_BYTES };
  let done = after;
  for (let looked = 0; looked < most && room.bytes > 0; looked += 1) {
    const next = await db
      .query(files.table)
      .withIndex(files.index, (q) => q.gt(files.owner, done))
      .first();
    const owner = next?.[files.owner];
    // Every other type sorts before or behind strings.
    if (typeof owner !== "string") return { files: found, cursor: null };
    spend(room, next);
    if (await isGone(db, files, users, owner, room)) {
      const rows = await allOf(db, files, owner, most - found.length, room);
      if (rows !== null) found.push(...rows);
      else if (found.length > 0)
        return { files: found, cursor: encode({ owner: done, inside: null }) };
      else return await filesOfOne(db, files, { owner, inside: null }, most);
    }
    done = owner;
  }
  return { files: found, cursor: encode({ owner: done, inside: null }) };
}

/** True for a user that has no row any more. */
async function isGone(
  db: Reader,
  files: FilesOptions,
  users: TableSettings,
  owner: string,
  room: { bytes: number },
): Promise<boolean> {
  let row: Row | null | undefined;
  if (files.ownedBy === "clerkId") {
    if (!owner.startsWith(CLERK_USER)) return false;
    [row] = await rowsOf(db, users, owner, 1);
  } else {
    const id = db.normalizeId(users.table, owner);
    if (id === null) return false;
    row = await db.get(id);
  }
  spend(room, row);
  return row === null || row === undefined;
}

/** The files of an owner, or null if there are more than may be. */
async function allOf(
  db: Reader,
  files: FilesOptions,
  owner: string,
  most: number,
  room: { bytes: number },
): Promise<Stray[] | null> {
  const rows = db.query(files.table).withIndex(files.index, (q) => q.eq(files.owner, owner));
  const found: Stray[] = [];
  for await (const row of rows) {
    if (found.length === most || room.bytes <= 0) return null;
    spend(room, row);
    found.push({ id: row._id, owner });
  }
  return found;
}

/** A page of the files of an owner who is gone and had many. */
async function filesOfOne(
  db: Reader,
  files: FilesOptions,
  { owner, inside }: Place,
  most: number,
): Promise<Page> {
  const { page, isDone, continueCursor } = await db
    .query(files.table)
    .withIndex(files.index, (q) => q.eq(files.owner, owner))
    .paginate({ cursor: inside, numItems: most, maximumBytesRead: MAX_BYTES });
  return {
    files: page.map((row) => ({ id: row._id, owner })),
    cursor: encode({ owner, inside: isDone ? null : continueCursor }),
  };
}

function spend(room: { bytes: number }, row: Row | null | undefined): void {
  if (row !== null && row !== undefined) {
    room.bytes -= getDocumentSize(row as Record<string, Value>);
  }
}

function encode({ owner, inside }: Place): string {
  return JSON.stringify([owner, inside]);
}

function decode(cursor: string): Place {
  let parts: unknown;
  try {
    parts = JSON.parse(cursor);
  } catch {
    throw refusal("invalid_cursor", null);
  }
  if (!Array.isArray(parts) || parts.length !== 2) throw refusal("invalid_cursor", null);
  const [owner, inside] = parts as unknown[];
  if (typeof owner !== "string" || !(inside === null || typeof inside === "string")) {
    throw refusal("invalid_cursor", null);
  }
  return { owner, inside };
}

// Files whose owner is gone are named once each, whatever the page size and whatever the app calls them.

import { internalMutationGeneric, internalQueryGeneric } from "convex/server";
import { defineSchema, defineTable } from "convex/server";
import { v } from "convex/values";
import { expect, test } from "vitest";
import { clerkSync } from "./factory";
import { clerkSyncTables } from "./schema";
import { MAX_STRAYS } from "./strays";
import { gone, refused, user, world, type World } from "./world.setup";

const builders = { internalQuery: internalQueryGeneric, internalMutation: internalMutationGeneric };

/** All pages: the files' owners, and how many pages it took. */
async function walked(w: World, limit = MAX_STRAYS) {
  const owners: string[] = [];
  const ids = new Set<string>();
  let cursor: string | null = null;
  for (let pages = 1; pages < 10_000; pages += 1) {
    const page: Awaited<ReturnType<World["strays"]>> = await w.strays(cursor, limit);
    if (page.files === null) return { owners: null, pages };
    expect(page.files.length).toBeLessThanOrEqual(limit);
    for (const { id, owner } of page.files) {
      expect(ids.has(id)).toBe(false);
      ids.add(id);
      owners.push(owner);
    }
    if (page.cursor === null) return { owners, pages };
    expect(page.cursor).not.toBe(cursor);
    cursor = page.cursor;
  }
  throw new Error("the walk does not end");
}

/** Users 1 to `users`, each with so many files; those of `leavers` are gone and their files are kept. */
async function filled(users: number, each: number, leavers: number[]) {
  const w = world();
  const numbers = Array.from({ length: users }, (_, n) => n + 1);
  const rows = await w.apply(...numbers.map((n) => user(n, 1)));
  await w.raw(async ({ db }) => {
    for (const row of rows) {
      for (let n = 0; n < each; n += 1) await db.insert("files", { userId: row.id, name: `${n}` });
    }
  });
  await w.apply(...leavers.map((n) => gone("users", `user_${n}`, "hard", "keep")));
  const ids = leavers.map((n) => String(rows[n - 1]?.id));
  return { w, expected: ids.flatMap((id) => Array.from({ length: each }, () => id)).sort() };
}

test("files of who is there are not named, those of who is gone are", async () => {
  const { w, expected } = await filled(6, 3, [2, 5]);
  const { owners, pages } = await walked(w);
  expect(owners?.sort()).toEqual(expected);
  expect(pages).toBe(1);
  await w.apply(gone("users", "user_3", "soft"));
  expect((await walked(w)).owners).toHaveLength(6);
});

test("whatever the page size, each is named once", async () => {
  const { w, expected } = await filled(9, 4, [1, 2, 6, 9]);
  for (const limit of [1, 2, 3, 4, 5, 7, 15, 16, 17]) {
    expect((await walked(w, limit)).owners?.sort()).toEqual(expected);
  }
});

test("one owner with more files than fit in a page takes several", async () => {
  const { w, expected } = await filled(2, 90, [1]);
  const { owners, pages } = await walked(w, 20);
  expect(owners?.sort()).toEqual(expected);
  expect(pages).toBeGreaterThanOrEqual(5);
});

test("large files' rows are read in bounded pages", async () => {
  const { w } = await filled(2, 0, []);
  const owner = (await w.get("users", "user_1"))[0]?.id;
  for (let n = 0; n < 24; n += 1) {
    await w.insert("files", { userId: owner, name: "x".repeat(900 * 1024) });
  }
  await w.apply(gone("users", "user_1", "hard", "keep"));
  const { owners, pages } = await walked(w);
  expect(owners).toHaveLength(24);
  expect(pages).toBeGreaterThan(3);
});

test("the app's own names are honoured, and files that name their owner by Clerk's id", async () => {
  const schema = defineSchema({
    ...clerkSyncTables,
    uploads: defineTable({ by: v.optional(v.string()), at: v.number() }).index("owner", [
      "by",
      "at",
    ]),
  });
  const files = {
    table: "uploads",
    owner: "by",
    index: "owner",
    storage: "blob",
    ownedBy: "clerkId" as const,
  };
  const w = world(clerkSync({ ...builders, schema, files }), schema);
  await w.apply(user(1, 1), user(2, 1), gone("users", "user_2"));
  for (const by of ["user_1", "user_2", "user_2", "user_never", "org_1", "", undefined]) {
    await w.insert("uploads", { by, at: 1 });
  }
  expect((await walked(w, 2)).owners).toEqual(["user_2", "user_2", "user_never"]);
});

test("an app without such a table, or without users, has nothing to count", async () => {
  const schema = defineSchema(clerkSyncTables);
  const files = { table: "files", owner: "userId", index: "by_userId", storage: "storageId" };
  for (const settings of [{}, { files }]) {
    const w = world(clerkSync({ ...builders, schema, ...settings }), schema);
    expect(await w.strays(null, 10)).toEqual({ files: null, cursor: null });
  }
});

test("a page of nothing and a cursor of somebody else's are refused", async () => {
  const w = world();
  await refused(w.strays(null, 0), { code: "invalid_limit" });
  for (const cursor of ["", "[]", '["a"]', "[1,null]", '["a",1]']) {
    await refused(w.strays(cursor, 5), { code: "invalid_cursor" });
  }
});

// What the contract promises of `list` and `get`.

import { describe, expect, test } from "vitest";
import { MAX_PAGE } from "./list";
import {
  bare,
  gone,
  membership,
  organization,
  profile,
  refused,
  user,
  walk,
  world,
} from "./world.setup";

const everyTable = [user(1, 1), profile(1, 1), organization(1, 1), membership(1, 1, 1)];

describe.each(everyTable)("$table", ({ table }) => {
  const key = (n: number) => `key_${String(n).padStart(3, "0")}`;

  /** 40 rows: three without createdAt, many in one millisecond, a duplicate, and the app's own. */
  async function filled() {
    const w = world();
    const rows = Array.from({ length: 40 }, (_, n) => ({
      clerkId: key(n),
      clerkCreatedAt: n < 3 ? undefined : 100 + Math.floor(n / 7),
    }));
    // Not in the order in which they are to be read.
    for (const row of [...rows].reverse()) await w.insert(table, row);
    await w.insert(table, { clerkId: key(17), clerkCreatedAt: 102 });
    await w.insert(table, { clerkId: key(1) });
    await w.insert(table, {});
    await w.insert(table, { clerkCreatedAt: 103 });
    const expected = [...rows, rows[17], rows[1]]
      .map((row) => ({ key: row?.clerkId as string, createdAt: row?.clerkCreatedAt ?? null }))
      .sort(
        (a, b) =>
          (a.createdAt ?? 0) - (b.createdAt ?? 0) || (a.key < b.key ? -1 : a.key > b.key ? 1 : 0),
      );
    return { w, expected };
  }

  const seen = (records: { key: string; createdAt: number | null }[]) =>
    records.map(({ key, createdAt }) => ({ key, createdAt }));

  test("rows come by (createdAt, key), those without createdAt first, whatever the page size", async () => {
    const { w, expected } = await filled();
    for (const limit of [1, 2, 3, 7, 41, 42, 43, 4000]) {
      const { records, pages } = await walk(w, { table, limit });
      expect(seen(records)).toEqual(expected);
      expect(pages).toBe(Math.ceil(expected.length / limit));
    }
  });

  test("from is inclusive, before is exclusive, null is no bound", async () => {
    const { w, expected } = await filled();
    const bounds = [null, 99, 100, 101, 103, 105, 106];
    for (const from of bounds) {
      for (const before of bounds) {
        const wanted = expected.filter(({ createdAt }) =>
          createdAt === null
            ? from === null
            : (from === null || createdAt >= from) && (before === null || createdAt < before),
        );
        for (const limit of [1, 4, 100]) {
          const { records } = await walk(w, { table, from, before, limit });
          expect(seen(records)).toEqual(wanted);
        }
      }
    }
  });

  test("every page but the last is full, and the cursor is null at the end", async () => {
    const { w } = await filled();
    const first = await w.page({ table, limit: 30 });
    expect(first.records).toHaveLength(30);
    expect(first.cursor).not.toBeNull();
    const second = await w.page({ table, limit: 30, cursor: first.cursor });
    expect(second.records).toHaveLength(12);
    expect(second.cursor).toBeNull();
  });

  test("an empty table is one page", async () => {
    expect(await world().page({ table, limit: 10 })).toEqual({ records: [], cursor: null });
  });

  test("duplicates of a key all appear", async () => {
    const { w } = await filled();
    const { records } = await walk(w, { table, limit: 5 });
    expect(records.filter((record) => record.key === key(17))).toHaveLength(2);
    expect(new Set(records.map((record) => record.id)).size).toBe(records.length);
  });

  test("a cursor outlives the row that it points at, and rows that come and go", async () => {
    const { w, expected } = await filled();
    const first = await w.page({ table, limit: 10 });
    const last = first.records.at(-1);
    await w.raw((ctx) => ctx.db.delete(last?.id as string));
    await w.insert(table, { clerkId: "key_000a", clerkCreatedAt: 1 });
    const rest = await w.page({ table, limit: 100, cursor: first.cursor });
    expect(seen(rest.records)).toEqual(expected.slice(10));
  });

  test("softly deleted rows are included", async () => {
    const { w, expected } = await filled();
    await w.apply(gone(table, key(20), "soft"));
    const { records } = await walk(w, { table, limit: 9 });
    expect(seen(records)).toEqual(expected);
    const marked = records.filter((record) => record.deletedAt !== null);
    expect(marked.map((record) => record.key)).toEqual([key(20)]);
  });
});

test("a record shows the synced fields as they are in the row now, and nothing of the app's", async () => {
  const w = world();
  const [created] = await w.apply(user(1, 7, {}, { insertDefaults: { creditsBalance: 5 } }));
  const record = {
    id: created?.id,
    key: "user_1",
    createdAt: 1001,
    version: 7,
    deletedAt: null,
    fields: {
      email: "u1@example.com",
      name: "User 1",
      username: null,
      imageUrl: "https://img.example.com/1",
      role: "member",
      organizationId: null,
      appId: null,
    },
  };
  expect(await w.page({ table: "users", limit: 10 })).toEqual({ records: [record], cursor: null });
  expect(await w.get("users", "user_1")).toEqual([record]);
  await w.raw((ctx) => ctx.db.patch(created?.id as string, { name: "Changed by hand" }));
  const [changed] = await w.get("users", "user_1");
  expect(changed?.fields.name).toBe("Changed by hand");
});

test("a profile's userId is not among its fields", async () => {
  const w = world();
  await w.apply(user(1, 1), profile(1, 1));
  const [record] = await w.get("profiles", "user_1");
  expect(record?.fields).toEqual({ firstName: "Ada", lastName: "Lovelace", phoneNumber: null });
});

test("a row that has only a clerkId is a record without times and fields", async () => {
  const w = world();
  const id = await w.insert("users", { clerkId: "user_1" });
  const record = { id, key: "user_1", createdAt: null, version: null, deletedAt: null, fields: {} };
  expect((await w.page({ table: "users", limit: 10 })).records).toEqual([record]);
  expect(await w.get("users", "user_1")).toEqual([record]);
});

test("get answers in the order of the keys and leaves out what is not there", async () => {
  const w = world();
  await w.apply(user(1, 1), user(2, 1), user(3, 1), gone("users", "user_2"));
  const records = await w.get("users", "user_3", "user_9", "user_2", "user_1", "user_3");
  expect(records.map((record) => record.key)).toEqual(["user_3", "user_1"]);
});

test("get of too many keys is refused", async () => {
  const keys = Array.from({ length: 4001 }, (_, n) => `user_${n}`);
  await refused(world().get("users", ...keys), { code: "batch_too_large", key: "user_4000" });
});

test("a limit below one, or a cursor of somebody else's, is refused", async () => {
  const w = world();
  for (const limit of [0, -1, Number.NaN]) {
    await refused(w.page({ table: "users", limit }), { code: "invalid_limit" });
  }
  for (const cursor of ["", "x", "[]", "{}", '["a","b",1]', "null"]) {
    await refused(w.page({ table: "users", cursor, limit: 5 }), { code: "invalid_cursor" });
  }
});

test("a page has at most 4,000 rows, whatever is asked for", async () => {
  const w = world();
  await w.raw(async (ctx) => {
    for (let n = 0; n < MAX_PAGE + 10; n += 1) {
      await ctx.db.insert("organizations", { clerkId: `org_${n}`, clerkCreatedAt: n });
    }
  });
  const first = await w.page({ table: "organizations", limit: 1_000_000 });
  expect(first.records).toHaveLength(MAX_PAGE);
  const second = await w.page({ table: "organizations", limit: 1_000_000, cursor: first.cursor });
  expect(second.records).toHaveLength(10);
  expect(second.cursor).toBeNull();
}, 60_000);

test("a page of large rows ends early, before Convex's read limit, and the walk goes on", async () => {
  const w = world();
  for (let n = 0; n < 24; n += 1)
    await w.insert("users", {
      clerkId: `user_${10 + n}`,
      clerkCreatedAt: n,
      name: "x".repeat(900_000),
    });
  const first = await w.page({ table: "users", limit: 100 });
  expect(first.records.length).toBeLessThan(12);
  expect(first.cursor).not.toBeNull();
  const { records, pages } = await walk(w, { table: "users", limit: 100 });
  expect(records.map((record) => record.key)).toEqual(
    Array.from({ length: 24 }, (_, n) => `user_${10 + n}`),
  );
  expect(pages).toBeGreaterThan(2);
  await refused(w.get("users", ...records.map((record) => record.key)), {
    code: "batch_too_large",
  });
});

test("a walk beside writes sees every row that was there throughout once", async () => {
  const w = world();
  await w.apply(...Array.from({ length: 50 }, (_, n) => user(n, 1)));
  const seen: string[] = [];
  let cursor: string | null = null;
  let next = 100;
  do {
    const page: Awaited<ReturnType<typeof w.page>> = await w.page({
      table: "users",
      limit: 7,
      cursor,
    });
    seen.push(...page.records.map((record) => record.key));
    cursor = page.cursor;
    await w.apply(user(next, 1), user(3, next, { name: `${next}` }));
    next += 1;
  } while (cursor !== null && next < 200);
  const first50 = seen.filter((key) => Number(key.slice(5)) < 50);
  expect(new Set(first50).size).toBe(50);
  expect(first50).toHaveLength(50);
  expect(bare(await w.rows("users")).length).toBe(50 + next - 100);
});

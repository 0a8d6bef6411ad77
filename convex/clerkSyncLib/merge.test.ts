// Rows of one key become one, when an upsert asks for it: which row stays, what it holds afterwards, where
// what pointed at the others points then, and what is not done.

import { expect, test } from "vitest";
import { MAX_MERGED, MAX_MOVED_FILES } from "./merge";
import {
  gone,
  membership,
  organization,
  profile,
  refused,
  user,
  world,
  type World,
} from "./world.setup";

/** A further row of the key of user 1, as an import or the app itself may have put there. */
const again = (w: World, fields: Record<string, unknown> = {}) =>
  w.insert("users", {
    clerkId: "user_1",
    clerkCreatedAt: 1001,
    email: "twice@example.com",
    role: "member",
    createdAt: 1,
    updatedAt: 1,
    lastSyncAt: 1,
    ...fields,
  });

const merging = { merge: true } as const;

test("the oldest row stays and gets the content, the others go", async () => {
  const w = world();
  const kept = await again(w, { creditsBalance: 7 });
  await again(w, { creditsBalance: 8 });
  await again(w);
  const [outcome] = await w.apply(user(1, 10, {}, merging));
  expect(outcome).toEqual({ key: "user_1", outcome: "updated", id: kept });
  const [row, ...others] = await w.rows("users");
  expect(others).toEqual([]);
  expect(row).toMatchObject({ _id: kept, creditsBalance: 7, name: "User 1", clerkUpdatedAt: 10 });
  expect(await w.rows("clerkTombstones")).toEqual([]);
  expect(await w.outcomes(user(1, 10, {}, merging))).toEqual(["unchanged"]);
});

test("without the wish the others stay", async () => {
  const w = world();
  await w.apply(user(1, 10));
  await again(w);
  for (const more of [{}, { merge: false }]) {
    expect(await w.outcomes(user(1, 10, {}, more))).toEqual(["unchanged"]);
  }
  expect(await w.rows("users")).toHaveLength(2);
});

test("a row that holds the content already is the one that stays all the same", async () => {
  const w = world();
  const [created] = await w.apply(user(1, 10));
  await again(w);
  const before = (await w.rows("users"))[0];
  expect(await w.apply(user(1, 10, {}, merging))).toEqual([{ ...created, outcome: "updated" }]);
  expect(await w.rows("users")).toEqual([before]);
});

test("nothing is merged under content that is older than that of any of the rows", async () => {
  const w = world();
  await w.apply(user(1, 10));
  await again(w, { clerkUpdatedAt: 30 });
  expect(await w.outcomes(user(1, 20, { name: "Older" }, merging))).toEqual(["stale"]);
  expect(await w.rows("users")).toHaveLength(2);
  expect(await w.outcomes(user(1, 30, {}, merging))).toEqual(["updated"]);
  expect(await w.rows("users")).toHaveLength(1);
});

test("what is deleted stays so, with all its rows", async () => {
  const w = world();
  await again(w);
  await again(w);
  await w.apply(gone("users", "user_1", "soft"));
  expect(await w.outcomes(user(1, 10, {}, merging))).toEqual(["tombstoned"]);
  expect(await w.rows("users")).toHaveLength(2);
});

test("the profile and the files of a removed row belong to the kept one", async () => {
  const w = world();
  const kept = await again(w);
  const younger = await again(w);
  await w.apply(profile(1, 10));
  const [own] = await w.rows("profiles");
  await w.raw((ctx) => ctx.db.patch(String(own?._id), { userId: younger }));
  await w.insert("files", { userId: younger, name: "one" });
  await w.insert("files", { userId: kept, name: "two" });
  await w.apply(user(1, 10, {}, merging), profile(1, 10, {}, merging));
  expect((await w.rows("profiles")).map((row) => row.userId)).toEqual([kept]);
  expect((await w.rows("files")).map((row) => row.userId)).toEqual([kept, kept]);
});

test("a row with more files than can be moved at once is refused, and nothing is changed", async () => {
  const w = world();
  await again(w);
  const younger = await again(w);
  await w.raw(async (ctx) => {
    for (let n = 0; n <= MAX_MOVED_FILES; n += 1) await ctx.db.insert("files", { userId: younger });
  });
  await refused(w.apply(user(1, 10, {}, merging)), { code: "too_many_files", key: "user_1" });
  expect(await w.rows("users")).toHaveLength(2);
});

test("rows beyond the bound are left to the next call", async () => {
  const w = world();
  await w.apply(user(1, 10));
  for (let n = 0; n < MAX_MERGED + 2; n += 1) await again(w);
  await w.apply(user(1, 10, {}, merging));
  expect(await w.rows("users")).toHaveLength(3);
  await w.apply(user(1, 10, {}, merging));
  expect(await w.rows("users")).toHaveLength(1);
});

test("every table can be merged, and a user's organization follows the membership that is left", async () => {
  const w = world();
  await w.apply(user(1, 10), profile(1, 10), organization(1, 10), membership(1, 1, 10));
  for (const table of ["profiles", "organizations", "memberships"]) {
    const [row] = await w.rows(table);
    const { _id, _creationTime, ...copy } = row ?? { _id: "", _creationTime: 0 };
    // The younger membership says that the user joined earlier, and another organization.
    const other = table === "memberships" ? { clerkCreatedAt: 1, clerkOrganizationId: "org_9" } : {};
    await w.insert(table, { ...copy, ...other });
  }
  const all = [profile(1, 11, {}, merging), organization(1, 11, {}, merging)];
  expect(await w.outcomes(...all, membership(1, 1, 11, merging))).toEqual([
    "updated",
    "updated",
    "updated",
  ]);
  for (const table of ["profiles", "organizations", "memberships"]) {
    expect(await w.rows(table)).toHaveLength(1);
  }
  expect((await w.rows("users"))[0]?.organizationId).toBe("org_1");
});

test("sixty merges go through in one call, within Convex's limits", async () => {
  const w = world();
  const numbers = Array.from({ length: 60 }, (_, n) => n);
  for (const n of numbers) {
    await w.apply(user(n, 10), profile(n, 10));
    for (let more = 0; more < 3; more += 1) await again(w, { clerkId: `user_${n}` });
  }
  await w.apply(...numbers.map((n) => user(n, 10, {}, merging)));
  expect(await w.rows("users")).toHaveLength(60);
});

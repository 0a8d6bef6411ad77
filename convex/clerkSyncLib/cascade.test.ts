// What a hard deletion takes along, and that it does not depend on the order in which things arrive.

import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { INLINE_DEPENDENTS } from "./cascade";
import {
  bare,
  gone,
  membership,
  organization,
  permutations,
  profile,
  refused,
  user,
  world,
  type World,
} from "./world.setup";

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

const settled = (w: World) => w.t.finishAllScheduledFunctions(() => vi.runAllTimers());

async function tombstones(w: World) {
  return (await w.rows("clerkTombstones")).map(({ table, key }) => `${table} ${key}`).sort();
}

describe("a hard deletion of a user", () => {
  test("takes its profile and memberships along, each with a tombstone", async () => {
    const w = world();
    await w.apply(
      user(1, 1),
      profile(1, 1),
      membership(1, 1, 1),
      membership(1, 2, 1),
      user(2, 1),
      profile(2, 1),
      membership(2, 1, 1),
    );
    expect(await w.outcomes(gone("users", "user_1"))).toEqual(["deleted"]);
    for (const table of ["users", "profiles", "memberships"]) {
      expect((await w.rows(table)).map((row) => String(row.clerkId).includes("2"))).toEqual([true]);
    }
    expect(await tombstones(w)).toEqual([
      "memberships orgmem_1_1",
      "memberships orgmem_1_2",
      "profiles user_1",
      "users user_1",
    ]);
    expect(await w.outcomes(profile(1, 9), membership(1, 1, 9), membership(1, 3, 9))).toEqual([
      "tombstoned",
      "tombstoned",
      "tombstoned",
    ]);
    expect(await w.rows("memberships")).toHaveLength(1);
  });

  test("happens although the user's own row never came", async () => {
    const w = world();
    await w.apply(profile(1, 1), membership(1, 1, 1));
    expect(await w.outcomes(gone("users", "user_1"))).toEqual(["absent"]);
    expect([await w.rows("profiles"), await w.rows("memberships")]).toEqual([[], []]);
  });

  test("leaves rows without a clerkId alone", async () => {
    const w = world();
    await w.apply(user(1, 1));
    await w.insert("memberships", { clerkUserId: "user_1", role: "the app's own" });
    await w.apply(gone("users", "user_1"));
    expect(await w.rows("memberships")).toHaveLength(1);
  });

  test("with more memberships than fit goes on in scheduled steps", async () => {
    const w = world();
    const count = INLINE_DEPENDENTS * 2 + 200;
    await w.apply(user(1, 1), ...Array.from({ length: count }, (_, n) => membership(1, n, 1)));
    await w.apply(gone("users", "user_1"));
    expect(await w.rows("memberships")).toHaveLength(count - INLINE_DEPENDENTS);
    await settled(w);
    expect(await w.rows("memberships")).toEqual([]);
    expect(await tombstones(w)).toHaveLength(count + 2);
  });

  test("a soft one marks the user and takes nothing along", async () => {
    const w = world();
    await w.apply(
      user(1, 1),
      profile(1, 1),
      membership(1, 1, 1),
      gone("users", "user_1", "soft", "delete"),
    );
    expect(await w.rows("profiles")).toHaveLength(1);
    expect(await w.rows("memberships")).toHaveLength(1);
    expect(await w.outcomes(profile(1, 2, { firstName: "B" }), membership(1, 2, 1))).toEqual([
      "updated",
      "created",
    ]);
  });

  test("a thousand in one call take their dependents along, if need be in scheduled steps", async () => {
    const w = world();
    const numbers = Array.from({ length: 1000 }, (_, n) => n);
    for (const part of [numbers.slice(0, 300), numbers.slice(300, 600), numbers.slice(600)]) {
      await w.apply(...part.map((n) => user(n, 1)));
      await w.apply(...part.map((n) => profile(n, 1)));
    }
    await w.apply(...numbers.slice(0, 300).map((n) => membership(n, 1, 1)));
    const outcomes = await w.outcomes(...numbers.map((n) => gone("users", `user_${n}`)));
    expect(new Set(outcomes)).toEqual(new Set(["deleted"]));
    await settled(w);
    for (const table of ["users", "profiles", "memberships"])
      expect(await w.rows(table)).toEqual([]);
    expect(await tombstones(w)).toHaveLength(2300);
  }, 180_000);
});

describe("files", () => {
  async function withFiles(count: number, stored = 0) {
    const w = world();
    const [created] = await w.apply(user(1, 1), user(2, 1));
    const other = (await w.get("users", "user_2"))[0]?.id;
    await w.raw(async (ctx) => {
      for (let n = 0; n < count; n += 1) {
        const storageId = n < stored ? await ctx.storage.store(new Blob([`file ${n}`])) : undefined;
        await ctx.db.insert("files", { userId: created?.id, storageId, name: `file ${n}` });
      }
      await ctx.db.insert("files", {
        userId: other,
        storageId: await ctx.storage.store(new Blob(["other"])),
      });
    });
    return w;
  }
  const stored = (w: World) =>
    w.t.run(async (ctx) => await ctx.db.system.query("_storage").collect());

  test("are kept unless the deletion says otherwise", async () => {
    for (const files of [undefined, "keep"] as const) {
      const w = await withFiles(3, 3);
      await w.apply(gone("users", "user_1", "hard", files));
      await settled(w);
      expect(await w.rows("files")).toHaveLength(4);
      expect(await stored(w)).toHaveLength(4);
    }
  });

  test("are deleted with their storage objects, and nobody else's", async () => {
    const w = await withFiles(3, 2);
    await w.apply(gone("users", "user_1", "hard", "delete"));
    expect(await w.rows("files")).toHaveLength(1);
    expect(await stored(w)).toHaveLength(1);
  });

  test("whose storage object is gone already do not stop the deletion", async () => {
    const w = await withFiles(2, 2);
    await w.raw(async (ctx) => {
      const [first] = await ctx.db.query("files").collect();
      await ctx.db.delete(String(first?.storageId));
    });
    await w.apply(gone("users", "user_1", "hard", "delete"));
    expect(await w.rows("files")).toHaveLength(1);
  });

  test("10,000 of one user go in bounded steps", async () => {
    const w = await withFiles(10_000, 20);
    expect(await w.outcomes(gone("users", "user_1", "hard", "delete"))).toEqual(["deleted"]);
    expect(await w.rows("files")).toHaveLength(10_001 - INLINE_DEPENDENTS);
    await settled(w);
    expect(await w.rows("files")).toHaveLength(1);
    expect(await stored(w)).toHaveLength(1);
    const steps = await w.t.run(
      async (ctx) => await ctx.db.system.query("_scheduled_functions").collect(),
    );
    expect(steps.length).toBeGreaterThan(40);
    expect(new Set(steps.map((step) => step.state.kind))).toEqual(new Set(["success"]));
  }, 180_000);

  test("that an earlier deletion kept can still be deleted by a later one", async () => {
    const w = await withFiles(60);
    await w.apply(gone("users", "user_1"));
    expect(await w.outcomes(gone("users", "user_1", "hard", "delete"))).toEqual(["absent"]);
    await settled(w);
    expect(await w.rows("files")).toHaveLength(1);
  });
});

test("a hard deletion of an organization takes its memberships along", async () => {
  const w = world();
  await w.apply(
    organization(1, 1),
    organization(2, 1),
    user(1, 1),
    membership(1, 1, 1),
    membership(1, 2, 1),
  );
  expect((await w.get("users", "user_1"))[0]?.fields.organizationId).toBe("org_1");
  await w.apply(gone("organizations", "org_1"));
  expect((await w.rows("memberships")).map((row) => row.clerkId)).toEqual(["orgmem_1_2"]);
  expect((await w.get("users", "user_1"))[0]?.fields.organizationId).toBe("org_2");
  expect(await w.outcomes(membership(7, 1, 5))).toEqual(["tombstoned"]);
  expect(await tombstones(w)).toEqual([
    "memberships orgmem_1_1",
    "memberships orgmem_7_1",
    "organizations org_1",
  ]);
});

test("revive brings back a membership whose organization was deleted", async () => {
  const w = world();
  await w.apply(gone("organizations", "org_1"));
  expect(await w.outcomes(membership(1, 1, 1), membership(1, 1, 1, { revive: true }))).toEqual([
    "tombstoned",
    "created",
  ]);
});

test("a record deleted softly, then for good, keeps away what comes late", async () => {
  const w = world();
  await w.apply(user(1, 1), gone("users", "user_1", "soft"));
  expect(await w.outcomes(membership(1, 1, 1))).toEqual(["created"]);
  expect(await w.outcomes(gone("users", "user_1"), membership(1, 2, 1), profile(1, 1))).toEqual([
    "deleted",
    "tombstoned",
    "tombstoned",
  ]);
  expect(await w.outcomes(gone("users", "user_1", "soft"), membership(1, 3, 1))).toEqual([
    "absent",
    "tombstoned",
  ]);
});

test("a repeated deletion finishes what a lost step left", async () => {
  const w = world();
  await w.apply(user(1, 1), gone("users", "user_1"));
  await w.insert("memberships", { clerkId: "orgmem_1_1", clerkUserId: "user_1" });
  expect(await w.outcomes(gone("users", "user_1"))).toEqual(["absent"]);
  expect(await w.rows("memberships")).toEqual([]);
});

test("what hangs on a record that was brought back is not swept with what was left of it", async () => {
  const w = world();
  const count = INLINE_DEPENDENTS + 10;
  await w.apply(user(1, 1), profile(1, 1));
  await w.apply(...Array.from({ length: count }, (_, n) => membership(1, n, 1)));
  await w.apply(organization(1, 1), gone("users", "user_1"), gone("organizations", "org_1"));
  const back = [user(1, 2), profile(1, 2), organization(1, 2), membership(1, 1, 2)];
  await w.apply(...back.map((change) => ({ ...change, revive: true })));
  await settled(w);
  expect(await w.rows("profiles")).toHaveLength(1);
  const kept = (await w.rows("memberships")).map((row) => row.clerkId);
  expect(kept).toContain("orgmem_1_1");
});

test("a profile points at its user's row, whichever comes first", async () => {
  for (const order of [
    [user(1, 1), profile(1, 1)],
    [profile(1, 1), user(1, 1)],
  ]) {
    const w = world();
    await w.apply(...order);
    const [row] = await w.rows("users");
    expect((await w.rows("profiles"))[0]?.userId).toBe(row?._id);
  }
  const w = world();
  const own = await w.insert("users", { email: "u1@example.com" });
  await w.apply(profile(1, 1), user(1, 1, {}, { linkEmail: "u1@example.com" }));
  expect((await w.rows("profiles"))[0]?.userId).toBe(own);
});

describe("in all 720 orders the same rows remain, and no orphan", () => {
  const upserts = [user(1, 1), organization(1, 1), membership(1, 1, 1)];
  const updates = [
    user(1, 2, { name: "B" }),
    organization(1, 2, { name: "B" }),
    { ...membership(1, 1, 2), fields: { ...membership(1, 1, 2).fields, role: "org:admin" } },
  ];
  const deletions = [
    gone("users", "user_1"),
    gone("organizations", "org_1"),
    gone("memberships", "orgmem_1_1"),
  ];

  const cases = [
    { name: "created and deleted", changes: [...upserts, ...deletions] },
    { name: "created and updated", changes: [...upserts, ...updates] },
    { name: "user deleted", changes: [...upserts, profile(1, 1), updates[0], deletions[0]] },
    { name: "organization deleted", changes: [...upserts, updates[1], updates[2], deletions[1]] },
    { name: "membership deleted", changes: [...upserts, updates[0], updates[2], deletions[2]] },
  ];
  test.each(cases)(
    "$name",
    async ({ changes }) => {
      const ends = new Set<string>();
      for (const order of permutations(changes)) {
        const w = world();
        for (const change of order) if (change !== undefined) await w.apply(change);
        const tables = ["users", "profiles", "organizations", "memberships", "clerkTombstones"];
        const rows = await Promise.all(tables.map(async (table) => bare(await w.rows(table))));
        ends.add(JSON.stringify(rows));
      }
      expect([...ends]).toHaveLength(1);
    },
    120_000,
  );
});

test("files are asked to be deleted, but nobody said where they are", async () => {
  const { default: schema } = await import("../schema");
  const { internalMutationGeneric, internalQueryGeneric } = await import("convex/server");
  const { clerkSync } = await import("./factory");
  const w = world(
    clerkSync({
      internalMutation: internalMutationGeneric,
      internalQuery: internalQueryGeneric,
      schema,
    }),
  );
  await w.apply(user(1, 1));
  await refused(w.apply(gone("users", "user_1", "hard", "delete")), {
    code: "files_not_configured",
    key: "user_1",
  });
  expect(await w.outcomes(gone("users", "user_1", "hard", "keep"))).toEqual(["deleted"]);
});

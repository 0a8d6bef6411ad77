// What the contract promises of `apply`: one test per sentence, and the orders in which changes may come.

import { describe, expect, test } from "vitest";
import { MAX_CHANGES } from "./apply";
import {
  bare,
  gone,
  membership,
  organization,
  permutations,
  profile,
  refused,
  user,
  walk,
  world,
} from "./world.setup";

const upserts = {
  users: user(1, 10),
  profiles: profile(1, 10),
  organizations: organization(1, 10),
  memberships: membership(1, 1, 10),
};

describe.each(Object.values(upserts))("$table", (first) => {
  const { table, key } = first;

  test("a missing row is created, with Clerk's times beside the fields", async () => {
    const w = world();
    const [outcome] = await w.apply(first);
    const [row] = await w.rows(table);
    expect(outcome).toEqual({ key, outcome: "created", id: row?._id });
    expect(row).toMatchObject({
      clerkId: key,
      clerkCreatedAt: first.createdAt,
      clerkUpdatedAt: 10,
      ...first.fields,
    });
    expect(row?.updatedAt).toBeGreaterThan(0);
    expect(row?.lastSyncAt).toBe(row?.updatedAt);
  });

  test("the same content with the row's version writes nothing", async () => {
    const w = world();
    await w.apply(first);
    const before = await w.rows(table);
    expect(await w.outcomes(first)).toEqual(["unchanged"]);
    expect(await w.rows(table)).toEqual(before);
  });

  test("the same content with a newer version moves only clerkUpdatedAt, so nothing older comes back", async () => {
    const w = world();
    await w.apply(first);
    const [before] = await w.rows(table);
    const [outcome] = await w.apply({ ...first, version: 20 });
    expect(outcome).toEqual({ key, outcome: "unchanged", id: before?._id });
    expect(await w.rows(table)).toEqual([{ ...before, clerkUpdatedAt: 20 }]);
    expect(await w.outcomes({ ...first, version: 15, fields: onlyKnown(table) })).toEqual([
      "stale",
    ]);
  });

  test("other content with a newer version is written", async () => {
    const w = world();
    const [created] = await w.apply(first);
    const [outcome] = await w.apply({ ...first, version: 11, fields: onlyKnown(table) });
    expect(outcome).toEqual({ key, outcome: "updated", id: created?.id });
    expect((await w.rows(table))[0]).toMatchObject({ ...onlyKnown(table), clerkUpdatedAt: 11 });
  });

  test("other content with the same version is written: the daemon has asked Clerk", async () => {
    const w = world();
    await w.apply(first);
    expect(await w.outcomes({ ...first, fields: onlyKnown(table) })).toEqual(["updated"]);
    expect((await w.rows(table))[0]).toMatchObject({ ...onlyKnown(table), clerkUpdatedAt: 10 });
  });

  test("an older version is stale and writes nothing", async () => {
    const w = world();
    const [created] = await w.apply(first);
    const before = await w.rows(table);
    const [outcome] = await w.apply({ ...first, version: 9, fields: onlyKnown(table) });
    expect(outcome).toEqual({ key, outcome: "stale", id: created?.id });
    expect(await w.rows(table)).toEqual(before);
  });

  test("an upsert touches only the given fields", async () => {
    const w = world();
    await w.apply(first);
    const [before] = await w.rows(table);
    await w.apply({ ...first, version: 11, fields: onlyKnown(table) });
    const [after] = await w.rows(table);
    expect({ ...after, updatedAt: 0, lastSyncAt: 0 }).toEqual({
      ...before,
      ...onlyKnown(table),
      clerkUpdatedAt: 11,
      updatedAt: 0,
      lastSyncAt: 0,
    });
  });

  test("a hard deletion removes the row and leaves a tombstone", async () => {
    const w = world();
    const [created] = await w.apply(first);
    const [outcome] = await w.apply(gone(table, key));
    expect(outcome).toEqual({ key, outcome: "deleted", id: created?.id });
    expect(await w.rows(table)).toEqual([]);
    expect(await w.rows("clerkTombstones")).toContainEqual(
      expect.objectContaining({ table, key, mode: "hard" }),
    );
  });

  test("a key that was deleted stays deleted, however new the upsert", async () => {
    const w = world();
    await w.apply(first, gone(table, key));
    expect(await w.apply({ ...first, version: 99 })).toEqual([{ key, outcome: "tombstoned" }]);
    expect(await w.rows(table)).toEqual([]);
  });

  test("a missing row is absent, and the tombstone is still written", async () => {
    for (const mode of ["hard", "soft"] as const) {
      const w = world();
      expect(await w.apply(gone(table, key, mode))).toEqual([{ key, outcome: "absent" }]);
      expect(await w.outcomes(first)).toEqual(["tombstoned"]);
      expect(await w.rows(table)).toEqual([]);
    }
  });

  test("deleting again is absent and adds no second tombstone", async () => {
    const w = world();
    await w.apply(first, gone(table, key));
    const tombstones = await w.rows("clerkTombstones");
    expect(await w.outcomes(gone(table, key))).toEqual(["absent"]);
    expect(await w.rows("clerkTombstones")).toEqual(tombstones);
  });

  test("revive brings a deleted key back, and it stays", async () => {
    const w = world();
    await w.apply(first, gone(table, key));
    expect(await w.outcomes({ ...first, version: 30, revive: true })).toEqual(["created"]);
    expect(await w.outcomes({ ...first, version: 31 })).toEqual(["unchanged"]);
    expect(await w.rows(table)).toHaveLength(1);
  });

  test("a soft deletion marks the row and keeps it", async () => {
    const w = world();
    const [created] = await w.apply(first);
    const [outcome] = await w.apply(gone(table, key, "soft"));
    expect(outcome).toEqual({ key, outcome: "deleted", id: created?.id });
    const [row] = await w.rows(table);
    expect(row).toMatchObject(first.fields);
    expect(row?.deletedAt).toBeGreaterThan(0);
  });

  test("deleting softly what is softly deleted is unchanged", async () => {
    const w = world();
    await w.apply(first, gone(table, key, "soft"));
    const before = await w.rows(table);
    expect(await w.outcomes(gone(table, key, "soft"))).toEqual(["unchanged"]);
    expect(await w.rows(table)).toEqual(before);
  });

  test("a softly deleted row stays as it is, unless revived", async () => {
    const w = world();
    await w.apply(first, gone(table, key, "soft"));
    const before = await w.rows(table);
    expect(await w.outcomes({ ...first, version: 20, fields: onlyKnown(table) })).toEqual([
      "tombstoned",
    ]);
    expect(await w.rows(table)).toEqual(before);
    expect(await w.outcomes({ ...first, version: 20, revive: true })).toEqual(["updated"]);
    const [row] = await w.rows(table);
    expect(row?.deletedAt).toBeUndefined();
    expect(await w.rows("clerkTombstones")).toEqual([]);
  });

  test("a softly deleted row can be deleted for good", async () => {
    const w = world();
    await w.apply(first, gone(table, key, "soft"));
    expect(await w.outcomes(gone(table, key))).toEqual(["deleted"]);
    expect(await w.rows(table)).toEqual([]);
    expect(await w.outcomes(gone(table, key, "soft"))).toEqual(["absent"]);
  });

  test("of several rows with one key the oldest is used, and nothing throws", async () => {
    const w = world();
    await w.apply(first);
    await w.insert(table, { clerkId: key, clerkCreatedAt: first.createdAt, clerkUpdatedAt: 5 });
    const [oldest, younger] = await w.rows(table);
    const [outcome] = await w.apply({ ...first, version: 11, fields: onlyKnown(table) });
    expect(outcome).toEqual({ key, outcome: "updated", id: oldest?._id });
    expect((await w.rows(table))[1]).toEqual(younger);
    expect((await w.get(table, key)).map((each) => each.id)).toEqual([oldest?._id, younger?._id]);
    expect(await w.outcomes(gone(table, key))).toEqual(["deleted"]);
    expect(await w.rows(table)).toEqual([]);
  });

  test("distinct versions in any order, repeated, end in the same row", async () => {
    const versions = [11, 12, 13, 14].map((version) => ({
      ...first,
      version,
      fields: { ...first.fields, ...onlyKnown(table, `v${version}`) },
    }));
    for (const order of permutations(versions)) {
      const w = world();
      for (const change of order) await w.apply(change, change);
      await w.apply(...order);
      expect(bare(await w.rows(table))).toEqual([
        expect.objectContaining({ clerkUpdatedAt: 14, ...onlyKnown(table, "v14") }),
      ]);
    }
  });

  test("rows without a clerkId are the app's own", async () => {
    const w = world();
    const own = await w.insert(table, {});
    const dated = await w.insert(table, { clerkCreatedAt: first.createdAt });
    await w.apply(first);
    const { records } = await walk(w, { table, limit: 10 });
    expect(records.map((each) => each.key)).toEqual([key]);
    expect(await w.get(table, "", own)).toEqual([]);
    const rows = await w.rows(table);
    expect(rows.filter((row) => row._id === own || row._id === dated)).toHaveLength(2);
  });

  test("an unknown field, a wrong type, an empty key and a wrong time are refused by name", async () => {
    const w = world();
    const change = (fields: Record<string, never>) => ({ ...first, key: "bad", fields });
    await refused(w.apply(first, change({ shoeSize: 1 as never })), {
      code: "unknown_field",
      key: "bad",
      field: "shoeSize",
    });
    await refused(w.apply(change({ clerkId: "user_2" as never })), {
      code: "unknown_field",
      key: "bad",
    });
    for (const value of [5, true, ["x"], { x: 1 }]) {
      const [field] = Object.keys(onlyKnown(table));
      await refused(w.apply(change({ [field as string]: value as never })), {
        code: "invalid_field",
        key: "bad",
        field: field as string,
      });
    }
    await refused(w.apply({ ...first, key: "" }), { code: "invalid_key", key: "" });
    await refused(w.apply({ ...gone(table, "") }), { code: "invalid_key", key: "" });
    await refused(w.apply({ ...first, version: Number.NaN }), { code: "invalid_version", key });
    await refused(w.apply({ ...first, createdAt: Infinity }), { code: "invalid_version", key });
    expect(await w.rows(table)).toEqual([]);
  });

  test("a row larger than a document is refused by name, and the batch with it", async () => {
    const w = world();
    const [field] = Object.keys(onlyKnown(table));
    const large = {
      ...first,
      key: "large",
      fields: { [field as string]: "x".repeat(1024 * 1024) },
    };
    await refused(w.apply(first, large), { code: "too_large", key: "large" });
    expect(await w.rows(table)).toEqual([]);
    await w.apply(first);
    const grown = { ...large, key, version: 11 };
    await refused(w.apply(grown), { code: "too_large", key });
  });
});

/** One field of each table with another value. */
function onlyKnown(table: string, value = "other"): Record<string, string> {
  return table === "profiles"
    ? { firstName: value }
    : table === "memberships"
      ? { role: value }
      : { name: value };
}

describe("a batch", () => {
  test("has one outcome per change, in order, and later changes see earlier ones", async () => {
    const w = world();
    expect(
      await w.outcomes(user(1, 10), user(1, 9), user(1, 10), gone("users", "user_1"), user(1, 11)),
    ).toEqual(["created", "stale", "unchanged", "deleted", "tombstoned"]);
  });

  test("an empty one is fine", async () => {
    expect(await world().apply()).toEqual([]);
  });

  test("one change that cannot be applied undoes the others", async () => {
    const w = world();
    await refused(w.apply(user(1, 1), user(2, 1, { email: 5 })), {
      code: "invalid_field",
      key: "user_2",
    });
    expect(await w.rows("users")).toEqual([]);
  });

  test("of 1,000 changes fits within Convex's limits", async () => {
    const w = world();
    const many = Array.from({ length: MAX_CHANGES }, (_, n) => user(n, 1));
    expect(new Set(await w.outcomes(...many))).toEqual(new Set(["created"]));
    expect(new Set(await w.outcomes(...many))).toEqual(new Set(["unchanged"]));
    const deletions = many.map((each) => gone("users", each.key));
    expect(new Set(await w.outcomes(...deletions))).toEqual(new Set(["deleted"]));
  }, 120_000);

  test("of more than 1,000 is refused with the first key that is too many", async () => {
    const many = Array.from({ length: MAX_CHANGES + 1 }, (_, n) => user(n, 1));
    await refused(world().apply(...many), { code: "batch_too_large", key: `user_${MAX_CHANGES}` });
  });

  test("that would exceed the index ranges is refused before Convex does", async () => {
    const w = world();
    // A membership that is created looks up six things: its row, three tombstones, its user, its peers.
    await w.apply(...Array.from({ length: 900 }, (_, n) => user(n, 1)));
    const many = Array.from({ length: 900 }, (_, n) => membership(n, 1, 1));
    await refused(w.apply(...many), { code: "batch_too_large" });
    expect(await w.rows("memberships")).toEqual([]);
    expect(new Set(await w.outcomes(...many.slice(0, 450)))).toEqual(new Set(["created"]));
  }, 120_000);

  test("as large as the daemon makes one for users and profiles, or memberships, fits", async () => {
    // 4,000 index ranges by its own count: nine for a user with its profile, seven for a membership.
    const w = world();
    const pairs = (version: number) =>
      Array.from({ length: 444 }, (_, n) => [
        user(n, version, { name: `Name ${version}` }),
        profile(n, version, { firstName: `First ${version}` }),
      ]).flat();
    expect(new Set(await w.outcomes(...pairs(1)))).toEqual(new Set(["created"]));
    expect(new Set(await w.outcomes(...pairs(2)))).toEqual(new Set(["updated"]));
    const members = (version: number, role: string) =>
      Array.from({ length: 571 }, (_, n) => {
        const fields = { clerkUserId: `user_${n}`, clerkOrganizationId: "org_1", role };
        return membership(n, 1, version, { fields });
      });
    expect(new Set(await w.outcomes(...members(1, "org:member")))).toEqual(new Set(["created"]));
    expect(new Set(await w.outcomes(...members(2, "org:admin")))).toEqual(new Set(["updated"]));
  }, 120_000);

  test("of large rows is refused before Convex does", async () => {
    const w = world();
    const many = Array.from({ length: 40 }, (_, n) => user(n, 1, { name: "x".repeat(512 * 1024) }));
    await refused(w.apply(...many), { code: "batch_too_large" });
    expect(new Set(await w.outcomes(...many.slice(0, 10)))).toEqual(new Set(["created"]));
  });
});

test("describe names the contract and the tables", async () => {
  expect(await world().describe()).toEqual({
    contract: 1,
    tables: ["users", "profiles", "organizations", "memberships"],
  });
});

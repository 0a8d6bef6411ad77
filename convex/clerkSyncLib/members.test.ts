// What the daemon is shown of one organization's memberships: all of them, and nobody else's.

import { expect, test } from "vitest";
import { gone, membership, refused, world, type World } from "./world.setup";

async function walked(w: World, organization: string, limit: number) {
  const keys: string[] = [];
  let cursor: string | null = null;
  for (let pages = 1; pages < 1000; pages += 1) {
    const page: Awaited<ReturnType<World["members"]>> = await w.members(
      organization,
      cursor,
      limit,
    );
    expect(page.records.length).toBeLessThanOrEqual(limit);
    keys.push(...page.records.map((record) => record.key));
    if (page.cursor === null) return keys;
    cursor = page.cursor;
  }
  throw new Error("the walk does not end");
}

test("an organization's memberships come once each, whatever the page size", async () => {
  const w = world();
  const numbers = Array.from({ length: 23 }, (_, n) => n);
  await w.apply(...numbers.map((n) => membership(n, 1, 1)), membership(1, 2, 1));
  await w.insert("memberships", { clerkOrganizationId: "org_1", role: "the app's own" });
  const expected = numbers.map((n) => `orgmem_${n}_1`).sort();
  for (const limit of [1, 5, 23, 24, 100]) {
    expect((await walked(w, "org_1", limit)).sort()).toEqual(expected);
  }
  expect(await walked(w, "org_2", 100)).toEqual(["orgmem_1_2"]);
  expect(await walked(w, "org_3", 100)).toEqual([]);
});

test("they are shown as list shows them, those that were deleted softly included", async () => {
  const w = world();
  await w.apply(membership(1, 1, 7), membership(2, 1, 7));
  await w.apply(gone("memberships", "orgmem_2_1", "soft"));
  const { records } = await w.members("org_1", null, 10);
  expect(records).toEqual(await w.get("memberships", "orgmem_1_1", "orgmem_2_1"));
  expect(records.map((record) => record.deletedAt === null)).toEqual([true, false]);
});

test("a page of nothing is refused", async () => {
  await refused(world().members("org_1", null, 0), { code: "invalid_limit" });
});

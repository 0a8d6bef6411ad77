// How the organization of a user follows its memberships, whatever comes first.

import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { gone, membership, permutations, user, world, type World } from "./world.setup";

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

describe("organizationId", () => {
  const of = async (w: World) => (await w.get("users", "user_1"))[0]?.fields.organizationId;
  const pinned = (version: number, organizationId: string | null) =>
    user(1, version, { organizationId });

  test("is that of the oldest membership, in whatever order they come", async () => {
    for (const order of permutations([
      user(1, 1),
      membership(1, 2, 1),
      membership(1, 1, 1),
      membership(1, 3, 1),
    ])) {
      const w = world();
      for (const change of order) await w.apply(change);
      expect(await of(w)).toBe("org_1");
    }
  });

  test("follows memberships that go, without a new version of the user", async () => {
    const w = world();
    await w.apply(user(1, 5), membership(1, 1, 1), membership(1, 2, 1));
    await w.apply(gone("memberships", "orgmem_1_1"));
    expect(await of(w)).toBe("org_2");
    await w.apply(gone("memberships", "orgmem_1_2", "soft"));
    expect(await of(w)).toBeNull();
    expect((await w.get("users", "user_1"))[0]?.version).toBe(5);
    expect(await w.outcomes(user(1, 5))).toEqual(["unchanged"]);
    await w.apply({ ...membership(1, 2, 2), revive: true });
    expect(await of(w)).toBe("org_2");
  });

  test("is none of a membership of the app's own, which has no clerkId", async () => {
    const w = world();
    await w.insert("memberships", { clerkUserId: "user_1", clerkOrganizationId: "org_own" });
    await w.apply(user(1, 1));
    expect(await of(w)).toBeNull();
    await w.apply(membership(1, 2, 1));
    expect(await of(w)).toBe("org_2");
  });

  test("of a membership that moved to another user changes for both", async () => {
    const w = world();
    await w.apply(user(1, 1), user(2, 1), membership(1, 1, 1));
    const moved = { clerkUserId: "user_2", clerkOrganizationId: "org_1", role: "org:member" };
    await w.apply({ ...membership(1, 1, 2), fields: moved });
    expect(await of(w)).toBeNull();
    expect((await w.get("users", "user_2"))[0]?.fields.organizationId).toBe("org_1");
  });

  test("that metadata sets is left alone by memberships, whatever comes first", async () => {
    for (const order of permutations([
      pinned(1, "org_meta"),
      membership(1, 1, 1),
      membership(1, 2, 1),
    ])) {
      const w = world();
      for (const change of order) await w.apply(change);
      expect(await of(w)).toBe("org_meta");
      await w.apply(gone("memberships", "orgmem_1_1"));
      expect(await of(w)).toBe("org_meta");
    }
  });

  test("is derived again once metadata no longer sets it", async () => {
    const w = world();
    await w.apply(membership(1, 1, 1), pinned(1, "org_meta"));
    expect(await w.outcomes(user(1, 2))).toEqual(["updated"]);
    expect(await of(w)).toBe("org_1");
    expect(await w.outcomes(pinned(3, "org_1"))).toEqual(["updated"]);
    await w.apply(gone("memberships", "orgmem_1_1"));
    expect(await of(w)).toBe("org_1");
  });

  test("of a stale upsert says nothing", async () => {
    const w = world();
    await w.apply(pinned(5, "org_meta"));
    expect(await w.outcomes(user(1, 4))).toEqual(["stale"]);
    expect(await of(w)).toBe("org_meta");
  });
});

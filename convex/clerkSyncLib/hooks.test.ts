// The app's own code beside ours: hooks, and triggers that its wrapped `internalMutation` brings.

import { customCtx, customMutation } from "convex-helpers/server/customFunctions";
import { Triggers } from "convex-helpers/server/triggers";
import {
  internalMutationGeneric,
  internalQueryGeneric,
  type DataModelFromSchemaDefinition,
} from "convex/server";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import defaultSchema from "../schema";
import { clerkSync } from "./factory";
import type { Row } from "./tables";
import { gone, membership, organization, profile, refused, user, world } from "./world.setup";

const builders = { internalMutation: internalMutationGeneric, internalQuery: internalQueryGeneric };

beforeEach(() => {
  vi.spyOn(console, "error").mockImplementation(() => undefined);
});
afterEach(() => {
  vi.restoreAllMocks();
});

describe("hooks", () => {
  function hooked(fail?: string) {
    const calls: string[] = [];
    const note = (name: string, key: unknown) => {
      calls.push(`${name} ${String(key)}`);
      if (fail === `${name} ${String(key)}`) throw new Error("the app says no");
    };
    const of = (table: string) => ({
      onCreate: async (_: unknown, doc: Row) => note(`${table}.onCreate`, doc.clerkId),
      onUpdate: async (_: unknown, doc: Row, old: Row) =>
        note(`${table}.onUpdate`, `${doc.clerkId} ${old.name ?? old.role} ${doc.name ?? doc.role}`),
      onDelete: async (_: unknown, doc: Row, mode: string) =>
        note(`${table}.onDelete`, `${doc.clerkId} ${mode}`),
    });
    const hooks = {
      users: of("users"),
      profiles: of("profiles"),
      organizations: of("organizations"),
      memberships: of("memberships"),
    };
    // The hooks are written for any row here; in an app they are typed by its data model.
    return {
      calls,
      w: world(clerkSync({ ...builders, schema: defaultSchema, hooks: hooks as never })),
    };
  }

  test("run once for what was created, updated and deleted, and not for what was not", async () => {
    const { calls, w } = hooked();
    await w.apply(user(1, 5), user(1, 5), user(1, 4, { name: "x" }), user(1, 6));
    expect(calls).toEqual(["users.onCreate user_1"]);
    calls.length = 0;
    await w.apply(user(1, 7, { name: "B" }), user(1, 7, { name: "B" }));
    expect(calls).toEqual(["users.onUpdate user_1 User 1 B"]);
    calls.length = 0;
    await w.apply(gone("users", "user_1"), gone("users", "user_1"), user(1, 9));
    expect(calls).toEqual(["users.onDelete user_1 hard"]);
  });

  test("a deletion before its creation fires nothing", async () => {
    const { calls, w } = hooked();
    await w.apply(gone("users", "user_1"), user(1, 5), user(1, 6, { name: "B" }));
    expect(calls).toEqual([]);
  });

  test("a row that is merged into an older one is no deletion", async () => {
    const { calls, w } = hooked();
    await w.apply(user(1, 5));
    await w.raw(async ({ db }) => {
      for (const { _id, _creationTime, ...copy } of await db.query("users").collect()) {
        await db.insert("users", copy);
      }
    });
    calls.length = 0;
    await w.apply(user(1, 6, { name: "B" }, { merge: true }));
    expect(await w.rows("users")).toHaveLength(1);
    expect(calls.filter((call) => call.includes("onDelete"))).toEqual([]);
  });

  test("a soft deletion and a removal are told apart", async () => {
    const { calls, w } = hooked();
    await w.apply(
      user(1, 5),
      gone("users", "user_1", "soft"),
      gone("users", "user_1", "soft"),
      gone("users", "user_1"),
    );
    expect(calls).toEqual([
      "users.onCreate user_1",
      "users.onDelete user_1 soft",
      "users.onDelete user_1 hard",
    ]);
  });

  test("run for what a deletion takes along, and for a user whose organization changes", async () => {
    const { calls, w } = hooked();
    await w.apply(user(1, 1), profile(1, 1), organization(1, 1));
    calls.length = 0;
    await w.apply(membership(1, 1, 1));
    expect(calls).toEqual([
      "memberships.onCreate orgmem_1_1",
      "users.onUpdate user_1 User 1 User 1",
    ]);
    calls.length = 0;
    await w.apply(gone("users", "user_1"));
    expect(calls).toEqual([
      "users.onDelete user_1 hard",
      "profiles.onDelete user_1 hard",
      "memberships.onDelete orgmem_1_1 hard",
    ]);
  });

  test("write in the same transaction, with the app's own ctx", async () => {
    const w = world(
      clerkSync<DataModelFromSchemaDefinition<typeof defaultSchema>>({
        ...builders,
        schema: defaultSchema,
        hooks: {
          users: {
            onCreate: async (ctx, doc) => {
              await ctx.db.patch(doc._id, { creditsBalance: 100 });
              await ctx.db.insert("files", { userId: doc._id, name: "welcome" });
            },
          },
        },
      }),
    );
    await w.apply(user(1, 1));
    expect((await w.rows("users"))[0]).toMatchObject({ creditsBalance: 100 });
    expect(await w.rows("files")).toHaveLength(1);
  });

  test("one that throws undoes the call, and the refusal names its record", async () => {
    const { w } = hooked("users.onCreate user_2");
    await refused(w.apply(user(1, 1), user(2, 1), user(3, 1)), {
      code: "hook_failed",
      key: "user_2",
    });
    expect(await w.rows("users")).toEqual([]);
    expect(await w.outcomes(user(1, 1), user(3, 1))).toEqual(["created", "created"]);
  });
});

describe("the app's own internalMutation", () => {
  test("sees every write, so triggers fire", async () => {
    const seen: string[] = [];
    const triggers = new Triggers<DataModelFromSchemaDefinition<typeof defaultSchema>>();
    for (const table of ["users", "profiles", "memberships", "files"] as const) {
      triggers.register(table, async (_, change) => {
        seen.push(`${table} ${change.operation}`);
      });
    }
    const internalMutation = customMutation(
      internalMutationGeneric,
      customCtx(triggers.wrapDB as never),
    );
    const w = world(
      clerkSync({
        internalQuery: internalQueryGeneric,
        internalMutation,
        schema: defaultSchema,
        files: { table: "files", owner: "userId", index: "by_userId", storage: "storageId" },
      }),
    );
    const [created] = await w.apply(user(1, 1), profile(1, 1), membership(1, 1, 1));
    await w.insert("files", { userId: created?.id });
    expect(seen).toEqual(["users insert", "profiles insert", "memberships insert", "users update"]);
    seen.length = 0;
    await w.apply(user(1, 1), user(1, 2, { name: "B" }));
    expect(seen).toEqual(["users update"]);
    seen.length = 0;
    await w.apply(gone("users", "user_1", "hard", "delete"));
    expect(seen).toEqual(["users delete", "profiles delete", "memberships delete", "files delete"]);
  });

  test("whose trigger throws is reported with the record's key", async () => {
    const triggers = new Triggers<DataModelFromSchemaDefinition<typeof defaultSchema>>();
    triggers.register("users", async () => {
      throw new Error("the app says no");
    });
    const internalMutation = customMutation(
      internalMutationGeneric,
      customCtx(triggers.wrapDB as never),
    );
    const w = world(
      clerkSync({ internalQuery: internalQueryGeneric, internalMutation, schema: defaultSchema }),
    );
    await refused(w.apply(user(1, 1)), { code: "invalid_row", key: "user_1" });
  });
});

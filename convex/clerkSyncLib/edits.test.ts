// A user's own edits on their way to Clerk: at once in the row, once in the outbox, and no older value
// from Clerk in their place.

import {
  internalMutationGeneric,
  internalQueryGeneric,
  type GenericMutationCtx,
} from "convex/server";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import type { DataModel } from "../_generated/dataModel";
import defaultSchema from "../schema";
import { edit, row, start, T0 } from "./edits.setup";
import { clerkSync } from "./factory";
import { gone, profile, refused, user, world } from "./world.setup";

beforeEach(() => {
  vi.useFakeTimers();
  vi.setSystemTime(T0);
});
afterEach(() => {
  vi.useRealTimers();
});

describe("editProfile", () => {
  test("changes the row at once and leaves the edit in the outbox", async () => {
    const w = await start();
    const { editId } = await edit(w, { firstName: "Augusta" });
    expect(await row(w)).toMatchObject({
      firstName: "Augusta",
      lastName: "Lovelace",
      updatedAt: T0,
    });
    expect(await w.edits()).toEqual([
      { id: editId, key: "user_1", fields: { firstName: "Augusta" }, editedAt: T0 },
    ]);
  });

  test("of what the row says already leaves no edit", async () => {
    const w = await start();
    const before = await row(w);
    expect(await edit(w, { firstName: "Ada" })).toEqual({ editId: null });
    expect(await w.edits()).toEqual([]);
    expect(await row(w)).toEqual(before);
  });

  test("again puts one edit with both changes in the place of the first", async () => {
    const w = await start();
    const first = await edit(w, { firstName: "A" });
    vi.setSystemTime(T0 + 10);
    const second = await edit(w, { firstName: "B", lastName: null });
    expect(second.editId).not.toBe(first.editId);
    expect(await w.edits()).toEqual([
      {
        id: second.editId,
        key: "user_1",
        fields: { firstName: "B", lastName: null },
        editedAt: T0 + 10,
      },
    ]);
    expect(await w.settle({ id: String(first.editId), result: "done" })).toBe(0);
    expect(await w.edits()).toHaveLength(1);
  });

  test("refuses fields that may not be edited, wrong values, and users without a profile", async () => {
    const w = await start();
    await refused(edit(w, { phoneNumber: "1" }), {
      code: "unknown_field",
      key: "user_1",
      field: "phoneNumber",
    });
    await refused(edit(w, { role: "admin" }), { code: "unknown_field", key: "user_1" });
    await refused(edit(w, { firstName: 5 as never }), { code: "invalid_field", key: "user_1" });
    await refused(edit(w, { firstName: "A" }, "user_2"), { code: "no_profile", key: "user_2" });
    await w.apply(gone("profiles", "user_1", "soft"));
    await refused(edit(w, { firstName: "A" }), { code: "no_profile", key: "user_1" });
    expect(await w.edits()).toEqual([]);
  });

  test("a hundred times leaves one pending edit and a bounded outbox", async () => {
    const w = await start();
    for (let n = 0; n < 100; n += 1) {
      vi.setSystemTime(T0 + n);
      const { editId } = await edit(w, { firstName: `name ${n}` });
      if (n % 3 === 1) await w.settle({ id: String(editId), result: "done" });
    }
    expect(await w.edits()).toHaveLength(1);
    expect((await w.rows("clerkEdits")).length).toBeLessThanOrEqual(17);
  });
});

describe("while an edit waits", () => {
  test("an older value from Clerk does not overwrite the edited field, and the others are written", async () => {
    const w = await start();
    await edit(w, { firstName: "Augusta" });
    const late = profile(1, T0 - 1000, { firstName: "Old", lastName: "King" });
    expect(await w.outcomes(late)).toEqual(["updated"]);
    expect(await row(w)).toMatchObject({
      firstName: "Augusta",
      lastName: "King",
      clerkUpdatedAt: T0 - 1000,
    });
  });

  test("a newer version that still has the former value does not overwrite it either", async () => {
    const w = await start();
    await edit(w, { firstName: "Augusta" });
    expect(await w.outcomes(profile(1, T0 + 5000))).toEqual(["unchanged"]);
    expect(await row(w)).toMatchObject({ firstName: "Augusta", clerkUpdatedAt: T0 + 5000 });
    expect(await w.edits()).toHaveLength(1);
  });

  test("a newer value from Clerk wins, and the edit of that field is over", async () => {
    const w = await start();
    await edit(w, { firstName: "Augusta", lastName: "King" });
    const newer = profile(1, T0 + 5000, { firstName: "By the administrator" });
    expect(await w.outcomes(newer)).toEqual(["updated"]);
    expect(await row(w)).toMatchObject({ firstName: "By the administrator", lastName: "King" });
    expect((await w.edits()).map((each) => each.fields)).toEqual([{ lastName: "King" }]);
  });

  test("an edit of another field does not make it later than what Clerk has changed between the two", async () => {
    const w = await start();
    await edit(w, { firstName: "Augusta" });
    vi.setSystemTime(T0 + 100);
    await edit(w, { lastName: "King" });
    await w.apply(profile(1, T0 + 50, { firstName: "By the administrator" }));
    expect(await row(w)).toMatchObject({ firstName: "By the administrator", lastName: "King" });
    expect((await w.edits()).map((each) => [each.fields, each.editedAt])).toEqual([
      [{ lastName: "King" }, T0 + 100],
    ]);
    // The field that was edited again is later.
    await edit(w, { firstName: "Ada Augusta" });
    await w.apply(profile(1, T0 + 60, { firstName: "Once more", lastName: "Byron" }));
    expect(await row(w)).toMatchObject({ firstName: "Ada Augusta", lastName: "King" });
  });

  test("a value that an earlier edit put there is no newer value of Clerk's", async () => {
    const w = await start();
    await edit(w, { firstName: "First try" });
    vi.setSystemTime(T0 + 100);
    await edit(w, { firstName: "Second try" });
    await w.apply(profile(1, T0 + 200, { firstName: "First try" }));
    expect(await row(w)).toMatchObject({ firstName: "Second try" });
    expect(await w.edits()).toHaveLength(1);
  });

  test("the value from before the first of several edits is old news, too", async () => {
    const w = await start();
    await edit(w, { firstName: "First try" });
    vi.setSystemTime(T0 + 100);
    await edit(w, { firstName: "Second try" });
    expect(await w.outcomes(profile(1, T0 + 200))).toEqual(["unchanged"]);
    expect(await row(w)).toMatchObject({ firstName: "Second try" });
    expect(await w.edits()).toHaveLength(1);
  });

  test("the echo changes nothing but the version, and starts no edit", async () => {
    const w = await start();
    const { editId } = await edit(w, { firstName: "Augusta" });
    const before = await row(w);
    expect(await w.outcomes(profile(1, T0 + 50, { firstName: "Augusta" }))).toEqual(["unchanged"]);
    expect(await row(w)).toEqual({ ...before, clerkUpdatedAt: T0 + 50 });
    expect(await w.settle({ id: String(editId), result: "done" })).toBe(1);
    expect(await w.edits()).toEqual([]);
    expect(await w.outcomes(profile(1, T0 - 10))).toEqual(["stale"]);
  });

  test("what Clerk held all along is old news, even when it arrives late and its version moves on", async () => {
    const w = await start();
    await edit(w, { firstName: "Augusta" });
    await w.apply(profile(1, T0 - 1000, { firstName: "Late" }));
    await w.apply(profile(1, T0 + 5000, { firstName: "Late", lastName: "King" }));
    expect(await row(w)).toMatchObject({ firstName: "Augusta", lastName: "King" });
    expect(await w.edits()).toHaveLength(1);
  });

  test("after the echo Clerk's word goes again, be it the former value", async () => {
    for (const settled of [false, true]) {
      const w = await start();
      const { editId } = await edit(w, { firstName: "Augusta" });
      await w.apply(profile(1, T0 + 50, { firstName: "Augusta" }));
      vi.setSystemTime(T0 + 1000);
      if (settled) await w.settle({ id: String(editId), result: "done" });
      expect(await w.outcomes(profile(1, T0 + 60))).toEqual(["updated"]);
      expect(await row(w)).toMatchObject({ firstName: "Ada" });
      expect(await w.rows("clerkEdits")).toEqual([]);
      vi.setSystemTime(T0);
    }
  });

  test("other users' profiles are written as ever", async () => {
    const w = await start();
    await w.apply(profile(2, 1));
    await edit(w, { firstName: "Augusta" });
    expect(await w.outcomes(profile(2, 2, { firstName: "B" }))).toEqual(["updated"]);
  });
});

describe("settle", () => {
  test("done: a value from before that was still under way is held back until the echo is in", async () => {
    const w = await start();
    const { editId } = await edit(w, { firstName: "Augusta" });
    vi.setSystemTime(T0 + 1000);
    expect(await w.settle({ id: String(editId), result: "done" })).toBe(1);
    await w.apply(profile(1, T0 + 500));
    expect(await row(w)).toMatchObject({ firstName: "Augusta" });
    await w.apply(profile(1, T0 + 1500, { firstName: "Later" }));
    expect(await row(w)).toMatchObject({ firstName: "Later" });
    expect(await w.rows("clerkEdits")).toEqual([]);
  });

  test("refused: the row goes back to what Clerk holds, and the reason is kept for the app", async () => {
    const w = await start();
    const { editId } = await edit(w, { firstName: "<script>", lastName: "King" });
    vi.setSystemTime(T0 + 1000);
    await w.settle({ id: String(editId), result: "refused", reason: "x".repeat(1000) });
    expect(await row(w)).toMatchObject({ firstName: "Ada", lastName: "Lovelace" });
    expect(await w.edits()).toEqual([]);
    const [kept] = await w.rows("clerkEdits");
    expect(kept).toMatchObject({ status: "refused", reason: "x".repeat(500) });
    await edit(w, { firstName: "Augusta" });
    expect((await w.rows("clerkEdits")).map((each) => each.status)).toEqual(["pending"]);
  });

  test("refused: back to what Clerk was last seen to hold, and to no value where it held none", async () => {
    const w = world();
    const none = { firstName: null };
    await w.apply(user(1, T0 - 3_600_000), profile(1, T0 - 3_600_000, none));
    await edit(w, { firstName: "A", lastName: "A" });
    vi.setSystemTime(T0 + 10);
    const { editId } = await edit(w, { firstName: "B", lastName: "B" });
    await w.apply(profile(1, T0 - 1000, { ...none, lastName: "Late" }));
    expect(await row(w)).toMatchObject({ firstName: "B", lastName: "B" });
    await w.settle({ id: String(editId), result: "refused", reason: "frozen" });
    expect((await row(w))?.firstName ?? null).toBeNull();
    expect(await row(w)).toMatchObject({ lastName: "Late" });
  });

  test("refused does not undo what has come since", async () => {
    const w = await start();
    const { editId } = await edit(w, { firstName: "Augusta", lastName: "King" });
    const [profileRow] = await w.rows("profiles");
    await w.raw((ctx) => ctx.db.patch(profileRow?._id as string, { firstName: "By hand" }));
    await w.settle({ id: String(editId), result: "refused" });
    expect(await row(w)).toMatchObject({ firstName: "By hand", lastName: "Lovelace" });
  });

  test("of unknown, settled and malformed ids counts nothing", async () => {
    const w = await start();
    const { editId } = await edit(w, { firstName: "Augusta" });
    const id = String(editId);
    const foreign = (await row(w))?._id as string;
    expect(
      await w.settle(
        { id: "nonsense", result: "done" },
        { id: foreign, result: "done" },
        { id, result: "done" },
        { id, result: "refused" },
      ),
    ).toBe(1);
    expect(await row(w)).toMatchObject({ firstName: "Augusta" });
    expect(await w.settle({ id, result: "done" })).toBe(0);
  });
});

describe("a username, which lives in the user's row", () => {
  const functions = clerkSync<DataModel>({
    internalMutation: internalMutationGeneric,
    internalQuery: internalQueryGeneric,
    schema: defaultSchema,
    editable: ["firstName", "username"],
  });
  const start = async () => {
    const w = world(functions);
    await w.apply(user(1, T0 - 3_600_000, { username: "ada" }), profile(1, T0 - 3_600_000));
    const rename = (fields: Record<string, string | null>) =>
      w.t.run((ctx) =>
        functions.editProfile(ctx as GenericMutationCtx<DataModel>, { clerkId: "user_1", fields }),
      );
    const username = async () => (await w.rows("users"))[0]?.username;
    return { w, rename, username };
  };

  test("is changed at once, held, and travels with the profile's fields in one edit", async () => {
    const { w, rename, username } = await start();
    await rename({ username: "augusta", firstName: "Augusta" });
    expect(await username()).toBe("augusta");
    expect(await row(w)).toMatchObject({ firstName: "Augusta" });
    const fields = { username: "augusta", firstName: "Augusta" };
    expect((await w.edits()).map((each) => each.fields)).toEqual([fields]);
    await w.apply(user(1, T0 + 5000, { username: "ada", name: "Ada K." }));
    expect((await w.rows("users"))[0]).toMatchObject({ username: "augusta", name: "Ada K." });
    await w.apply(user(1, T0 + 6000, { username: "by_the_administrator" }));
    expect(await username()).toBe("by_the_administrator");
    expect((await w.edits()).map((each) => each.fields)).toEqual([{ firstName: "Augusta" }]);
  });

  test("goes back when Clerk refuses it, and other fields of users are not edited", async () => {
    const { w, rename, username } = await start();
    const { editId } = await rename({ username: "taken" });
    await w.settle({ id: String(editId), result: "refused", reason: "form_identifier_exists" });
    expect(await username()).toBe("ada");
    await refused(rename({ role: "admin" }), { code: "unknown_field", field: "role" });
    await refused(rename({ lastName: "King" }), { code: "unknown_field", field: "lastName" });
  });
});

test("edits come in the order in which they were made, as many as are asked for", async () => {
  const w = world();
  for (const n of [3, 1, 2]) {
    await w.apply(profile(n, 1));
    vi.setSystemTime(T0 + (4 - n) * 1000);
    await edit(w, { firstName: "X" }, `user_${n}`);
  }
  expect((await w.edits()).map((each) => each.key)).toEqual(["user_3", "user_2", "user_1"]);
  expect((await w.edits(2)).map((each) => each.key)).toEqual(["user_3", "user_2"]);
  await refused(w.edits(0), { code: "invalid_limit" });
});

test("a deleted user's edits go along", async () => {
  for (const deletion of [gone("users", "user_1"), gone("profiles", "user_1")]) {
    const w = await start();
    await edit(w, { firstName: "Augusta" });
    await w.apply(deletion);
    expect(await w.rows("clerkEdits")).toEqual([]);
  }
});

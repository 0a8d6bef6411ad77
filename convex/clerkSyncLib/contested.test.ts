// Fields that the user and somebody in Clerk have both changed: whose word goes, and that it is told.

import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { edit, row, start, T0 } from "./edits.setup";
import { profile } from "./world.setup";

beforeEach(() => {
  vi.useFakeTimers();
  vi.setSystemTime(T0);
});
afterEach(() => {
  vi.useRealTimers();
});

test("what both sides have changed is told with both words, and whose stays", async () => {
  const w = await start();
  await edit(w, { firstName: "Augusta", lastName: null });
  const said = { key: "user_1", editedAt: T0 };
  const older = profile(1, T0 - 1000, { firstName: "Older" });
  expect(await w.applied(older)).toMatchObject({
    outcomes: [{ key: "user_1", outcome: "unchanged" }],
    conflicts: [
      {
        ...said,
        field: "firstName",
        winner: "convex",
        clerk: "Older",
        version: T0 - 1000,
        convex: "Augusta",
      },
    ],
  });
  // The same again is told again, lest the answer was lost; after that it is what Clerk held before.
  expect((await w.applied(older)).conflicts).toHaveLength(1);
  const signedIn = profile(1, T0 - 500, { firstName: "Older" });
  expect(await w.applied(signedIn)).not.toHaveProperty("conflicts");
  const newer = profile(1, T0 + 1000, { firstName: "Augusta", lastName: "By the administrator" });
  expect((await w.applied(newer)).conflicts).toEqual([
    {
      ...said,
      field: "lastName",
      winner: "clerk",
      clerk: "By the administrator",
      version: T0 + 1000,
      convex: null,
    },
  ]);
  expect(await row(w)).toMatchObject({ firstName: "Augusta", lastName: "By the administrator" });
});

test("what only one side has changed is no conflict", async () => {
  const w = await start();
  await edit(w, { firstName: "Augusta" });
  const signedIn = profile(1, T0 + 1000);
  const echo = profile(1, T0 + 2000, { firstName: "Augusta" });
  const after = profile(1, T0 + 3000, { firstName: "By the administrator" });
  for (const change of [signedIn, echo, after]) {
    expect(await w.applied(change)).not.toHaveProperty("conflicts");
  }
  expect(await row(w)).toMatchObject({ firstName: "By the administrator" });
});

test("however often a field is edited, what Clerk held before is old news", async () => {
  const w = await start();
  for (let n = 0; n < 20; n += 1) await edit(w, { firstName: `name ${n}` });
  expect(await w.applied(profile(1, T0 + 5000))).toEqual({
    outcomes: [{ key: "user_1", outcome: "unchanged", id: (await row(w))?._id }],
  });
  expect(await row(w)).toMatchObject({ firstName: "name 19" });
});

test("an edit of another field leaves it known that Clerk has the first one", async () => {
  const w = await start();
  await edit(w, { firstName: "Augusta" });
  await w.apply(profile(1, T0 + 1000, { firstName: "Augusta" }));
  vi.setSystemTime(T0 + 2000);
  await edit(w, { lastName: "King" });
  // Back to the former name, by the administrator.
  await w.apply(profile(1, T0 + 1500));
  expect(await row(w)).toMatchObject({ firstName: "Ada", lastName: "King" });
});

test("an edit that Clerk has overruled is not what a later one goes back to", async () => {
  const w = await start();
  await edit(w, { firstName: "Augusta", lastName: "King" });
  await w.apply(profile(1, T0 + 1000, { firstName: "By the administrator" }));
  vi.setSystemTime(T0 + 2000);
  const { editId } = await edit(w, { firstName: "too long" });
  await w.settle({ id: String(editId), result: "refused" });
  expect(await row(w)).toMatchObject({ firstName: "By the administrator" });
});

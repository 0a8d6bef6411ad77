// A user with a profile, and the edits of it that the app makes. For the tests of edits.

import type { GenericMutationCtx } from "convex/server";
import type { DataModel } from "../_generated/dataModel";
import { editProfile } from "../clerkSync";
import { profile, user, world, type World } from "./world.setup";

/** The time at which these tests begin. */
export const T0 = 1_700_000_000_000;

export const edit = (w: World, fields: Record<string, string | null>, clerkId = "user_1") =>
  w.t.run(
    async (ctx) => await editProfile(ctx as GenericMutationCtx<DataModel>, { clerkId, fields }),
  );
export const row = async (w: World) => (await w.rows("profiles"))[0];

/** A profile as of an hour ago. */
export async function start() {
  const w = world();
  await w.apply(user(1, T0 - 3_600_000), profile(1, T0 - 3_600_000));
  return w;
}

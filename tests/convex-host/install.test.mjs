// The functions in somebody else's project: copied as `init` copies them, they must compile there in
// strict mode, with the app's own schema, and load.
//
// `convex codegen --system-udfs` makes `_generated` without a deployment, hence without the network.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { cp, mkdir, mkdtemp, readdir, rm, symlink, writeFile } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { test } from "node:test";
import { promisify } from "node:util";
import { CONVEX_DIR } from "./options.mjs";

const run = promisify(execFile);

/** What `init` writes: the module and its library, without tests. */
async function filesOfInit() {
  const library = await readdir(path.join(CONVEX_DIR, "clerkSyncLib"));
  const sources = library.filter((name) => /^[^.]+\.ts$/.test(name));
  return ["clerkSync.ts", ...sources.map((name) => `clerkSyncLib/${name}`)];
}

const TSCONFIG = {
  // As `convex` writes it into a new project, and two options that strict projects add.
  compilerOptions: {
    allowJs: true,
    strict: true,
    moduleResolution: "Bundler",
    jsx: "react-jsx",
    skipLibCheck: true,
    allowSyntheticDefaultImports: true,
    target: "ESNext",
    // Projects that are a few years old have this one.
    lib: ["ES2021", "dom"],
    forceConsistentCasingInFileNames: true,
    module: "ESNext",
    isolatedModules: true,
    noEmit: true,
    noUncheckedIndexedAccess: true,
    exactOptionalPropertyTypes: true,
    verbatimModuleSyntax: true,
    noImplicitReturns: true,
    noUnusedLocals: true,
    noUnusedParameters: true,
    noPropertyAccessFromIndexSignature: false,
    types: [],
  },
  include: ["./**/*"],
};

/** A fresh project with these files beside ours; checks that it compiles. */
async function install(own, { withSchema }) {
  const project = await mkdtemp(path.join(os.tmpdir(), "clerk-convex-sync-install-"));
  try {
    const convex = path.join(project, "convex");
    await mkdir(path.join(convex, "clerkSyncLib"), { recursive: true });
    const manifest = { name: "app", private: true, type: "module", dependencies: { convex: "*" } };
    await writeFile(path.join(project, "package.json"), JSON.stringify(manifest));
    await symlink(path.join(CONVEX_DIR, "node_modules"), path.join(project, "node_modules"));
    const copied = [...(await filesOfInit()), ...(withSchema ? ["schema.ts"] : [])];
    for (const file of copied) await cp(path.join(CONVEX_DIR, file), path.join(convex, file));
    await writeFile(path.join(convex, "tsconfig.json"), JSON.stringify(TSCONFIG));
    for (const [name, text] of Object.entries(own)) await writeFile(path.join(convex, name), text);
    const bin = (name) => path.join(CONVEX_DIR, "node_modules/.bin", name);
    const options = { cwd: project, maxBuffer: 1 << 24 };
    await run(bin("convex"), ["codegen", "--system-udfs", "--typecheck", "disable"], options);
    await run(bin("tsc"), ["--noEmit", "-p", "convex"], options).catch((error) => {
      throw new Error(error.stdout);
    });
    return await readdir(path.join(convex, "_generated"));
  } finally {
    await rm(project, { recursive: true, force: true });
  }
}

const CALLER = `
import { internal } from "./_generated/api";
import { action } from "./_generated/server";
import { v } from "convex/values";

// The functions are typed from outside, too.
export const probe = action({
  args: {},
  returns: v.number(),
  handler: async (ctx): Promise<number> => {
    const { contract } = await ctx.runQuery(internal.clerkSync.describe, {});
    const { outcomes } = await ctx.runMutation(internal.clerkSync.apply, {
      changes: [{ kind: "delete", table: "users", key: "user_1", mode: "hard" }],
    });
    return contract + outcomes.length;
  },
});
`;

test("compiles in a project that has nothing yet", async () => {
  const generated = await install({ "probe.ts": CALLER }, { withSchema: true });
  assert.ok(generated.includes("server.d.ts"));
});

const APP_SCHEMA = `
import { defineSchema, defineTable } from "convex/server";
import { v } from "convex/values";
import { clerkSyncTables, userFields } from "./clerkSyncLib/schema";

export default defineSchema({
  ...clerkSyncTables,
  users: defineTable({
    ...userFields,
    creditsBalance: v.number(),
    subscriptionTier: v.union(v.literal("free"), v.literal("pro")),
    locale: v.optional(v.string()),
  })
    .index("by_clerkId", ["clerkId"])
    .index("by_clerkCreatedAt", ["clerkCreatedAt", "clerkId"])
    .index("by_email", ["email"])
    .index("by_tier", ["subscriptionTier"]),
  posts: defineTable({ author: v.id("users"), text: v.string() }).index("by_author", ["author"]),
});
`;

const APP_MODULE = `
import type { DataModel } from "./_generated/dataModel";
import { internalMutation, internalQuery } from "./_generated/server";
import { v } from "convex/values";
import { clerkSync } from "./clerkSyncLib/factory";
import schema from "./schema";

export const { describe, list, get, apply, edits, settle, cascade, editProfile } = clerkSync<DataModel>({
  internalQuery,
  internalMutation,
  schema,
  tables: { users: { extraFields: { locale: v.optional(v.string()) } } },
  hooks: {
    users: {
      onCreate: async (ctx, doc) => {
        // Typed by the app's own schema: a wrong column would not compile.
        const credits: number = doc.creditsBalance;
        await ctx.db.insert("posts", { author: doc._id, text: String(credits) });
      },
      onDelete: async (ctx, doc, mode) => {
        if (mode === "soft") return;
        const posts = await ctx.db.query("posts").withIndex("by_author", (q) => q.eq("author", doc._id)).take(100);
        for (const post of posts) await ctx.db.delete(post._id);
      },
    },
  },
});
`;

const APP_MUTATION = `
import { mutation } from "./_generated/server";
import { v } from "convex/values";
import { editProfile } from "./clerkSync";

export const rename = mutation({
  args: { firstName: v.string() },
  returns: v.null(),
  handler: async (ctx, { firstName }) => {
    const identity = await ctx.auth.getUserIdentity();
    if (identity === null) throw new Error("not signed in");
    await editProfile(ctx, { clerkId: identity.subject, fields: { firstName } });
    return null;
  },
});
`;

const APP = {
  "schema.ts": APP_SCHEMA,
  "clerkSync.ts": APP_MODULE,
  "rename.ts": APP_MUTATION,
  "probe.ts": CALLER,
};

test("compiles in an app with its own users table, hooks and mutations", async () => {
  await install(APP, { withSchema: false });
});

test("compiles as it is in an app whose schema knows no files", async () => {
  const { "clerkSync.ts": _, ...rest } = APP;
  await install(rest, { withSchema: false });
});

test("compiles with an internalMutation that convex-helpers wrapped", async () => {
  const wrapped = APP_MODULE.replace(
    'import { internalMutation, internalQuery } from "./_generated/server";',
    `import { internalMutation as rawInternalMutation, internalQuery } from "./_generated/server";
import { customCtx, customMutation } from "convex-helpers/server/customFunctions";
import { Triggers } from "convex-helpers/server/triggers";

const triggers = new Triggers<DataModel>();
triggers.register("users", async (ctx, change) => {
  if (change.operation === "insert") await ctx.db.patch(change.id, { creditsBalance: 10 });
});
const internalMutation = customMutation(rawInternalMutation, customCtx(triggers.wrapDB));`,
  );
  assert.notEqual(wrapped, APP_MODULE);
  await install({ ...APP, "clerkSync.ts": wrapped }, { withSchema: false });
});

test("a hook that names a column which the app lacks does not compile", async () => {
  const wrong = APP_MODULE.replace("doc.creditsBalance", "doc.creditsBalanse");
  await assert.rejects(
    install({ ...APP, "clerkSync.ts": wrong }, { withSchema: false }),
    /creditsBalanse/,
  );
});

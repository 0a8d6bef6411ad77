// The deployment behind the host: the modules of a Convex project, its schema, and its database.
//
// convex-test runs one transaction at a time; this file adds what it leaves out: who may call what, and
// of which kind a function is. Knows nothing of HTTP.

import { convexTest } from "convex-test";
import { makeFunctionReference } from "convex/server";
import fs from "node:fs";
import path from "node:path";
import { pathToFileURL } from "node:url";

const SOURCE = /\.[cm]?[jt]sx?$/;
/** Declarations, tests and configuration: Convex skips every name with two dots. */
const SKIPPED = /\..*\./;

export class Deployment {
  #schema;
  #modules;
  #convex;
  /** Counts resets, so that what was under way before one is not counted after it. */
  generation = 0;

  static async load(dir) {
    const modules = {};
    collect(dir, dir, modules);
    const { default: schema } = await import(pathToFileURL(path.join(dir, "schema.ts")).href);
    return new Deployment(schema, modules);
  }

  constructor(schema, modules) {
    this.#schema = schema;
    this.#modules = modules;
    this.reset();
  }

  /** An empty database. Functions scheduled before it go on in the one that is thrown away. */
  reset() {
    this.generation += 1;
    this.#convex = convexTest({
      schema: this.#schema,
      modules: this.#modules,
      transactionLimits: true,
    });
  }

  /** The function of a path such as `clerkSync:apply`, or null. */
  async find(functionPath) {
    const [module, name = "default"] = functionPath.replace(/\.js(?=:|$)/, "").split(":");
    const load = this.#modules[`./${module}.ts`] ?? this.#modules[`./${module}.js`];
    const found = load === undefined ? undefined : (await load())[name];
    if (typeof found !== "function") return null;
    const kind = ["query", "mutation", "action"].find(
      (each) => found[`is${each[0].toUpperCase()}${each.slice(1)}`] === true,
    );
    if (kind === undefined) return null;
    return { kind, name, internal: found.isInternal === true, reference: `${module}:${name}` };
  }

  /** Runs a function that `find` found, as one transaction. */
  async run({ kind, reference }, args) {
    return (await this.#convex[kind](makeFunctionReference(reference), args)) ?? null;
  }

  /** Something that a module exports and that is no function of Convex's, such as a helper. */
  async helper(module, name) {
    return (await this.#modules[`./${module}.ts`]?.())?.[name];
  }

  /** Runs code with `ctx.db`, for what tests do behind the functions' back. */
  async raw(code) {
    return await this.#convex.run(code);
  }

  /** True when the schema has the table. */
  hasTable(table) {
    return Object.hasOwn(this.#schema.tables, table);
  }
}

function collect(root, dir, modules) {
  for (const entry of fs.readdirSync(dir, { withFileTypes: true })) {
    const file = path.join(dir, entry.name);
    if (entry.isDirectory()) {
      if (entry.name !== "node_modules") collect(root, file, modules);
    } else if (SOURCE.test(entry.name) && !SKIPPED.test(entry.name)) {
      const name = `./${path.relative(root, file).split(path.sep).join("/")}`;
      modules[name] = () => import(pathToFileURL(file).href);
    }
  }
}

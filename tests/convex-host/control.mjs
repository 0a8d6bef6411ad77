// What tests may steer, under `/_sim/`: state behind the functions' back, faults, and what was called.
//
// No key is asked for: the host listens on loopback and holds nothing but test data.

import { encoder } from "./encode.mjs";
import { changesOf, Faults } from "./faults.mjs";
import { HttpError } from "./api.mjs";

/** Calls that are kept one by one. */
const MAX_CALLS = 1000;

export class Control {
  #deployment;
  #faults = new Faults();
  #tally = emptyTally();

  constructor(deployment) {
    this.#deployment = deployment;
  }

  judge(functionName, args) {
    return this.#faults.judge(functionName, args);
  }

  /** `status` is the HTTP status, 0 where the connection was cut; `outcome` is how the call ended. */
  record({ name, kind }, args, status, outcome) {
    const tally = this.#tally;
    const changes = changesOf(args).length;
    tally.queries += kind === "query" ? 1 : 0;
    tally.mutations += kind === "mutation" ? 1 : 0;
    tally.changes += changes;
    tally.counts[name] = (tally.counts[name] ?? 0) + 1;
    tally.outcomes[outcome] = (tally.outcomes[outcome] ?? 0) + 1;
    tally.calls.push({ function: name, changes, status, outcome });
    if (tally.calls.length > MAX_CALLS) tally.calls.shift();
  }

  /** The answer to a request under `/_sim/`. */
  async answer(method, url, body) {
    switch (`${method} ${url.pathname}`) {
      case "GET /_sim/health":
        return { ok: true };
      case "POST /_sim/reset":
        return this.#reset();
      case "GET /_sim/rows":
        return { rows: await this.#rows(url.searchParams.get("table")) };
      case "POST /_sim/insert":
        return await this.#insert(parsed(body));
      case "POST /_sim/patch":
        return await this.#patch(parsed(body));
      case "GET /_sim/calls":
        return this.#tally;
      case "POST /_sim/remove":
        return await this.#remove(parsed(body));
      case "POST /_sim/edit":
        return await this.#edit(parsed(body));
      case "POST /_sim/faults":
        return this.#setFaults(parsed(body));
      default:
        throw new HttpError(404, "NotFound", `${method} ${url.pathname}`);
    }
  }

  #reset() {
    this.#deployment.reset();
    this.#faults.replace([]);
    this.#tally = emptyTally();
    return {};
  }

  async #rows(table) {
    this.#check(table);
    const rows = await this.#deployment.raw((ctx) => ctx.db.query(table).collect());
    return rows.map(encoder("json"));
  }

  /** One row (`doc`), or many in one transaction (`docs`). */
  async #insert({ table, doc, docs = [] }) {
    this.#check(table);
    if (doc !== undefined) return { id: await this.#write((ctx) => ctx.db.insert(table, doc)) };
    return await this.#write(async (ctx) => {
      const ids = [];
      for (const each of docs) ids.push(await ctx.db.insert(table, each));
      return { ids };
    });
  }

  async #patch({ table, id, doc }) {
    this.#check(table);
    // A null column is removed, as JSON has no undefined and the app's columns hold no null.
    const columns = Object.entries(doc).map(([name, value]) => [name, value ?? undefined]);
    await this.#write(async (ctx) => {
      await mustExist(ctx, table, id);
      await ctx.db.patch(id, Object.fromEntries(columns));
    });
    return {};
  }

  /** Takes a row out, without a tombstone. */
  async #remove({ table, id }) {
    this.#check(table);
    await this.#write(async (ctx) => {
      await mustExist(ctx, table, id);
      await ctx.db.delete(id);
    });
    return {};
  }

  /** A user's own edit, as an app would record it. */
  async #edit({ key, fields }) {
    const editProfile = await this.#deployment.helper("clerkSync", "editProfile");
    if (editProfile === undefined) throw new HttpError(404, "NotFound", "there is no editProfile");
    const { editId } = await this.#write((ctx) => editProfile(ctx, { clerkId: key, fields }));
    return { id: editId };
  }

  async #write(code) {
    try {
      return await this.#deployment.raw(code);
    } catch (error) {
      throw new HttpError(400, "BadRequest", error.message);
    }
  }

  #setFaults({ rules }) {
    try {
      this.#faults.replace(rules);
    } catch (error) {
      throw new HttpError(400, "BadRequest", error.message);
    }
    return {};
  }

  #check(table) {
    if (typeof table !== "string" || !this.#deployment.hasTable(table)) {
      throw new HttpError(400, "BadRequest", `there is no table ${table}`);
    }
  }
}

function emptyTally() {
  return { queries: 0, mutations: 0, changes: 0, counts: {}, outcomes: {}, calls: [] };
}

async function mustExist(ctx, table, id) {
  const known = ctx.db.normalizeId(table, id);
  if (known === null || (await ctx.db.get(known)) === null)
    throw new Error(`no row ${id} in ${table}`);
}

function parsed(body) {
  try {
    return JSON.parse(body);
  } catch (error) {
    throw new HttpError(400, "BadJsonBody", error.message);
  }
}

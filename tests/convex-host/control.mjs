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
  #counts = {};
  #calls = [];

  constructor(deployment) {
    this.#deployment = deployment;
  }

  judge(functionPath, args) {
    return this.#faults.judge(functionPath, args);
  }

  /** `status` is the HTTP status, 0 where the connection was cut. */
  record(functionPath, args, status) {
    this.#counts[functionPath] = (this.#counts[functionPath] ?? 0) + 1;
    this.#calls.push({ function: functionPath, changes: changesOf(args).length, status });
    if (this.#calls.length > MAX_CALLS) this.#calls.shift();
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
        return { counts: { ...this.#counts }, calls: [...this.#calls] };
      case "POST /_sim/faults":
        return this.#setFaults(parsed(body));
      default:
        throw new HttpError(404, "NotFound", `${method} ${url.pathname}`);
    }
  }

  #reset() {
    this.#deployment.reset();
    this.#faults.replace([]);
    this.#counts = {};
    this.#calls = [];
    return {};
  }

  async #rows(table) {
    this.#check(table);
    const rows = await this.#deployment.raw((ctx) => ctx.db.query(table).collect());
    return rows.map(encoder("json"));
  }

  async #insert({ table, doc }) {
    this.#check(table);
    return { id: await this.#write((ctx) => ctx.db.insert(table, doc)) };
  }

  async #patch({ table, id, doc }) {
    this.#check(table);
    // A null column is removed, as JSON has no undefined and the app's columns hold no null.
    const columns = Object.entries(doc).map(([name, value]) => [name, value ?? undefined]);
    await this.#write(async (ctx) => {
      if (ctx.db.normalizeId(table, id) === null) throw new Error(`no row ${id} in ${table}`);
      await ctx.db.patch(id, Object.fromEntries(columns));
    });
    return {};
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

function parsed(body) {
  try {
    return JSON.parse(body);
  } catch (error) {
    throw new HttpError(400, "BadJsonBody", error.message);
  }
}

// How the host is told to misbehave: rules, and the verdict over one call.
//
// A rule may name a function (`apply`), how often it strikes and how likely. Waits
// add up; of the other kinds the first that applies counts. The dice start from a fixed seed, so a run
// can be repeated. Knows nothing of HTTP.

export const KINDS = new Set([
  /** An HTTP error with `{code, message}`; the function does not run. */
  "status",
  /** The function throws: `status: "error"`; nothing is written. */
  "error",
  /** The call takes longer, by `ms`. */
  "latency",
  /** The connection is cut before the function runs. */
  "cut",
  /** HTTP 200 with something that is not JSON; the function does not run. */
  "garbage",
  /** The function runs and commits, then the connection is cut. */
  "applied_then_cut",
  /** A structured error for every call that has a change of this key. */
  "reject_key",
]);

const FIELDS = {
  function: "string",
  kind: "string",
  status: "number",
  code: "string",
  retry_after: "number",
  ms: "number",
  key: "string",
  times: "number",
  ratio: "number",
  redacted: "boolean",
};

export class Faults {
  #rules = [];
  #dice = 1;

  /** Puts these rules in the place of all there were; throws a sentence when one makes no sense. */
  replace(rules) {
    if (!Array.isArray(rules)) throw new Error("`rules` must be an array");
    rules.forEach(check);
    this.#rules = rules.map((rule) => ({ ...rule }));
    this.#dice = 1;
  }

  /** What happens to this call: how long it waits, and which rule strikes it, if any. */
  judge(functionName, args) {
    const verdict = { waitMs: 0, rule: null };
    for (const rule of this.#rules) {
      const waits = rule.kind === "latency";
      if (verdict.rule !== null && !waits) continue;
      if (!concerns(rule, functionName, args)) continue;
      if (rule.ratio !== undefined && this.#roll() >= rule.ratio) continue;
      if (rule.times !== undefined) rule.times -= 1;
      verdict.waitMs += rule.ms ?? 0;
      if (!waits) verdict.rule = rule;
    }
    this.#rules = this.#rules.filter((rule) => rule.times === undefined || rule.times > 0);
    return verdict;
  }

  /** The next number of a mulberry32 sequence, as a fraction of one. */
  #roll() {
    this.#dice = (this.#dice + 0x6d2b79f5) | 0;
    let mixed = Math.imul(this.#dice ^ (this.#dice >>> 15), 1 | this.#dice);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  }
}

function concerns(rule, functionName, args) {
  if (rule.times === 0) return false;
  if (rule.function !== undefined && rule.function !== functionName) return false;
  return rule.kind !== "reject_key" || changesOf(args).some((change) => change?.key === rule.key);
}

/** The changes in the arguments of `apply`; none for every other function. */
export function changesOf(args) {
  return Array.isArray(args?.changes) ? args.changes : [];
}

function check(rule) {
  if (rule === null || typeof rule !== "object") throw new Error("a rule must be an object");
  if (!KINDS.has(rule.kind)) throw new Error(`unknown kind of fault: ${rule.kind}`);
  for (const [name, value] of Object.entries(rule)) {
    if (typeof value !== FIELDS[name]) throw new Error(`a rule has no ${name} of this type`);
  }
  if (rule.kind === "reject_key" && rule.key === undefined) throw new Error("`key` is missing");
}

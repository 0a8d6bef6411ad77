// Convex's HTTP API: routes, authorization, and the forms of success and of error.
//
// A function that threw answers 200 with `status: "error"`; what never reached a function answers with
// another status and `{code, message}`. Written from Convex's documentation and open source, see the
// fact sheet in the reference; what the cloud's proxy might add is not known and not played.

import { randomBytes } from "node:crypto";
import { jsonToConvex } from "convex/values";
import { encoder } from "./encode.mjs";

/** Convex takes 16 MiB of arguments; the rest is for the envelope. */
export const MAX_BODY_BYTES = 16 * 1024 * 1024 + 2000;

/** An answer other than 200: `{code, message}`. */
export class HttpError extends Error {
  constructor(status, code, message, headers = {}) {
    super(message);
    Object.assign(this, { status, code, headers });
  }
}

const IDENTIFIER = /^[A-Za-z0-9_./]+(?::[A-Za-z0-9_]+)?$/;

/** What a request asks for: `{ kind, path, args, format }`, kind null where any will do; null if it is
 * no call of a function. */
export function readCall(method, url, body) {
  const run = url.pathname.match(/^\/api\/run\/(.+)\/([^/]+)$/);
  const one = url.pathname.match(/^\/api\/(query|mutation|action|function)$/);
  if (method === "GET" && one?.[1] === "query") return fromQueryString(url.searchParams);
  if (method !== "POST" || (run === null && one === null)) return null;
  const request = parseBody(body);
  const path = run === null ? required(request, "path") : `${run[1]}:${run[2]}`;
  if (typeof path !== "string" || !IDENTIFIER.test(path)) {
    throw new HttpError(400, "BadConvexFunctionIdentifier", `${path} is not a path to a function`);
  }
  const kind = run !== null || one[1] === "function" ? null : one[1];
  const args = required(request, "args");
  return { kind, path, args, format: request.format ?? "json", onlyAdmin: one?.[1] === "function" };
}

function fromQueryString(parameters) {
  const path = parameters.get("path");
  if (path === null) throw new HttpError(400, "BadRequest", "missing parameter `path`");
  let args;
  try {
    args = JSON.parse(parameters.get("args") ?? "{}");
  } catch (error) {
    throw new HttpError(400, "BadRequest", error.message);
  }
  return {
    kind: "query",
    path,
    args,
    format: parameters.get("format") ?? "json",
    onlyAdmin: false,
  };
}

function parseBody(body) {
  let request;
  try {
    request = JSON.parse(body);
  } catch (error) {
    throw new HttpError(400, "BadJsonBody", `Failed to parse the request body: ${error.message}`);
  }
  if (request === null || typeof request !== "object" || Array.isArray(request)) {
    throw new HttpError(400, "BadJsonBody", "invalid type: expected an object");
  }
  return request;
}

function required(request, name) {
  if (!Object.hasOwn(request, name)) {
    throw new HttpError(400, "BadJsonBody", `missing field \`${name}\``);
  }
  return request[name];
}

/** True for the holder of the deploy key, false for anybody; throws for a wrong key. */
export function authorize(headers, url, key) {
  const header = headers.authorization;
  const inUrl = url.searchParams.get("adminKey");
  if (header === undefined) return inUrl === null ? false : isKey(inUrl, key);
  if (header.length < 7) {
    throw new HttpError(400, "InvalidHeaderFailure", "Invalid authorization header");
  }
  const [, scheme, token] = header.match(/^(convex|bearer)\s+(.*)$/i) ?? [];
  if (scheme === undefined) {
    throw new HttpError(400, "InvalidHeaderFailure", "Invalid authorization header");
  }
  if (scheme.toLowerCase() === "bearer") {
    throw new HttpError(401, "Unauthenticated", "Could not verify the token");
  }
  return isKey(token, key);
}

/** The type before a key (`prod:name|…`) is for people: Convex leaves it aside. */
function isKey(given, key) {
  const bare = (text) => text.replace(/^(?:prod|dev|preview|project):/, "");
  if (bare(given) !== bare(key)) {
    throw new HttpError(401, "BadAdminKey", "The provided admin key was invalid for this instance");
  }
  return true;
}

/** The header names a client and its version; anything else is refused. */
export function checkClient(headers) {
  const client = headers["convex-client"];
  if (client !== undefined && !/^[^-].*-.+$/.test(client)) {
    throw new HttpError(400, "InvalidClientVersion", "Failed to parse the client version");
  }
}

/**
 * The function that a call may run: `{ found }`, or `{ refusal }`, a message. That a function is internal
 * and that there is none must look alike to anybody without the key.
 */
export async function lookUp(deployment, { kind, path, onlyAdmin }, admin) {
  if (onlyAdmin && !admin) {
    throw new HttpError(403, "BadDeployKey", "This needs the key of the deployment");
  }
  const found = await deployment.find(path);
  if (found === null || (found.internal && !admin)) {
    return { refusal: `Could not find public function for '${path}'.` };
  }
  if (kind === null || kind === found.kind) return { found };
  const name = (word) => word[0].toUpperCase() + word.slice(1);
  return {
    refusal: `Trying to execute ${path} as ${name(kind)}, but it is defined as ${name(found.kind)}.`,
  };
}

/** An answer in the format that was asked for. Looked at last, as in Convex: too late to undo. */
export function encoded(answer, format) {
  const encode = encoder(format);
  if (encode === null) throw new HttpError(400, "BadFormat", `unknown format: ${format}`);
  if (answer.status === "success") return { ...answer, value: encode(answer.value) };
  return answer.errorData === undefined
    ? answer
    : { ...answer, errorData: encode(answer.errorData) };
}

/** Runs a function that was looked up. */
export async function invoke(deployment, found, { path, args }, redact) {
  let given;
  try {
    given = jsonToConvex(Array.isArray(args) ? (args[0] ?? {}) : args);
  } catch (error) {
    return thrown(redact, `Invalid arguments for ${path}: ${error.message}`);
  }
  try {
    return { status: "success", value: await deployment.run(found, given) };
  } catch (error) {
    return error?.data === undefined
      ? thrown(redact, `Uncaught ${error?.stack ?? error}`)
      : thrown(redact, `Uncaught ConvexError: ${error.message}`, error.data);
  }
}

/** The answer of a function that threw. Production hides the message; structured data stays. */
export function thrown(redact, message, data) {
  const head = `[Request ID: ${randomBytes(8).toString("hex")}] Server Error`;
  const answer = { status: "error", errorMessage: redact ? head : `${head}\n${message}` };
  return data === undefined ? answer : { ...answer, errorData: data };
}

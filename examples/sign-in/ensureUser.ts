// Makes sure, at sign-in, that the user's row is in Convex, by asking the daemon's POST /ensure. Yours to copy.
//
// Asks again while the answer is "not yet" or "not now", with growing waits, until time is up. Depends on
// nothing but fetch; `getToken` is Clerk's.

/** What the daemon answers when the row is there. */
export interface EnsuredUser {
  /** Clerk's id of the user. */
  key: string;
  /** The `_id` of the row in `users`. */
  convexId: string;
  /** What had to be done; `unchanged` if the row was there. */
  outcome: "created" | "updated" | "linked" | "unchanged" | "stale";
}

export interface EnsureUserOptions {
  /** The address of the daemon's path, such as `https://sync.example.com/ensure`. */
  url: string;
  /** Clerk's `getToken`, of `useAuth()` or of the session. */
  getToken: (options?: { skipCache?: boolean }) => Promise<string | null>;
  /** How long it may take in all, in milliseconds; 15 s by default. */
  timeoutMs?: number;
  /** Gives up when aborted. */
  signal?: AbortSignal;
}

export type EnsureUserReason =
  /** Clerk gave no token: nobody is signed in. */
  | "signed_out"
  /** The token is not accepted: another instance's, or made for an origin that is not in `ensure.origins`. */
  | "unauthorized"
  /** Clerk does not know the user any more, or the daemon does not offer the path. */
  | "not_found"
  /** Another answer that asking again does not change; `status` says which. */
  | "refused"
  /** Time was up. The row comes as soon as it can, by the webhook at the latest. */
  | "timeout";

export class EnsureUserError extends Error {
  constructor(
    readonly reason: EnsureUserReason,
    /** The last HTTP status; 0 when there was no answer. */
    readonly status: number,
  ) {
    super(`the user's row could not be made sure of (${reason}, HTTP ${status})`);
    this.name = "EnsureUserError";
  }
}

/** How long the daemon may wait in one request. */
const WAIT_SECONDS = 2;
/** How long one request may take, in milliseconds: what the daemon waits, and the way there and back. */
const REQUEST_MS = 6_000;
/** The first wait between two requests, in milliseconds; it doubles. */
const FIRST_PAUSE_MS = 250;
const LONGEST_PAUSE_MS = 5_000;
/** Answers that another time may be others. */
const ASK_AGAIN = new Set([0, 408, 429, 502, 503, 504]);

/** Resolves when the row is there; rejects with an {@link EnsureUserError}, or with the signal's reason. */
export async function ensureUser(options: EnsureUserOptions): Promise<EnsuredUser> {
  const { url, getToken, signal } = options;
  const deadline = Date.now() + (options.timeoutMs ?? 15_000);
  let pause = FIRST_PAUSE_MS;
  let fresh = false;
  for (;;) {
    signal?.throwIfAborted();
    const token = await getToken({ skipCache: fresh });
    if (token === null) throw new EnsureUserError("signed_out", 0);
    const left = deadline - Date.now();
    const answer = await ask(url, token, Math.min(REQUEST_MS, left), signal);
    if (answer.user !== undefined) return answer.user;
    const { status } = answer;
    if (status === 401 && !fresh) {
      // It may have expired on the way. A second one has not.
      fresh = true;
      continue;
    }
    if (status === 401) throw new EnsureUserError("unauthorized", status);
    if (status === 404) throw new EnsureUserError("not_found", status);
    if (!ASK_AGAIN.has(status)) throw new EnsureUserError("refused", status);
    // With chance, so that many who were turned away together do not come back together.
    const wait = Math.max(answer.retryAfterMs, pause * (0.5 + Math.random() / 2));
    if (Date.now() + wait >= deadline) throw new EnsureUserError("timeout", status);
    await sleep(wait, signal);
    pause = Math.min(pause * 2, LONGEST_PAUSE_MS);
  }
}

interface Answer {
  user?: EnsuredUser;
  status: number;
  retryAfterMs: number;
}

async function ask(
  url: string,
  token: string,
  timeoutMs: number,
  signal: AbortSignal | undefined,
): Promise<Answer> {
  const ended = new AbortController();
  const end = () => ended.abort();
  const timer = setTimeout(end, Math.max(timeoutMs, 0));
  signal?.addEventListener("abort", end, { once: true });
  try {
    const response = await fetch(`${url}?wait=${WAIT_SECONDS}s`, {
      method: "POST",
      headers: { authorization: `Bearer ${token}` },
      credentials: "omit",
      signal: ended.signal,
    });
    const { status } = response;
    const seconds = Number(response.headers.get("retry-after") ?? 0);
    const retryAfterMs = Number.isFinite(seconds) ? seconds * 1000 : 0;
    if (status !== 200) return { status, retryAfterMs };
    return { status, retryAfterMs, user: (await response.json()) as EnsuredUser };
  } catch {
    signal?.throwIfAborted();
    // No answer, or half of one.
    return { status: 0, retryAfterMs: 0 };
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", end);
  }
}

function sleep(ms: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason);
    const stop = () => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", stop);
      resolve();
    }, ms);
    signal?.addEventListener("abort", stop, { once: true });
  });
}

// A React hook: is the row of who is signed in there yet? Yours to copy, with ensureUser.ts.

import { useEffect, useRef, useState } from "react";
import { ensureUser, type EnsuredUser, type EnsureUserOptions } from "./ensureUser";

/** What Clerk's `useAuth()` gives, as far as it is needed. */
export interface Auth {
  isLoaded: boolean;
  isSignedIn: boolean | undefined;
  userId: string | null | undefined;
  getToken: EnsureUserOptions["getToken"];
}

export type UserRow =
  | { state: "signed_out" }
  | { state: "waiting" }
  | { state: "ready"; user: EnsuredUser }
  | { state: "failed"; error: unknown };

/** Once for each user who signs in; again by the function that comes second. */
export function useEnsureUser(url: string, auth: Auth): [UserRow, () => void] {
  const { isLoaded, getToken } = auth;
  const userId = auth.isSignedIn ? (auth.userId ?? null) : null;
  const [attempt, setAttempt] = useState(0);
  const [result, setResult] = useState<{ of: string; row: UserRow } | null>(null);
  // Clerk gives a new function with every render; the newest one is the right one.
  const newest = useRef(getToken);
  useEffect(() => {
    newest.current = getToken;
  });
  useEffect(() => {
    if (userId === null) return;
    const stop = new AbortController();
    const say = (row: UserRow) => {
      if (!stop.signal.aborted) setResult({ of: userId, row });
    };
    say({ state: "waiting" });
    ensureUser({ url, signal: stop.signal, getToken: (options) => newest.current(options) }).then(
      (user) => say({ state: "ready", user }),
      (error: unknown) => say({ state: "failed", error }),
    );
    return () => stop.abort();
  }, [url, userId, attempt]);
  const again = () => setAttempt((before) => before + 1);
  if (isLoaded && userId === null) return [{ state: "signed_out" }, again];
  // What is known of another user does not count.
  const known = result !== null && result.of === userId ? result.row : null;
  return [known ?? { state: "waiting" }, again];
}

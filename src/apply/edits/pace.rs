//! When a user may be written to Clerk next: how often in ten seconds, and how long after a failure.
//!
//! Pure: the time is an argument. Counts requests of every kind for one user together, as Clerk does.
//! Promises that no user gets more than [`Pace::PER_WINDOW`] requests in [`Pace::WINDOW`], whatever fails, and
//! that it remembers no more than [`Pace::MAX_USERS`]; whoever does not fit waits.

use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, Instant},
};

use crate::model::Key;

/// See the module's words.
#[derive(Debug, Default)]
pub struct Pace {
    users: HashMap<Key, User>,
}

#[derive(Debug)]
struct User {
    /// When requests were made, oldest first; at most [`Pace::PER_WINDOW`].
    requests: VecDeque<Instant>,
    /// Nothing before this.
    next: Instant,
    /// In a row.
    failures: u32,
}

impl Pace {
    /// Requests for one user in a window: half of what Clerk allows, the app has the other half.
    pub const PER_WINDOW: usize = 5;
    /// Clerk's window.
    pub const WINDOW: Duration = Duration::from_secs(10);
    /// Between a change that went through and the next one of the same user: what is typed meanwhile
    /// becomes one request.
    pub const SPACING: Duration = Duration::from_secs(10);
    /// Users remembered; each for as long as it matters.
    pub const MAX_USERS: usize = 10_000;
    /// The wait after a first failure; doubles each time.
    const FIRST_WAIT: Duration = Duration::from_millis(500);
    /// The longest wait after a failure.
    const LAST_WAIT: Duration = Duration::from_secs(30);
    /// How long one who does not fit waits before it asks again.
    const FULL_WAIT: Duration = Duration::from_secs(1);

    /// When a request for this user may be made: not after `now` means at once.
    pub fn free_at(&mut self, key: &Key, now: Instant) -> Instant {
        if let Some(user) = self.users.get(key) {
            let full = user.requests.len() >= Self::PER_WINDOW;
            let window = user.requests.front().filter(|_| full);
            return window.map_or(user.next, |first| user.next.max(*first + Self::WINDOW));
        }
        if self.users.len() >= Self::MAX_USERS {
            self.forget(now);
        }
        if self.users.len() >= Self::MAX_USERS {
            return now + Self::FULL_WAIT;
        }
        now
    }

    /// The same for what makes good a change that went through: it does not wait for more to be typed.
    pub fn room_at(&self, key: &Key, now: Instant) -> Instant {
        let requests = self.users.get(key).map(|user| &user.requests);
        let full = requests.filter(|requests| requests.len() >= Self::PER_WINDOW);
        let first = full.and_then(VecDeque::front);
        first.map_or(now, |first| *first + Self::WINDOW)
    }

    /// A request is being made.
    pub fn asked(&mut self, key: &Key, now: Instant) {
        let user = self.users.entry(key.clone()).or_insert_with(|| User {
            requests: VecDeque::with_capacity(Self::PER_WINDOW),
            next: now,
            failures: 0,
        });
        if user.requests.len() >= Self::PER_WINDOW {
            user.requests.pop_front();
        }
        user.requests.push_back(now);
    }

    /// It went through.
    pub fn done(&mut self, key: &Key, now: Instant) {
        if let Some(user) = self.users.get_mut(key) {
            user.failures = 0;
            user.next = now + Self::SPACING;
        }
    }

    /// It did not, or there is no telling; `asked` is how long the other side wants to be left alone.
    pub fn failed(&mut self, key: &Key, now: Instant, asked: Option<Duration>) {
        if let Some(user) = self.users.get_mut(key) {
            let factor = 1u32 << user.failures.min(6);
            let wait = (Self::FIRST_WAIT * factor).min(Self::LAST_WAIT);
            user.failures = user.failures.saturating_add(1);
            user.next = now + wait.max(asked.unwrap_or_default());
        }
    }

    /// Forgets everybody who would be free anyway.
    pub fn forget(&mut self, now: Instant) {
        self.users.retain(|_, user| {
            let last = user.requests.back();
            user.next > now || last.is_some_and(|last| *last + Self::WINDOW > now)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: usize) -> Key {
        Key::parse(&format!("user_{n}")).unwrap()
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn after_a_change_the_next_one_of_this_user_waits_and_others_do_not() {
        let (mut pace, start) = (Pace::default(), Instant::now());
        pace.asked(&key(1), start);
        pace.done(&key(1), start + ms(80));
        assert_eq!(pace.free_at(&key(1), start), start + ms(80) + Pace::SPACING);
        assert_eq!(pace.free_at(&key(2), start), start);
        // What makes it good goes at once, and counts all the same.
        for _ in 1..Pace::PER_WINDOW {
            assert_eq!(pace.room_at(&key(1), start), start);
            pace.asked(&key(1), start);
        }
        assert_eq!(pace.room_at(&key(1), start), start + Pace::WINDOW);
    }

    #[test]
    fn whatever_fails_no_user_gets_more_than_its_share_of_any_window() {
        let (mut pace, start) = (Pace::default(), Instant::now());
        let (mut now, mut times) = (start, Vec::new());
        while now < start + ms(120_000) {
            if pace.free_at(&key(1), now) <= now {
                times.push(now);
                pace.asked(&key(1), now);
                // Successes, failures and told waits take turns.
                match times.len() % 4 {
                    0 => pace.done(&key(1), now - Pace::SPACING),
                    1 => pace.failed(&key(1), now, Some(ms(3))),
                    _ => pace.failed(&key(1), now, None),
                }
            }
            now += ms(20);
        }
        assert!(times.len() > 20, "it goes on: {}", times.len());
        for window in times.windows(Pace::PER_WINDOW + 1) {
            let span = window[Pace::PER_WINDOW] - window[0];
            assert!(span >= Pace::WINDOW, "{span:?}");
        }
    }

    #[test]
    fn waits_double_up_to_a_bound_and_a_told_wait_is_kept() {
        let (mut pace, start) = (Pace::default(), Instant::now());
        let mut waits = Vec::new();
        for n in 0..9 {
            let now = start + ms(100_000 * n);
            pace.asked(&key(1), now);
            pace.failed(&key(1), now, None);
            waits.push((pace.free_at(&key(1), now) - now).as_millis());
        }
        let expected = [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000];
        assert_eq!(waits, expected);
        pace.asked(&key(2), start);
        pace.failed(&key(2), start, Some(ms(45_000)));
        assert_eq!(pace.free_at(&key(2), start), start + ms(45_000));
    }

    #[test]
    fn it_remembers_so_many_users_and_forgets_whom_it_need_not_know() {
        let (mut pace, start) = (Pace::default(), Instant::now());
        for n in 0..Pace::MAX_USERS {
            pace.asked(&key(n), start);
        }
        let one_more = key(Pace::MAX_USERS);
        assert!(pace.free_at(&one_more, start) > start);
        let later = start + Pace::WINDOW;
        assert_eq!(pace.free_at(&one_more, later), later);
        assert_eq!(pace.users.len(), 0);
    }
}

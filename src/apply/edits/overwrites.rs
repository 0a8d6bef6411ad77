//! What somebody changed in Clerk between our look at a user and our own change of it.
//!
//! Clerk takes no conditions, so our change overwrites such a one, and no answer shows it. The event about it does:
//! its version lies between the two. Pure. Is told what is carried and what deliveries say of the users that were
//! carried lately; answers whose word was overwritten. Remembers the last [`Overwrites::MOST`] users for
//! [`Overwrites::LONG`]; an event that is lost, or comes later than that, tells nothing.

use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, Instant},
};

use super::verdict::Field;
use crate::{
    clerk::wire::User,
    model::{Key, Version},
};

/// See the module's words.
#[derive(Default)]
pub struct Overwrites {
    watched: HashMap<Key, Watch>,
    /// Whom to forget first.
    order: VecDeque<(Key, Instant)>,
    found: Vec<Overwritten>,
}

/// A text of a field; none where there is none.
pub type Text = Option<String>;

/// A change that is about to be made.
#[derive(Clone)]
pub struct Sent {
    /// The edits that it carries.
    pub ids: Vec<String>,
    /// Whose word it is: when it was said, in milliseconds.
    pub said_ms: i64,
    /// The version of the user when it was looked at.
    pub looked: Version,
    /// The fields, with what Clerk held at the look and what it is to hold.
    pub fields: Vec<(Field, Text, Text)>,
}

struct Watch {
    sent: Sent,
    /// Clerk took it under this version.
    taken: Option<Version>,
    /// What deliveries have said since the look, by version.
    heard: VecDeque<(Version, Vec<Text>)>,
    since: Instant,
}

/// A word of Clerk's that our change has overwritten.
#[derive(Clone, PartialEq, Eq)]
pub struct Overwritten {
    /// Whose.
    pub key: Key,
    /// The edits that did it.
    pub ids: Vec<String>,
    /// When that word was said in Clerk.
    pub at: Version,
    /// When ours was said, in milliseconds.
    pub said_ms: i64,
    /// The fields, with what stood in Clerk and what was put there.
    pub fields: Vec<(Field, Text, Text)>,
}

impl Overwrites {
    /// Users watched at one time, and words found that nobody has asked for yet.
    pub const MOST: usize = 1_000;
    /// How late an event may come.
    pub const LONG: Duration = Duration::from_secs(3_600);
    /// Versions remembered until it is known under which one Clerk took ours: it takes a request.
    const HEARD: usize = 4;

    /// A change is about to be made.
    pub fn watch(&mut self, key: &Key, sent: Sent, now: Instant) {
        while let Some((first, since)) = self.order.front() {
            let old = now.duration_since(*since) >= Self::LONG;
            if !old && self.order.len() < Self::MOST {
                break;
            }
            // A user who was carried again since is not forgotten for the first time.
            if self
                .watched
                .get(first)
                .is_some_and(|watch| watch.since == *since)
            {
                self.watched.remove(first);
            }
            self.order.pop_front();
        }
        self.order.push_back((key.clone(), now));
        // What was ours before is nobody else's word, be it that the look has not shown it yet.
        let before = self.watched.get(key).and_then(|watch| watch.taken);
        let looked = before.map_or(sent.looked, |taken| taken.max(sent.looked));
        let watch = Watch {
            sent: Sent { looked, ..sent },
            taken: None,
            heard: VecDeque::new(),
            since: now,
        };
        self.watched.insert(key.clone(), watch);
    }

    /// Clerk has it, and at the latest since this version.
    pub fn taken(&mut self, key: &Key, version: Version) {
        if let Some(watch) = self.watched.get_mut(key)
            && watch.taken.is_none()
        {
            watch.taken = Some(version);
            self.look(key);
        }
    }

    /// Whether it matters what a delivery says of this user.
    pub fn watches(&self, key: &Key) -> bool {
        self.watched.contains_key(key)
    }

    /// A delivery says this.
    pub fn heard(&mut self, user: &User<'_>) {
        let Some(watch) = self.watched.get_mut(&user.key) else {
            return;
        };
        if user.updated_at <= watch.sent.looked {
            return;
        }
        let said = |(field, ..): &(Field, Text, Text)| field.of(user).map(str::to_owned);
        let said = watch.sent.fields.iter().map(said).collect();
        watch.heard.push_back((user.updated_at, said));
        if watch.heard.len() > Self::HEARD {
            watch.heard.pop_front();
        }
        self.look(&user.key);
    }

    /// What was found since it was asked for last.
    pub fn found(&mut self) -> Vec<Overwritten> {
        std::mem::take(&mut self.found)
    }

    /// Is the last that was said before ours was taken something that ours has overwritten?
    fn look(&mut self, key: &Key) {
        let Some(watch) = self.watched.get_mut(key) else {
            return;
        };
        let Some(taken) = watch.taken else { return };
        let heard = std::mem::take(&mut watch.heard);
        let before = heard.into_iter().filter(|(version, _)| *version < taken);
        let Some((at, said)) = before.max_by_key(|(version, _)| *version) else {
            return;
        };
        let both = watch.sent.fields.iter().zip(said);
        let overwritten = both.filter_map(|((field, looked, ours), said)| {
            (said != *looked && said != *ours).then(|| (*field, said, ours.clone()))
        });
        let fields: Vec<_> = overwritten.collect();
        if !fields.is_empty() && self.found.len() < Self::MOST {
            self.found.push(Overwritten {
                key: key.clone(),
                ids: watch.sent.ids.clone(),
                at,
                said_ms: watch.sent.said_ms,
                fields,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn key(n: usize) -> Key {
        Key::parse(&format!("user_{n}")).unwrap()
    }

    fn text(text: &str) -> Text {
        Some(text.to_owned())
    }

    /// "Augusta" is sent for "Ada", which was looked at in version 100.
    fn sent() -> Sent {
        Sent {
            ids: vec!["e1".into()],
            said_ms: 90,
            looked: Version(100),
            fields: vec![(Field::FirstName, text("Ada"), text("Augusta"))],
        }
    }

    fn hear(overwrites: &mut Overwrites, version: i64, first_name: &str) {
        let user = json!({"id": "user_1", "created_at": 1, "updated_at": version,
                          "first_name": first_name, "last_name": null})
        .to_string();
        overwrites.heard(&User::parse(&user).unwrap());
    }

    fn watching() -> Overwrites {
        let mut overwrites = Overwrites::default();
        overwrites.watch(&key(1), sent(), Instant::now());
        overwrites
    }

    fn words(overwrites: &mut Overwrites) -> Vec<(i64, Text)> {
        let found = overwrites.found().into_iter();
        found
            .map(|one| (one.at.ms(), one.fields[0].1.clone()))
            .collect()
    }

    #[test]
    fn what_was_said_between_the_look_and_ours_was_overwritten_whenever_it_is_heard() {
        let expected = [(150, text("Clerk's"))];
        let mut early = watching();
        hear(&mut early, 150, "Clerk's");
        assert_eq!(words(&mut early), []);
        early.taken(&key(1), Version(200));
        assert_eq!(words(&mut early), expected);
        assert_eq!(words(&mut early), [], "once");
        let mut late = watching();
        late.taken(&key(1), Version(200));
        hear(&mut late, 200, "Augusta");
        hear(&mut late, 150, "Clerk's");
        assert_eq!(words(&mut late), expected);
    }

    #[test]
    fn what_was_said_before_the_look_or_after_ours_was_not() {
        for (version, first_name) in [
            (100, "Clerk's"),
            (200, "Clerk's"),
            (250, "Clerk's"),
            // A change of something else, and the same on both sides.
            (150, "Ada"),
            (150, "Augusta"),
        ] {
            let mut overwrites = watching();
            hear(&mut overwrites, version, first_name);
            overwrites.taken(&key(1), Version(200));
            hear(&mut overwrites, version, first_name);
            assert_eq!(words(&mut overwrites), [], "{first_name} at {version}");
        }
    }

    #[test]
    fn of_several_words_the_last_one_counts() {
        let mut overwrites = watching();
        hear(&mut overwrites, 160, "Ada");
        hear(&mut overwrites, 150, "Clerk's");
        overwrites.taken(&key(1), Version(200));
        assert_eq!(words(&mut overwrites), [], "it was taken back");
    }

    #[test]
    fn our_own_change_before_is_nobody_elses() {
        let mut overwrites = watching();
        overwrites.taken(&key(1), Version(150));
        let next = Sent {
            fields: vec![(Field::FirstName, text("Ada"), text("Byron"))],
            ..sent()
        };
        overwrites.watch(&key(1), next, Instant::now());
        hear(&mut overwrites, 150, "Augusta");
        overwrites.taken(&key(1), Version(200));
        assert_eq!(words(&mut overwrites), []);
    }

    #[test]
    fn it_watches_so_many_users_for_so_long() {
        let (mut overwrites, start) = (Overwrites::default(), Instant::now());
        for n in 0..2 * Overwrites::MOST {
            overwrites.watch(&key(n), sent(), start + Duration::from_millis(n as u64));
        }
        assert!(overwrites.watched.len() <= Overwrites::MOST);
        assert!(!overwrites.watches(&key(0)));
        let again = start + Overwrites::LONG;
        overwrites.watch(&key(2 * Overwrites::MOST - 1), sent(), again);
        let later = again + Overwrites::LONG - Duration::from_secs(1);
        overwrites.watch(&key(1), sent(), later);
        let left = [2 * Overwrites::MOST - 1, 1].map(|n| overwrites.watches(&key(n)));
        assert_eq!((left, overwrites.watched.len()), ([true, true], 2));
    }
}

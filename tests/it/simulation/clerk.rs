//! The model of Clerk: users with versions, and what it answers.
//!
//! Ids are never used twice. Lists move while they are read. A replica may lag behind with what a user is like,
//! and may list too little; what it says about one id is true as to whether the user exists, since everything
//! rests on that. Every change is a message for the network.

use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use clerk_convex_sync::model::{ContentHash, Fields, Key, RecordKey, Standing, Table, Version};

use super::world::World;

/// Our instance, as events name it.
pub const OURS: &str = "ins_ours";
/// Somebody else's.
pub const FOREIGN: &str = "ins_foreign";

/// A user as Clerk has it at one time.
#[derive(Clone, Debug, PartialEq)]
pub struct User {
    pub key: Key,
    pub created_at: i64,
    pub version: i64,
    pub content: u32,
}

impl User {
    pub fn hash(&self) -> ContentHash {
        hash_of(self.content)
    }
}

/// The row's columns of a content.
pub fn fields_of(content: u32) -> Fields {
    let mut fields = Fields::new();
    fields.insert("name".into(), format!("name {content}").into());
    fields
}

/// What the ledger keeps of a content.
pub fn hash_of(content: u32) -> ContentHash {
    ContentHash::of(&fields_of(content))
}

/// The record of a user's key.
pub fn record_of(key: &Key) -> RecordKey {
    RecordKey::new(Table::Users, key.clone())
}

/// How a user is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// The content is new.
    Anew,
    /// The content stays as it is: a sign-in.
    Touch,
    /// The content is again what it was before the last change.
    TakeBack,
}

/// What Clerk tells of one change.
#[derive(Clone, Debug)]
pub struct Message {
    pub id: u64,
    pub key: Key,
    pub created_at: i64,
    pub standing: Standing,
    pub content: u32,
    pub instance: &'static str,
}

/// Clerk did not answer.
#[derive(Clone, Copy, Debug)]
pub struct Away;

/// See the module's words.
#[derive(Default)]
pub struct Clerk {
    pub users: BTreeMap<Key, User>,
    pub deleted: BTreeSet<Key>,
    /// Users whose last changes shared a version.
    pub tied: BTreeSet<Key>,
    /// How a user was before its last change, and when that was.
    before: BTreeMap<Key, (User, i64)>,
    made: u32,
    contents: u32,
    messages: u64,
}

impl Clerk {
    pub fn create(&mut self, now: i64) -> Message {
        self.made += 1;
        self.contents += 1;
        // Ids do not come in the order of their making.
        let number = self.made.wrapping_mul(2_654_435_761);
        let key = Key::parse(&format!("user_{number:08x}")).expect("a key");
        let user = User {
            key: key.clone(),
            created_at: now,
            version: now,
            content: self.contents,
        };
        self.users.insert(key, user.clone());
        self.tell(&user, false)
    }

    /// Changes a user.
    pub fn update(&mut self, key: &Key, now: i64, how: How) -> Option<Message> {
        self.contents += 1;
        let user = self.users.get_mut(key)?;
        let before = self.before.insert(key.clone(), (user.clone(), now));
        let content = match (how, before) {
            (How::Touch, _) => user.content,
            (How::TakeBack, Some((before, _))) => before.content,
            _ => self.contents,
        };
        if user.version == now && user.content != content {
            self.tied.insert(key.clone());
        }
        (user.version, user.content) = (now, content);
        let user = user.clone();
        Some(self.tell(&user, false))
    }

    pub fn delete(&mut self, key: &Key, now: i64) -> Option<Message> {
        let user = self.users.remove(key)?;
        self.deleted.insert(key.clone());
        self.before.insert(key.clone(), (user.clone(), now));
        let user = User {
            version: now,
            ..user
        };
        Some(self.tell(&user, true))
    }

    /// An example as a dashboard sends it: of nobody, and another instance's.
    pub fn foreign(&mut self, now: i64) -> Message {
        self.made += 1;
        let key = Key::parse(&format!("user_x{}", self.made)).expect("a key");
        let user = User {
            key,
            created_at: now,
            version: now,
            content: 0,
        };
        Message {
            instance: FOREIGN,
            ..self.tell(&user, false)
        }
    }

    /// The same message under another id.
    pub fn again(&mut self, message: &Message) -> Message {
        self.messages += 1;
        Message {
            id: self.messages,
            ..message.clone()
        }
    }

    fn tell(&mut self, user: &User, deleted: bool) -> Message {
        self.messages += 1;
        Message {
            id: self.messages,
            key: user.key.clone(),
            created_at: user.created_at,
            standing: Standing {
                version: Version(user.version),
                deleted,
            },
            content: user.content,
            instance: OURS,
        }
    }

    fn shown(&self, user: &User, since: i64) -> User {
        match self.before.get(&user.key) {
            Some((before, at)) if *at >= since => before.clone(),
            _ => user.clone(),
        }
    }
}

impl World {
    /// Asks Clerk something: it takes a while, and may come to nothing.
    async fn ask<T>(self: &Rc<Self>, answer: impl FnOnce(&World) -> T) -> Result<T, Away> {
        let slow = self.faults().clerk_slow;
        self.machine.sleep(self.machine.between(1, slow)).await;
        if self.machine.chance(self.faults().clerk_fails) {
            return Err(Away);
        }
        let answer = answer(self);
        self.machine.sleep(self.machine.between(1, slow)).await;
        if self.machine.chance(self.faults().clerk_fails / 2.0) {
            return Err(Away);
        }
        Ok(answer)
    }

    /// From when on a change may not be seen yet.
    fn since(&self) -> i64 {
        match self.faults().lag {
            0 => i64::MAX,
            lag => self.machine.now() - self.machine.between(0, lag),
        }
    }

    /// One user; `None`: Clerk says that it does not exist.
    pub async fn get_user(self: &Rc<Self>, key: &Key) -> Result<Option<User>, Away> {
        self.ask(|world| {
            let clerk = world.clerk.borrow();
            let user = clerk.users.get(key);
            user.map(|user| clerk.shown(user, world.since()))
        })
        .await
    }

    /// Those of these that exist.
    pub async fn users_by_id(self: &Rc<Self>, keys: &[Key]) -> Result<Vec<User>, Away> {
        self.ask(|world| {
            let clerk = world.clerk.borrow();
            let there = keys.iter().filter_map(|key| clerk.users.get(key));
            let there = there.filter(|_| !world.machine.chance(world.faults().lies / 4.0));
            there.map(|user| clerk.shown(user, world.since())).collect()
        })
        .await
    }

    pub async fn count_users(self: &Rc<Self>) -> Result<u64, Away> {
        self.ask(|world| {
            let count = world.clerk.borrow().users.len() as u64;
            let lies = world.machine.chance(world.faults().lies / 4.0);
            if lies { count / 2 } else { count }
        })
        .await
    }

    /// A page of all users behind a place, oldest first.
    pub async fn list_users(
        self: &Rc<Self>,
        after: Option<(i64, Key)>,
        limit: usize,
    ) -> Result<Vec<User>, Away> {
        self.ask(|world| {
            let clerk = world.clerk.borrow();
            let mut all: Vec<&User> = clerk.users.values().collect();
            all.sort_by(|a, b| (a.created_at, &a.key).cmp(&(b.created_at, &b.key)));
            let behind = |user: &&&User| {
                let place = (user.created_at, &user.key);
                after.as_ref().is_none_or(|(at, key)| place > (*at, key))
            };
            let page = all.iter().filter(behind).take(limit);
            let mut page: Vec<User> = page.map(|user| clerk.shown(user, world.since())).collect();
            world.lie(&mut page);
            page
        })
        .await
    }

    /// The users changed last, newest first.
    pub async fn newest_users(self: &Rc<Self>, limit: usize) -> Result<Vec<User>, Away> {
        self.ask(|world| {
            let clerk = world.clerk.borrow();
            let since = world.since();
            let mut all: Vec<User> = clerk
                .users
                .values()
                .map(|user| clerk.shown(user, since))
                .collect();
            all.sort_by(|a, b| (b.version, &b.key).cmp(&(a.version, &a.key)));
            all.truncate(limit);
            all
        })
        .await
    }

    /// A page may be empty, end early, or lack somebody in its middle.
    fn lie(&self, page: &mut Vec<User>) {
        if page.is_empty() || !self.machine.chance(self.faults().lies) {
            return;
        }
        match self.machine.pick(3) {
            0 => page.clear(),
            1 => page.truncate(self.machine.pick(page.len())),
            _ => drop(page.remove(self.machine.pick(page.len()))),
        }
        self.machine
            .say(|| format!("clerk lists only {} on a page", page.len()));
    }
}

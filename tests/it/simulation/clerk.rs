//! The model of Clerk: users, organizations and memberships with versions, and what it answers.
//!
//! Ids are never used twice. Lists move while they are read. A replica may lag behind with what a user is like,
//! and may list too little; what it says about one id is true as to whether the record exists, since everything
//! rests on that. Memberships end with their user and with their organization. Every change is a message for the
//! network.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use clerk_convex_sync::model::{ContentHash, Fields, Key, RecordKey, Standing, Table, Version};

use super::world::World;

/// Our instance, as events name it.
pub const OURS: &str = "ins_ours";
/// Somebody else's.
pub const FOREIGN: &str = "ins_foreign";

/// Of a membership: its organization and its user.
pub type Parents = (Key, Key);

/// A record as Clerk has it at one time.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    pub key: Key,
    pub created_at: i64,
    pub version: i64,
    pub content: u32,
    pub parents: Option<Parents>,
}

impl Record {
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

thread_local! {
    /// Hashes of contents, by content: worlds ask for the same few thousand times.
    static HASHES: RefCell<Vec<Option<ContentHash>>> = const { RefCell::new(Vec::new()) };
}

/// What the ledger keeps of a content.
pub fn hash_of(content: u32) -> ContentHash {
    HASHES.with_borrow_mut(|hashes| {
        let at = content as usize;
        if hashes.len() <= at {
            hashes.resize(at + 1, None);
        }
        *hashes[at].get_or_insert_with(|| ContentHash::of(&fields_of(content)))
    })
}

/// The table of a key, which its beginning tells.
pub fn table_of(key: &Key) -> Table {
    match key.as_str() {
        key if key.starts_with("org_") => Table::Organizations,
        key if key.starts_with("orgmem_") => Table::Memberships,
        _ => Table::Users,
    }
}

/// The record of a key.
pub fn record_of(key: &Key) -> RecordKey {
    RecordKey::new(table_of(key), key.clone())
}

/// How a record is changed.
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
    pub parents: Option<Parents>,
    pub instance: &'static str,
}

/// Clerk did not answer.
#[derive(Clone, Copy, Debug)]
pub struct Away;

/// See the module's words.
#[derive(Default)]
pub struct Clerk {
    pub users: BTreeMap<Key, Record>,
    pub organizations: BTreeMap<Key, Record>,
    pub memberships: BTreeMap<Key, Record>,
    pub deleted: BTreeSet<Key>,
    /// Records whose last changes shared a version.
    pub tied: BTreeSet<Key>,
    /// How a record was before its last change, and when that was.
    before: BTreeMap<Key, (Record, i64)>,
    made: u32,
    contents: u32,
    messages: u64,
}

impl Clerk {
    /// All records of a table.
    pub fn of(&self, table: Table) -> &BTreeMap<Key, Record> {
        match table {
            Table::Users | Table::Profiles => &self.users,
            Table::Organizations => &self.organizations,
            Table::Memberships => &self.memberships,
        }
    }

    fn of_mut(&mut self, table: Table) -> &mut BTreeMap<Key, Record> {
        match table {
            Table::Users | Table::Profiles => &mut self.users,
            Table::Organizations => &mut self.organizations,
            Table::Memberships => &mut self.memberships,
        }
    }

    /// The record of this key, if there is one.
    pub fn get(&self, key: &Key) -> Option<&Record> {
        self.of(table_of(key)).get(key)
    }

    pub fn create(&mut self, table: Table, now: i64, parents: Option<Parents>) -> Message {
        self.made += 1;
        self.contents += 1;
        let kind = match table {
            Table::Users | Table::Profiles => "user",
            Table::Organizations => "org",
            Table::Memberships => "orgmem",
        };
        // Ids do not come in the order of their making.
        let number = self.made.wrapping_mul(2_654_435_761);
        let key = Key::parse(&format!("{kind}_{number:08x}")).expect("a key");
        let record = Record {
            key: key.clone(),
            created_at: now,
            version: now,
            content: self.contents,
            parents,
        };
        self.of_mut(table).insert(key, record.clone());
        self.tell(&record, false)
    }

    /// Changes a record.
    pub fn update(&mut self, key: &Key, now: i64, how: How) -> Option<Message> {
        self.contents += 1;
        let anew = self.contents;
        let before = self.get(key)?.clone();
        let before = self.before.insert(key.clone(), (before, now));
        let record = self.of_mut(table_of(key)).get_mut(key)?;
        let content = match (how, before) {
            (How::Touch, _) => record.content,
            (How::TakeBack, Some((before, _))) => before.content,
            _ => anew,
        };
        let tied = record.version == now && record.content != content;
        (record.version, record.content) = (now, content);
        let record = record.clone();
        if tied {
            self.tied.insert(key.clone());
        }
        Some(self.tell(&record, false))
    }

    /// Deletes a record; what hangs on it is the caller's.
    pub fn delete(&mut self, key: &Key, now: i64) -> Option<Message> {
        let record = self.of_mut(table_of(key)).remove(key)?;
        self.deleted.insert(key.clone());
        self.before.insert(key.clone(), (record.clone(), now));
        let record = Record {
            version: now,
            ..record
        };
        Some(self.tell(&record, true))
    }

    /// The memberships of a user or an organization.
    pub fn members_of(&self, parent: &Key) -> Vec<Key> {
        let members = self.memberships.values();
        let of_it = members.filter(|one| hangs_on(one.parents.as_ref(), parent));
        of_it.map(|one| one.key.clone()).collect()
    }

    /// An example as a dashboard sends it: of nobody, and another instance's.
    pub fn foreign(&mut self, now: i64) -> Message {
        self.made += 1;
        let key = Key::parse(&format!("user_x{}", self.made)).expect("a key");
        let user = Record {
            key,
            created_at: now,
            version: now,
            content: 0,
            parents: None,
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

    fn tell(&mut self, record: &Record, deleted: bool) -> Message {
        self.messages += 1;
        Message {
            id: self.messages,
            key: record.key.clone(),
            created_at: record.created_at,
            standing: Standing {
                version: Version(record.version),
                deleted,
            },
            content: record.content,
            parents: record.parents.clone(),
            instance: OURS,
        }
    }

    fn shown(&self, record: &Record, since: i64) -> Record {
        match self.before.get(&record.key) {
            Some((before, at)) if *at >= since => before.clone(),
            _ => record.clone(),
        }
    }
}

/// True if these are a membership's parents and this is one of them.
pub fn hangs_on(parents: Option<&Parents>, parent: &Key) -> bool {
    parents.is_some_and(|(organization, user)| parent == organization || parent == user)
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

    /// One record; `None`: Clerk says that it does not exist.
    pub async fn get_record(self: &Rc<Self>, key: &Key) -> Result<Option<Record>, Away> {
        self.ask(|world| {
            let clerk = world.clerk.borrow();
            let record = clerk.get(key);
            record.map(|record| clerk.shown(record, world.since()))
        })
        .await
    }

    /// Those of these that exist: users or organizations, since of memberships there is no such listing.
    pub async fn records_by_id(self: &Rc<Self>, keys: &[Key]) -> Result<Vec<Record>, Away> {
        self.ask(|world| {
            let clerk = world.clerk.borrow();
            let there = keys.iter().filter_map(|key| clerk.get(key));
            let there = there.filter(|_| !world.machine.chance(world.faults().lies / 4.0));
            let shown = there.map(|record| clerk.shown(record, world.since()));
            shown.collect()
        })
        .await
    }

    /// How many members an organization has.
    pub async fn count_members(self: &Rc<Self>, organization: &Key) -> Result<usize, Away> {
        self.ask(|world| world.clerk.borrow().members_of(organization).len())
            .await
    }

    pub async fn count(self: &Rc<Self>, table: Table) -> Result<u64, Away> {
        self.ask(|world| {
            let count = world.clerk.borrow().of(table).len() as u64;
            let lies = world.machine.chance(world.faults().lies / 4.0);
            if lies { count / 2 } else { count }
        })
        .await
    }

    /// A page of a whole table behind a place, oldest first.
    pub async fn list(
        self: &Rc<Self>,
        table: Table,
        after: Option<(i64, Key)>,
        limit: usize,
    ) -> Result<Vec<Record>, Away> {
        self.ask(|world| {
            let clerk = world.clerk.borrow();
            let mut all: Vec<&Record> = clerk.of(table).values().collect();
            all.sort_by(|a, b| (a.created_at, &a.key).cmp(&(b.created_at, &b.key)));
            let behind = |one: &&&Record| {
                let place = (one.created_at, &one.key);
                after.as_ref().is_none_or(|(at, key)| place > (*at, key))
            };
            let page = all.iter().filter(behind).take(limit);
            let page = page.map(|one| clerk.shown(one, world.since()));
            let mut page: Vec<Record> = page.collect();
            world.lie(&mut page);
            page
        })
        .await
    }

    /// The users changed last, newest first.
    pub async fn newest_users(self: &Rc<Self>, limit: usize) -> Result<Vec<Record>, Away> {
        self.ask(|world| {
            let clerk = world.clerk.borrow();
            let since = world.since();
            let mut all: Vec<Record> = clerk
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
    fn lie(&self, page: &mut Vec<Record>) {
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

//! Organizations and who belongs to them: what people do there, and what must hold of it.
//!
//! Only some worlds have any. A membership ends with its user and with its organization, of which Clerk tells, or
//! does not; then the other deletion is the word that counts for it.

use std::rc::Rc;

use clerk_convex_sync::model::{Key, Table};

use super::{
    clerk::{How, Message, Parents},
    world::World,
};

impl World {
    /// An organization, and memberships of users who are there.
    pub fn settle_groups(self: &Rc<Self>) {
        for _ in 0..self.machine.between(1, 3) {
            let message = self.create(Table::Organizations, None);
            self.tell_perhaps(message);
        }
        for _ in 0..self.machine.between(0, 2 * self.drawn.users) {
            let message = self.join();
            message
                .into_iter()
                .for_each(|message| self.tell_perhaps(message));
        }
    }

    /// Half of them were there before the daemon was.
    fn tell_perhaps(self: &Rc<Self>, message: Message) {
        if self.machine.chance(0.5) {
            self.send(message);
        }
    }

    /// Somebody does something in an organization.
    pub fn organize(self: &Rc<Self>) {
        let now = self.machine.now();
        let told = match self.machine.pick(12) {
            0 => Some(self.create(Table::Organizations, None)),
            1..=5 => self.join(),
            6 => self.renew(Table::Organizations),
            7..=8 => self.renew(Table::Memberships),
            9 => self
                .one_of(Table::Memberships)
                .and_then(|key| self.clerk.borrow_mut().delete(&key, now)),
            10 => {
                let key = self.one_of(Table::Organizations);
                key.into_iter().for_each(|key| self.delete(&key));
                None
            }
            _ => self.all_leave(),
        };
        told.into_iter().for_each(|message| self.send(message));
    }

    /// Deletes a user or an organization, and with it the memberships that hang on it.
    pub fn delete(self: &Rc<Self>, key: &Key) {
        let now = self.machine.now();
        let members = self.clerk.borrow().members_of(key);
        let Some(message) = self.clerk.borrow_mut().delete(key, now) else {
            return;
        };
        for member in members {
            let ended = self.clerk.borrow_mut().delete(&member, now);
            if self.machine.chance(self.drawn.endings_told) {
                ended.into_iter().for_each(|ended| self.send(ended));
            } else {
                let mut checks = self.checks.borrow_mut();
                checks.said_by(member, message.id);
            }
        }
        self.send(message);
    }

    /// A user who is not yet in an organization enters it.
    fn join(&self) -> Option<Message> {
        let parents = (
            self.one_of(Table::Organizations)?,
            self.one_of(Table::Users)?,
        );
        let is_it = |known: &Parents| *known == parents;
        let members = |world: &World| {
            let clerk = world.clerk.borrow();
            let mut members = clerk.memberships.values();
            members.any(|one| one.parents.as_ref().is_some_and(is_it))
        };
        (!members(self)).then(|| self.create(Table::Memberships, Some(parents.clone())))
    }

    fn renew(self: &Rc<Self>, table: Table) -> Option<Message> {
        let (key, now) = (self.one_of(table)?, self.machine.now());
        if self.machine.chance(self.drawn.ties) {
            let first = self.clerk.borrow_mut().update(&key, now, How::Anew);
            first.into_iter().for_each(|message| self.send(message));
        }
        let how = match self.machine.chance(self.drawn.taken_back) {
            true => How::TakeBack,
            false => How::Anew,
        };
        self.clerk.borrow_mut().update(&key, now, how)
    }

    /// Everybody leaves one organization, and it stays.
    fn all_leave(self: &Rc<Self>) -> Option<Message> {
        let (organization, now) = (self.one_of(Table::Organizations)?, self.machine.now());
        let members = self.clerk.borrow().members_of(&organization);
        for member in members {
            let ended = self.clerk.borrow_mut().delete(&member, now);
            ended.into_iter().for_each(|ended| self.send(ended));
        }
        None
    }

    /// Any record of a table.
    pub fn one_of(&self, table: Table) -> Option<Key> {
        let clerk = self.clerk.borrow();
        let all = clerk.of(table);
        let at = (!all.is_empty()).then(|| self.machine.pick(all.len()))?;
        all.keys().nth(at).cloned()
    }

    /// Nothing waits any more: whom a membership names that a delivery has written is there too, unless a crash has
    /// taken along who was to be looked for.
    pub fn nobody_hangs_in_the_air(&self) {
        let (clerk, checks, convex) = (
            self.clerk.borrow(),
            self.checks.borrow(),
            self.convex.borrow(),
        );
        if checks.crashes > 0 {
            return;
        }
        let written = clerk.memberships.values();
        let written = written.filter(|one| checks.written.contains(&one.key));
        for one in written {
            let (organization, user) = one.parents.as_ref().expect("a membership");
            for parent in [organization, user] {
                let there = convex.rows.contains_key(parent) || convex.tampered.contains(parent);
                self.must(there, || {
                    format!("{} names {parent}, which nobody looked for", one.key)
                });
            }
        }
    }
}

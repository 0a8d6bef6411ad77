//! A membership whose user or organization is not there yet: after a while they are looked for.
//!
//! As `applier/parents.rs`; when to look, and whether a write was one that names them, are the program's own.

use std::rc::Rc;

use clerk_convex_sync::{
    apply::{Lease, guard},
    model::{Key, RecordKey, Table},
    store::journal::{CauseKind, RequestOrigin},
};

use super::{
    clerk::record_of,
    convex::Write,
    daemon::Daemon,
    faults::Breach,
    writing::{Fate, Load},
};

impl Daemon {
    /// Remembers who is mentioned by what was just written, and is not in the ledger.
    pub fn hear_of_parents(&self, done: &[(Load<Lease>, Fate)]) {
        let written = done.iter().filter(
            |(_, fate)| matches!(fate, Fate::Written(outcome) if guard::leaves_a_row(*outcome)),
        );
        let parents = written.filter_map(|(load, _)| match &load.write {
            Write::Upsert { parents, .. } => parents.as_ref(),
            Write::Delete => None,
        });
        let mentioned = parents.flat_map(|(organization, user)| [user, organization]);
        let unknown = mentioned
            .map(record_of)
            .filter(|record| self.seen(record).is_none());
        let (unknown, now) = (unknown.collect(), self.tick());
        self.book.borrow_mut().hear_of(unknown, now);
    }

    /// Looks for these in Convex, and asks Clerk for those who are not there.
    pub async fn look_for(self: Rc<Self>, records: Vec<RecordKey>) {
        let mut unknown = Vec::new();
        for table in [Table::Users, Table::Organizations] {
            let wanted = records.iter().filter(|record| record.table == table);
            let wanted = wanted.filter(|record| self.seen(record).is_none());
            let mut wanted: Vec<Key> = wanted.map(|record| record.key.clone()).collect();
            if wanted.is_empty() || self.world.is_broken(Breach::NoLook) {
                continue;
            }
            match self.world.get_rows(&wanted).await {
                Ok(rows) => {
                    wanted.retain(|key| rows.iter().all(|(of, _)| of != key));
                    wanted.iter().for_each(|key| self.request(key));
                }
                Err(_) => unknown.extend(wanted.iter().map(record_of)),
            }
        }
        let now = self.tick();
        self.book.borrow_mut().looked(unknown, now);
        self.dispatch();
    }

    /// Wishes for a record that nobody has told of.
    fn request(self: &Rc<Self>, key: &Key) {
        let now = self.world.machine.now();
        self.world
            .machine
            .say(|| format!("a membership names {key}: asking Clerk"));
        let cause = CauseKind::Request(RequestOrigin::Repair);
        let mut disk = self.world.disk.borrow_mut();
        disk.journal.append(record_of(key), None, cause, now);
        drop(disk);
        self.sync_journal();
    }
}

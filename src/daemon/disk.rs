//! Opens the state directory, whatever an earlier process or a disk has left of it.
//!
//! The order is what matters: keys before anything is touched, the journal before the derived state, and `STATE` as
//! the last of them, which tells what the stores cannot tell of themselves. Says what was lost, in words.

use std::path::Path;

use chrono::DateTime;
use tokio::sync::oneshot;

use super::{StartError, build::keyring};
use crate::{
    apply::Clock,
    config::{self, Config},
    reconcile::unhealed,
    report::{
        alert::Alerts,
        oplog::{self, OperationsLog},
    },
    store::{
        crypt::{KeyId, Keyring},
        directory,
        journal::{self, Journal, Notices, Recovered},
        room,
        state::{self, State, StateError},
        state_file::{self, LAYOUT, Loaded, StateFile, StateFileError},
    },
};

/// The cell that is there once `STATE` has had a proof: from then on one without is not believed.
const PROVED_CELL: &str = "state_proved";

/// Everything that was open or left on the disk.
pub struct Disk {
    pub journal: Journal,
    pub recovered: Recovered,
    pub notices: Notices,
    pub state: State,
    /// As `STATE` has it.
    pub file: StateFile,
    pub alerts: Alerts,
    /// What was written to both services.
    pub oplog: OperationsLog,
    /// What was lost of the state, in words; then only a full diff can tell what is missing.
    pub doubt: Option<&'static str>,
    /// The keys that all of it is under.
    pub keys: Keyring,
}

impl Disk {
    /// Opens the state directory, whatever an earlier process or a disk has left of it.
    pub async fn open(config: &Config) -> Result<Disk, StartError> {
        let section = config.state.clone();
        let (told, opened) = oneshot::channel();
        // Not on a thread of the runtime, which stands back: the journal's own is begun here, and inherits that.
        std::thread::Builder::new()
            .name("open".into())
            .spawn(move || {
                let _ = told.send(open(&section));
            })
            .map_err(StartError::Threads)?;
        let panicked =
            || StartError::Threads(std::io::Error::other("the thread that opens it panicked"));
        opened.await.unwrap_or_else(|_| Err(panicked()))
    }
}

fn open(section: &config::State) -> Result<Disk, StartError> {
    let dir = &section.dir;
    let keys = keyring(section);
    // Before anything is touched: without the keys nothing here can be read, and nothing may be set aside.
    let loaded = StateFile::admit(dir, &keys)?;
    make_ready(dir)?;
    let (alerts, now_ms) = (Alerts::default(), Clock.now_ms());
    let damaged = loaded == Loaded::Damaged;
    let unproved = matches!(loaded, Loaded::Unproved(_));
    let mut known = loaded.found();
    let highest = known.as_ref().map_or(0, |file| file.highest_seq);
    let options = journal::Options {
        max_entries: section.max_queue_events,
        max_bytes: section.max_journal_bytes,
        first_seq: highest + 1,
        keys: keys.clone(),
        now_ms: || Clock.now_ms(),
        ..journal::Options::default()
    };
    let opened = Journal::open(&dir.join(journal::DIR), options)?;
    let (journal, recovered, notices) = (opened.journal, opened.recovered, opened.notices);
    // A directory with `STATE` had a journal, unless the file says that nothing was ever written to it.
    let mut doubt = report_recovery(&recovered, damaged || highest > 0, &alerts, now_ms);
    if damaged {
        let path = state_file::set_aside(dir)?;
        let message = format!("STATE was damaged and is kept as {}", path.display());
        alerts.raise("state_damaged", message, now_ms);
    }
    let new = !damaged && recovered.segments == 0 && !dir.join(state::DIR).is_dir();
    let recorded = announce(dir, &mut known, new, &keys)?;
    let generation = known.as_ref().map(|file| file.generation);
    let options = state::Options {
        ledger_records: section.ledger_records,
        keys: keys.clone(),
        ..state::Options::at(
            DateTime::from_timestamp_millis(now_ms).unwrap_or_default(),
            generation,
        )
    };
    let opened = State::open(&dir.join(state::DIR), &options)?;
    if let Some(reason) = &opened.rebuilt {
        let message = format!(
            "the derived state was built anew ({reason:?}); records are looked up in Clerk meanwhile, and if applying \
             was paused, it no longer is"
        );
        alerts.raise("state_rebuilt", message, now_ms);
        doubt = Some("the derived state was built anew");
    }
    doubt = lost_proof(unproved, &opened.state, &alerts, now_ms)?.or(doubt);
    // Before the file says that all of this is known.
    keep_unhealed(&opened.state, &alerts, doubt)?;
    let oplog = open_log(section, &alerts);
    let file = StateFile {
        layout: LAYOUT,
        generation: opened.generation,
        highest_seq: recovered.highest_seq.max(highest),
        instance: known.and_then(|file| file.instance),
        keys: recorded,
    };
    file.store(dir, &keys)?;
    note_proof(&opened.state, &keys)?;
    Ok(Disk {
        journal,
        recovered,
        notices,
        state: opened.state,
        file,
        alerts,
        oplog,
        doubt,
        keys,
    })
}

/// Keeps what only a comparison of everything puts right.
fn keep_unhealed(state: &State, alerts: &Alerts, doubt: Option<&str>) -> Result<(), StateError> {
    unhealed::keep(state, alerts)?;
    doubt.map_or(Ok(()), |_| unhealed::doubt(state))
}

fn open_log(section: &config::State, alerts: &Alerts) -> OperationsLog {
    let options = oplog::Options {
        keep: section.operations_log_bytes,
        keys: keyring(section),
        alerts: alerts.clone(),
        now_ms: || Clock.now_ms(),
    };
    OperationsLog::open_or_begin(&section.dir, options)
}

/// Its owner's alone, and with room.
fn make_ready(dir: &Path) -> Result<(), StartError> {
    let opened = directory::make_own(dir).map_err(|source| StartError::Directory {
        path: dir.to_owned(),
        source,
    })?;
    for path in opened {
        tracing::warn!(path = %path.display(), "was open to other users; it is private now");
    }
    // Before sled meets a full disk, which it does not survive in this process.
    if room::Room::at(dir).is_ok_and(room::Room::is_none) {
        return Err(StartError::NoRoom(dir.to_owned()));
    }
    Ok(())
}

/// Notes under which keys there will be records, before there are; `new`: nothing was ever kept here.
fn announce(
    dir: &Path,
    known: &mut Option<StateFile>,
    new: bool,
    keys: &Keyring,
) -> Result<Vec<KeyId>, StateFileError> {
    match known {
        Some(file) => {
            file.announce(dir, keys)?;
            Ok(file.keys.clone())
        }
        None => Ok(state_file::recorded(new.then_some(&[]), keys)),
    }
}

/// Says that `STATE` had a proof and has none now; then what it says may be anybody's word.
fn lost_proof(
    unproved: bool,
    state: &State,
    alerts: &Alerts,
    now_ms: i64,
) -> Result<Option<&'static str>, StateError> {
    if !unproved || state.get_cell(PROVED_CELL)?.is_none() {
        return Ok(None);
    }
    let message = "STATE has lost the proof that nobody else wrote it: it was changed, or an older release was here; \
                   acknowledged deliveries may be missing until the next full comparison";
    alerts.raise("state_damaged", message, now_ms);
    Ok(Some("STATE was changed"))
}

/// Remembers that `STATE` has a proof. After it was stored: this must never be ahead of the file.
fn note_proof(state: &State, keys: &Keyring) -> Result<(), StateError> {
    match keys.writes() {
        Some(_) => state.put_cell(PROVED_CELL, Some(&[1])),
        None => Ok(()),
    }
}

/// Says what was found; `had`: there was a journal with entries. Answers with what was lost, if anything was.
fn report_recovery(
    found: &Recovered,
    had: bool,
    alerts: &Alerts,
    now_ms: i64,
) -> Option<&'static str> {
    let mut lost = None;
    let recovered = found.pending.len();
    tracing::info!(
        recovered,
        dead_letters = found.parked.len(),
        "recovered from the journal: {recovered} {} to be applied",
        if recovered == 1 {
            "delivery"
        } else {
            "deliveries"
        }
    );
    if found.damage.may_have_lost() {
        let message = format!(
            "the journal was damaged in {} place(s); acknowledged deliveries may be missing until the \
             next full comparison",
            found.damage.places
        );
        alerts.raise("journal_damaged", message, now_ms);
        lost = Some("the journal was damaged");
    }
    if found.segments == 0 && had {
        let message = "the journal is gone although this directory had one; acknowledged deliveries \
                       may be missing until the next full comparison";
        alerts.raise("journal_lost", message, now_ms);
        lost = Some("the journal is gone");
    }
    lost
}

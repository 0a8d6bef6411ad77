//! Where held plans lie: `plans/<digest>.ndjson` in the state directory, for the owner only.
//!
//! Knows files; what a plan says is [`super::plan`]'s business. A plan is there as a whole or not at all, on
//! stable storage when [`Plans::save`] returns, encrypted if there is a key, and believed only if its digest agrees.
//! At most [`MAX_PLANS`] are kept. All calls block for as long as the disk takes.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use tracing::warn;

use super::plan::{Digest, Head, MAX_RECORDS, Plan, PlanError, parse_head};
use crate::{
    model::{Fault, Key},
    report::alert::Alerts,
    store::crypt::{Keyring, Name, Unreadable},
};

/// The directory's name in the state directory.
pub const DIR: &str = "plans";
/// Plans that are kept; the oldest goes for a new one. A run makes one at most, and the same again is the same
/// file, so this is many days of trouble that nobody looked at.
pub const MAX_PLANS: usize = 16;

/// What stands behind the digest in a file's name.
const ENDING: &str = ".ndjson";
/// The longest first line, in bytes: a digest, an id and a sentence for each of four tables.
const MAX_HEAD_BYTES: u64 = 16 * 1024;
/// What encrypting adds, and more.
const MAX_ADDED_BYTES: u64 = 128;
/// The longest file, in bytes.
const MAX_BYTES: u64 =
    MAX_HEAD_BYTES + (MAX_RECORDS * (Key::MAX_BYTES + 64)) as u64 + MAX_ADDED_BYTES;
/// Files that are looked at in one listing; others than ours may lie there.
const MAX_LOOKED_AT: usize = 1000;

/// The directory of held plans.
#[derive(Clone, Debug)]
pub struct Plans {
    dir: PathBuf,
    keys: Keyring,
}

/// Why a plan could not be kept or found.
#[derive(Debug, thiserror::Error)]
pub enum PlansError {
    /// There is none of this digest: carried out, superseded, or never made.
    #[error("there is no held plan {0}; `clerk-convex-sync status` shows what is held")]
    Absent(Digest),
    /// There is one, and it cannot be decrypted.
    #[error("{}: {error}", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        error: Unreadable,
    },
    /// There is one, and it cannot be believed.
    #[error("{}: {error}; delete the file, the next run plans anew", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        error: PlanError,
    },
    /// The disk refused.
    #[error("{}: {source}; check owner, mode and free space", .path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// The answer.
        source: io::Error,
    },
}

impl PlansError {
    /// Whose fault it is. What was asked for is at fault unless the disk is.
    pub fn fault(&self) -> Fault {
        match self {
            PlansError::Io { .. } => Fault::Ours,
            _ => Fault::Record,
        }
    }
}

impl Plans {
    /// The plans of this state directory, encrypted with these keys. Touches nothing yet.
    pub fn of(state_dir: &Path, keys: &Keyring) -> Self {
        Plans {
            dir: state_dir.join(DIR),
            keys: keys.clone(),
        }
    }

    /// Keeps a plan; true if it was not there before, which is when people are told. One that is there stays as
    /// it is, with the time when it was first held.
    pub fn save(&self, plan: &Plan) -> Result<bool, PlansError> {
        let digest = plan.digest();
        match self.load(&digest) {
            Ok(_) => return Ok(false),
            Err(PlansError::Io { path, source }) => return Err(PlansError::Io { path, source }),
            Err(_) => {}
        }
        let path = self.path(&digest);
        let (name, text) = (name(&digest), plan.to_ndjson());
        self.write(
            &path,
            &self.keys.encrypt(Name::File(&name), text.as_bytes()),
        )
        .map_err(|source| PlansError::Io { path, source })?;
        self.forget_oldest(&digest)?;
        Ok(true)
    }

    /// What is held, oldest first. What cannot be read is left out with a warning.
    pub fn list(&self) -> Result<Vec<Head>, PlansError> {
        let io = |source| PlansError::Io {
            path: self.dir.clone(),
            source,
        };
        let entries = match fs::read_dir(&self.dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(io(error)),
        };
        let mut heads = Vec::new();
        for entry in entries.take(MAX_LOOKED_AT) {
            let name = entry.map_err(io)?.file_name();
            let digest = name
                .to_str()
                .and_then(|name| name.strip_suffix(ENDING))
                .and_then(Digest::parse);
            let Some(digest) = digest else { continue };
            match self.head(&digest) {
                Ok(head) if head.digest == digest => heads.push(head),
                Ok(_) => warn!(%digest, "a held plan has the name of another; left out"),
                Err(error) => warn!(%digest, %error, "a held plan cannot be read; left out"),
            }
        }
        heads.sort_by(|a, b| (a.made_ms, &a.digest).cmp(&(b.made_ms, &b.digest)));
        Ok(heads)
    }

    /// Raises the alert about what is held, the newest if there are several, or clears it if nothing is. Raising
    /// what is raised says nothing new.
    pub fn tell(&self, alerts: &Alerts) -> Result<(), PlansError> {
        match self.list()?.last() {
            Some(head) => alerts.raise("plan_held", head.alert(), head.made_ms),
            None => alerts.clear("plan_held"),
        }
        Ok(())
    }

    /// A plan, as it was held.
    pub fn load(&self, digest: &Digest) -> Result<Plan, PlansError> {
        let path = self.path(digest);
        let text = self.text(digest)?;
        match Plan::parse(&text) {
            Ok(plan) if plan.digest() == *digest => Ok(plan),
            Ok(_) => Err(PlansError::Damaged {
                path,
                error: PlanError::Changed,
            }),
            Err(error) => Err(PlansError::Damaged { path, error }),
        }
    }

    fn text(&self, digest: &Digest) -> Result<String, PlansError> {
        let path = self.path(digest);
        let mut kept = Vec::new();
        let read = File::open(&path).and_then(|file| file.take(MAX_BYTES).read_to_end(&mut kept));
        match read {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(PlansError::Absent(digest.clone()));
            }
            Err(source) => return Err(PlansError::Io { path, source }),
        }
        let plain = match self.keys.decrypt(Name::File(&name(digest)), &kept) {
            Ok(plain) => plain.into_owned(),
            Err(error) => return Err(PlansError::Unreadable { path, error }),
        };
        String::from_utf8(plain).map_err(|_| PlansError::Damaged {
            path,
            error: PlanError::Changed,
        })
    }

    /// Forgets a plan; true if there was one.
    pub fn remove(&self, digest: &Digest) -> Result<bool, PlansError> {
        let path = self.path(digest);
        let removed = match fs::remove_file(&path) {
            Ok(()) => self.sync().map(|()| true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        };
        removed.map_err(|source| PlansError::Io { path, source })
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.dir.join(format!("{digest}{ENDING}"))
    }

    fn head(&self, digest: &Digest) -> Result<Head, PlansError> {
        let text = self.text(digest)?;
        let line = text.split_inclusive('\n').next().unwrap_or_default();
        parse_head(line).map_err(|error| PlansError::Damaged {
            path: self.path(digest),
            error,
        })
    }

    fn write(&self, path: &Path, text: &[u8]) -> io::Result<()> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.dir)?;
        if let Some(parent) = self.dir.parent() {
            File::open(parent)?.sync_all()?;
        }
        // A temporary file is for the owner only, as this has to be.
        let mut file = tempfile::Builder::new()
            .prefix(".plan")
            .tempfile_in(&self.dir)?;
        file.write_all(text)?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        self.sync()
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.dir)?.sync_all()
    }

    /// Makes room, but never of the plan that was just made.
    fn forget_oldest(&self, newest: &Digest) -> Result<(), PlansError> {
        let heads = self.list()?;
        let excess = heads.len().saturating_sub(MAX_PLANS);
        let oldest = heads.iter().filter(|head| head.digest != *newest);
        for head in oldest.take(excess) {
            self.remove(&head.digest)?;
        }
        Ok(())
    }
}

/// A plan's name in the state directory.
fn name(digest: &Digest) -> String {
    format!("{DIR}/{digest}{ENDING}")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::model::{RecordKey, Table};

    fn plan(first: u32, made_ms: i64) -> Plan {
        let mut plan = Plan::new("run", made_ms);
        for n in first..first + 3 {
            let key = Key::parse(&format!("user_{n}")).unwrap();
            plan.insert(RecordKey::new(Table::Users, key));
        }
        plan
    }

    #[test]
    fn a_plan_is_kept_once_found_by_its_digest_and_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let plans = Plans::of(dir.path(), &Keyring::default());
        let digest = plan(1, 5).digest();
        assert!(plans.list().unwrap().is_empty());
        assert!(matches!(plans.load(&digest), Err(PlansError::Absent(_))));
        assert!(plans.save(&plan(1, 5)).unwrap());
        assert!(!plans.save(&plan(1, 9)).unwrap());
        assert!(plans.save(&plan(2, 4)).unwrap());
        assert_eq!(plans.load(&digest).unwrap(), plan(1, 5));
        let heads = plans.list().unwrap();
        assert_eq!(heads, [plan(2, 4).head(), plan(1, 5).head()]);
        assert!(plans.remove(&digest).unwrap());
        assert!(!plans.remove(&digest).unwrap());
        assert_eq!(plans.list().unwrap().len(), 1);
    }

    #[test]
    fn only_the_owner_may_read_plans() {
        let dir = tempfile::tempdir().unwrap();
        let plans = Plans::of(dir.path(), &Keyring::default());
        plans.save(&plan(1, 5)).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&dir.path().join(DIR)), 0o700);
        assert_eq!(mode(&plans.path(&plan(1, 5).digest())), 0o600);
    }

    #[test]
    fn a_damaged_plan_is_not_believed_and_is_made_anew() {
        let dir = tempfile::tempdir().unwrap();
        let plans = Plans::of(dir.path(), &Keyring::default());
        plans.save(&plan(1, 5)).unwrap();
        let digest = plan(1, 5).digest();
        let path = plans.path(&digest);
        for damage in [
            &b""[..],
            b"{",
            b"\xff\xfe",
            plan(2, 5).to_ndjson().as_bytes(),
        ] {
            fs::write(&path, damage).unwrap();
            let loaded = plans.load(&digest);
            assert!(
                matches!(loaded, Err(PlansError::Damaged { .. })),
                "{loaded:?}"
            );
            assert!(plans.list().unwrap().is_empty());
        }
        assert!(plans.save(&plan(1, 7)).unwrap());
        assert_eq!(plans.load(&digest).unwrap(), plan(1, 7));
    }

    #[test]
    fn the_oldest_plan_makes_room_for_a_new_one() {
        let dir = tempfile::tempdir().unwrap();
        let plans = Plans::of(dir.path(), &Keyring::default());
        for n in 0..=MAX_PLANS as u32 {
            // The first one has the latest time: a clock that went back must not cost the newest plan.
            plans.save(&plan(n, 100 - i64::from(n))).unwrap();
        }
        let heads = plans.list().unwrap();
        assert_eq!(heads.len(), MAX_PLANS);
        let newest = plan(MAX_PLANS as u32, 0).digest();
        assert!(heads.iter().any(|head| head.digest == newest));
    }
}

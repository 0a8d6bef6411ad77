//! Directories for the owner only, whose names are on stable storage.
//!
//! State holds personal data, so nobody else on the machine may look. A file that was synced is not
//! safe before its directory is: a power cut may take the name. Nor may anybody have put a link there that
//! leads what is written elsewhere.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};

/// Read, write and enter for the owner.
const DIR_MODE: u32 = 0o700;

/// Read and write for the owner.
const FILE_MODE: u32 = 0o600;
/// Everybody but the owner.
const OTHERS: u32 = 0o077;
/// What tells our directory from one that was named by mistake.
const OURS: [&str; 3] = ["STATE", "journal", "derived"];
/// The most of one name that are set aside and kept for inspection.
const KEPT_ASIDE: usize = 3;
/// How deep the directories lie in one another, at most.
const MAX_DEPTH: usize = 8;

/// Makes the state directory the owner's alone, with all that is in it, and answers with what was open to
/// others and no longer is. The owner's rights are given back where they are missing.
///
/// # Errors
/// A link in it, which could lead anywhere; and a directory that holds other things and is open to others,
/// which is left as it is: it was most likely named by mistake.
pub fn make_own(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut opened = Vec::new();
    if !dir.is_dir() {
        make_private(dir)?;
        return Ok(opened);
    }
    admit(dir, DIR_MODE)?;
    let holds = holds(dir)?;
    if mode(dir)? & OTHERS != 0 && holds == Holds::OtherThings {
        return Err(io::Error::other(
            "it holds other things and other users may enter it; name a directory for the state alone, or \
             take the others' rights away (chmod 700)",
        ));
    }
    close(dir, DIR_MODE, &mut opened)?;
    close_all(dir, MAX_DEPTH, &mut opened)?;
    if holds == Holds::Nothing {
        // Nobody has seen anything.
        opened.clear();
    }
    Ok(opened)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Holds {
    Nothing,
    State,
    OtherThings,
}

fn holds(dir: &Path) -> io::Result<Holds> {
    let mut holds = Holds::Nothing;
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        if OURS.iter().any(|ours| name == OsStr::new(ours)) {
            return Ok(Holds::State);
        }
        // That is in a fresh file system.
        if name != "lost+found" {
            holds = Holds::OtherThings;
        }
    }
    Ok(holds)
}

fn close_all(dir: &Path, depth: usize, opened: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let (path, kind) = (entry.path(), entry.file_type()?);
        if kind.is_symlink() {
            let message = format!(
                "{} is a link; nothing is written through one",
                path.display()
            );
            return Err(io::Error::other(message));
        } else if kind.is_dir() && entry.file_name() != "lost+found" {
            if depth == 0 {
                let message = format!("{} lies deeper than anything of ours", path.display());
                return Err(io::Error::other(message));
            }
            close(&path, DIR_MODE, opened)?;
            close_all(&path, depth - 1, opened)?;
        } else if kind.is_file() {
            close(&path, FILE_MODE, opened)?;
        }
    }
    Ok(())
}

/// Gives the owner's own rights back, whoever took them away.
fn admit(path: &Path, own: u32) -> io::Result<()> {
    let now = mode(path)?;
    if now & own != own {
        fs::set_permissions(path, Permissions::from_mode(now & 0o7777 | own))?;
    }
    Ok(())
}

/// Takes others' rights away, if they have any.
fn close(path: &Path, own: u32, opened: &mut Vec<PathBuf>) -> io::Result<()> {
    admit(path, own)?;
    if mode(path)? & OTHERS != 0 {
        fs::set_permissions(path, Permissions::from_mode(own))?;
        opened.push(path.to_owned());
    }
    Ok(())
}

fn mode(path: &Path) -> io::Result<u32> {
    Ok(fs::metadata(path)?.permissions().mode())
}

/// Makes the directory, or takes others' access to it away.
pub fn make_private(dir: &Path) -> io::Result<()> {
    // Also those above it that are made with it have a name that a power cut could take.
    let named = |path: &&Path| !path.as_os_str().is_empty();
    let above = dir.ancestors().filter(named);
    let new: Vec<&Path> = above.take_while(|path| !path.is_dir()).collect();
    if !new.is_empty() {
        DirBuilder::new()
            .recursive(true)
            .mode(DIR_MODE)
            .create(dir)?;
    }
    for path in new {
        let parent = path.parent().filter(named);
        sync(parent.unwrap_or(Path::new(".")))?;
    }
    if mode(dir)? & OTHERS != 0 {
        fs::set_permissions(dir, Permissions::from_mode(DIR_MODE))?;
    }
    Ok(())
}

/// Renames what has this name in a directory and cannot be used, and removes the oldest of those set aside before.
/// Answers where it is kept.
pub fn set_aside(dir: &Path, name: &str, now: DateTime<Utc>) -> io::Result<PathBuf> {
    const INFIX: &str = ".corrupt-";
    let mut kept = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let own = path.file_name().and_then(|own| own.to_str());
        if own.is_some_and(|own| own.starts_with(&format!("{name}{INFIX}"))) {
            kept.push(path);
        }
    }
    // The names carry the time, so that they sort by age.
    kept.sort_unstable();
    for old in kept.iter().rev().skip(KEPT_ASIDE - 1) {
        match old.is_dir() {
            true => fs::remove_dir_all(old)?,
            false => fs::remove_file(old)?,
        }
    }
    let stamp = now.format("%Y%m%dT%H%M%S%3fZ");
    let mut aside = dir.join(format!("{name}{INFIX}{stamp}"));
    let mut again = 0;
    while aside.exists() && again < KEPT_ASIDE {
        again += 1;
        aside = dir.join(format!("{name}{INFIX}{stamp}-{again}"));
    }
    fs::rename(dir.join(name), &aside)?;
    if aside.is_dir() {
        fs::set_permissions(&aside, Permissions::from_mode(DIR_MODE))?;
    }
    sync(dir)?;
    Ok(aside)
}

/// Returns when the directory's names are on stable storage.
pub fn sync(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn lax(path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_lax_state_directory_is_closed_with_all_that_is_in_it() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("new/state");
        assert!(make_own(&state).unwrap().is_empty());
        assert_eq!(mode(&state).unwrap() & 0o777, DIR_MODE);
        let journal = state.join("journal");
        fs::create_dir(&journal).unwrap();
        let (segment, private) = (journal.join("1.seg"), state.join("STATE"));
        for path in [&segment, &private] {
            fs::write(path, "x").unwrap();
        }
        lax(&private, 0o600);
        lax(&segment, 0o644);
        lax(&journal, 0o755);
        lax(&state, 0o750);
        assert_eq!(
            make_own(&state).unwrap(),
            [state.clone(), journal.clone(), segment.clone()]
        );
        for (path, own) in [
            (&state, DIR_MODE),
            (&journal, DIR_MODE),
            (&segment, FILE_MODE),
        ] {
            assert_eq!(mode(path).unwrap() & 0o777, own, "{path:?}");
        }
        assert!(make_own(&state).unwrap().is_empty());
    }

    #[test]
    fn rights_that_the_owner_lacks_are_given_back() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        let (journal, segment) = (state.join("journal"), state.join("journal/1.seg"));
        fs::create_dir_all(&journal).unwrap();
        fs::write(&segment, "x").unwrap();
        for path in [&segment, &journal, &state] {
            lax(path, 0);
        }
        assert!(
            make_own(&state).unwrap().is_empty(),
            "nobody else could enter"
        );
        for (path, own) in [
            (&state, DIR_MODE),
            (&journal, DIR_MODE),
            (&segment, FILE_MODE),
        ] {
            assert_eq!(mode(path).unwrap() & 0o777, own, "{path:?}");
        }
    }

    #[test]
    fn somebody_elses_directory_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        lax(dir.path(), 0o755);
        let other = dir.path().join("photo.jpg");
        fs::write(&other, "x").unwrap();
        lax(&other, 0o644);
        let refused = make_own(dir.path()).unwrap_err().to_string();
        assert!(refused.contains("other things"), "{refused}");
        assert!(!refused.contains("  "), "{refused}");
        assert_eq!(mode(dir.path()).unwrap() & 0o777, 0o755);
        assert_eq!(mode(&other).unwrap() & 0o777, 0o644);
        fs::remove_file(&other).unwrap();
        assert!(make_own(dir.path()).unwrap().is_empty());
        assert_eq!(mode(dir.path()).unwrap() & 0o777, DIR_MODE);
    }

    #[test]
    fn a_link_in_it_is_refused_and_what_it_leads_to_is_untouched() {
        let dir = tempfile::tempdir().unwrap();
        let (state, outside) = (dir.path().join("state"), dir.path().join("outside"));
        fs::create_dir_all(state.join("journal")).unwrap();
        fs::write(&outside, "x").unwrap();
        lax(&outside, 0o644);
        symlink(&outside, state.join("journal/2.seg")).unwrap();
        let refused = make_own(&state).unwrap_err().to_string();
        assert!(refused.contains("2.seg is a link"), "{refused}");
        assert_eq!(mode(&outside).unwrap() & 0o777, 0o644);
    }
}

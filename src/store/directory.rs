//! Directories for the owner only, whose names are on stable storage.
//!
//! State holds personal data, so nobody else on the machine may look. A file that was synced is not
//! safe before its directory is: a power cut may take the name.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

/// Read, write and enter for the owner.
const DIR_MODE: u32 = 0o700;

/// Makes the directory, or takes others' access to it away.
pub fn make_private(dir: &Path) -> io::Result<()> {
    if !dir.is_dir() {
        DirBuilder::new()
            .recursive(true)
            .mode(DIR_MODE)
            .create(dir)?;
        if let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            sync(parent)?;
        }
    }
    if fs::metadata(dir)?.permissions().mode() & 0o077 != 0 {
        fs::set_permissions(dir, Permissions::from_mode(DIR_MODE))?;
    }
    Ok(())
}

/// Returns when the directory's names are on stable storage.
pub fn sync(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

//! How much room the file system of a directory has, in bytes and in files, and how much is not for deliveries.
//!
//! Knows numbers, no files. The last of the room is kept for what lets work go on: verdicts, which give
//! segments back, the derived state, `STATE`. A journal that took it all could never be emptied again.

use std::io;
use std::path::Path;

/// The most that is kept back, in bytes: sixteen of sled's segments.
const MOST_KEPT: u64 = 8 * 1024 * 1024;
/// The part of a small file system that is kept back: one in so many.
const KEPT_PART: u64 = 16;
/// The least with which a start is tried, in bytes: sled writes while it opens.
const TO_START: u64 = 128 * 1024;
/// A person should know when less than this is left, in bytes, and less than a tenth.
const SCARCE: u64 = 1024 * 1024 * 1024;
/// The least number of new files with which a start is tried: a segment, `STATE`, what sled puts aside.
const FILES_TO_START: u64 = 16;
/// A person should know when fewer new files than this can be made, and fewer than a tenth.
const FILES_SCARCE: u64 = 1000;

/// The room of a file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// What we may still take, in bytes.
    pub available: u64,
    /// All of it. Zero where the file system does not say; then there is always room.
    pub total: u64,
    /// New files that can still be made.
    pub files: u64,
    /// All that there can be. Zero where the file system has no such bound, or does not say.
    pub total_files: u64,
}

impl Room {
    /// The room where this directory lies.
    pub fn at(dir: &Path) -> io::Result<Room> {
        let found = rustix::fs::statvfs(dir)?;
        Ok(Room {
            available: found.f_bavail.saturating_mul(found.f_frsize),
            total: found.f_blocks.saturating_mul(found.f_frsize),
            files: found.f_favail,
            total_files: found.f_files,
        })
    }

    /// True if deliveries have to be refused.
    pub fn is_kept_back(self) -> bool {
        self.total > 0 && self.available < self.kept()
    }

    /// True if there is enough to start anew what a full disk has stopped.
    pub fn is_back(self) -> bool {
        !self.lacks_files() && (self.total == 0 || self.available >= 2 * self.kept())
    }

    /// True if too little is left to open the state.
    pub fn is_none(self) -> bool {
        self.lacks_files() || self.total > 0 && self.available < TO_START.min(self.kept())
    }

    /// True if a person should make room before it is too late.
    pub fn is_scarce(self) -> bool {
        let part = |left, all, scarce| all > 0 && left < scarce && left < all / 10;
        part(self.available, self.total, SCARCE) || part(self.files, self.total_files, FILES_SCARCE)
    }

    fn lacks_files(self) -> bool {
        self.total_files > 0 && self.files < FILES_TO_START
    }

    fn kept(self) -> u64 {
        MOST_KEPT.min(self.total / KEPT_PART)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;

    fn room(available: u64, total: u64) -> Room {
        Room {
            available,
            total,
            files: 0,
            total_files: 0,
        }
    }

    #[test]
    fn the_last_of_the_room_is_kept_back_on_small_and_on_large_disks() {
        assert!(room(MIB - 1, 16 * MIB).is_kept_back());
        assert!(!room(MIB, 16 * MIB).is_kept_back());
        assert!(!room(MIB, 16 * MIB).is_back());
        assert!(room(2 * MIB, 16 * MIB).is_back());
        assert!(room(8 * MIB - 1, 1_000_000 * MIB).is_kept_back());
        assert!(!room(8 * MIB, 1_000_000 * MIB).is_kept_back());
        assert!(room(1000, 16 * MIB).is_none());
        assert!(!room(TO_START, 16 * MIB).is_none());
    }

    #[test]
    fn a_file_system_that_does_not_say_has_room() {
        let silent = room(0, 0);
        assert!(!silent.is_kept_back() && !silent.is_none() && !silent.is_scarce());
        assert!(silent.is_back());
    }

    #[test]
    fn a_person_is_told_by_part_and_by_number() {
        assert!(room(MIB, 16 * MIB).is_scarce());
        assert!(!room(2 * MIB, 16 * MIB).is_scarce());
        assert!(!room(20_000 * MIB, 1_000_000 * MIB).is_scarce());
    }

    #[test]
    fn a_file_system_may_have_room_and_take_no_new_file() {
        let with = |files, total_files| Room {
            files,
            total_files,
            ..room(100 * MIB, 100 * MIB)
        };
        for (room, none, scarce) in [
            (with(0, 10_000), true, true),
            (with(15, 10_000), true, true),
            (with(16, 10_000), false, true),
            (with(999, 10_000), false, true),
            (with(1_000, 10_000), false, false),
            (with(20, 100), false, false),
        ] {
            assert_eq!(
                (room.is_none(), room.is_scarce()),
                (none, scarce),
                "{room:?}"
            );
            assert_eq!(room.is_back(), !none, "{room:?}");
            assert!(!room.is_kept_back(), "{room:?}");
        }
    }

    #[test]
    fn the_room_of_a_directory_can_be_asked_for() {
        let room = Room::at(Path::new("/")).unwrap();
        assert!(room.total > 0 && room.available <= room.total);
    }
}

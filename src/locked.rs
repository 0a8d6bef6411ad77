//! Memory that is not written to swap.
//!
//! A key that must not outlive the process lies on a page of its own, which the kernel keeps in memory. Its type
//! overwrites it when it is dropped; only then may the page be swapped out again.

use region::LockGuard;
use tracing::warn;

/// Fills pages, so that unlocking one value's does not unlock another's with it: locks do not add up. Where the kernel's
/// pages are larger than these, two may share one, and who goes first unlocks it for both.
#[repr(align(4096))]
struct Page<T>(T);

/// A value on pages of its own that are not swapped out, for as long as it lives.
///
/// Where the kernel does not allow that (`RLIMIT_MEMLOCK`), it is said in the log, and the value is kept as any other.
pub struct Locked<T> {
    // Dropped first: overwritten while its page is still locked.
    value: Box<Page<T>>,
    _lock: Option<LockGuard>,
}

impl<T> Locked<T> {
    /// Moves a value there. What it left behind where it was made is the maker's business.
    pub fn new(value: T) -> Locked<T> {
        let value = Box::new(Page(value));
        let lock = region::lock(&raw const *value, size_of::<Page<T>>());
        if let Err(error) = &lock {
            warn!(%error, "a key's memory cannot be locked and may be swapped out; raise LimitMEMLOCK=");
        }
        Locked {
            value,
            _lock: lock.ok(),
        }
    }
}

impl<T> std::ops::Deref for Locked<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether the kernel keeps what lies here in memory.
    fn is_locked(at: usize) -> bool {
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let mut here = false;
        for line in maps.lines() {
            let first = line.split(' ').next().unwrap();
            if let Some((from, to)) = first.split_once('-') {
                let number = |text| usize::from_str_radix(text, 16).unwrap();
                here = (number(from)..number(to)).contains(&at);
            } else if here && first == "VmFlags:" {
                return line.split(' ').any(|flag| flag == "lo");
            }
        }
        panic!("nothing lies at {at:x}");
    }

    fn address<T>(locked: &Locked<T>) -> usize {
        (&raw const **locked).addr()
    }

    #[test]
    fn a_value_is_locked_for_as_long_as_it_lives_and_alone() {
        let (one, other) = (Locked::new([1_u8; 32]), Locked::new([2_u8; 32]));
        assert!(address(&one).is_multiple_of(4096));
        assert!(is_locked(address(&one)) && is_locked(address(&other)));
        let beside = Box::new([3_u8; 32]);
        assert!(!is_locked((&raw const *beside).addr()));
        let there = address(&one);
        drop(one);
        assert!(!is_locked(there));
        assert!(is_locked(address(&other)));
        assert_eq!(*other, [2; 32]);
    }
}

//! The chain of entries: each names the hash of the one before it.
//!
//! Pure. The hash of an entry is BLAKE3 over its line without the end of the line, as it is before it is
//! encrypted, so that whoever has the lines can check them with other tools. Promises: an entry that was changed,
//! left out, put elsewhere or added is found, and named; and so are entries missing at the end, as far as somebody
//! noted where the end was. Whoever rewrites all from some entry on, and that note, is found only by a hash that
//! was kept elsewhere.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The hash of an entry.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Hash([u8; 32]);

impl Hash {
    /// What the first entry names.
    pub const NONE: Hash = Hash([0; 32]);

    /// Of a line without its end.
    pub fn of(line: &[u8]) -> Hash {
        Hash(blake3::hash(line).into())
    }

    fn parse(text: &str) -> Option<Hash> {
        blake3::Hash::from_hex(text)
            .ok()
            .map(|hash| Hash(hash.into()))
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(blake3::Hash::from_bytes(self.0).to_hex().as_str())
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Hash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(blake3::Hash::from_bytes(self.0).to_hex().as_str())
    }
}

impl<'de> Deserialize<'de> for Hash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Hash::parse(&text).ok_or_else(|| de::Error::custom("not a hash"))
    }
}

/// An entry by its number and its hash. Number 0: before the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// Its number.
    pub n: u64,
    /// Its hash.
    pub hash: Hash,
}

impl Link {
    /// Before the first entry.
    pub const NONE: Link = Link {
        n: 0,
        hash: Hash::NONE,
    };
}

/// What of an entry the chain is made of.
#[derive(Debug, Deserialize)]
pub struct Joint {
    /// Its number.
    pub n: u64,
    /// The hash of the one before it.
    pub prev: Hash,
}

impl Joint {
    /// That of a line without its end.
    pub fn of(line: &[u8]) -> Option<Joint> {
        serde_json::from_slice(line).ok()
    }
}

/// What is noted beside the entries: which were removed by age, and where the end was when it was last synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marks {
    /// The last entry that was removed to make room.
    pub removed: Link,
    /// The last entry that is on stable storage for certain.
    pub tail: Link,
}

impl Marks {
    /// Of a log without entries.
    pub const NONE: Marks = Marks {
        removed: Link::NONE,
        tail: Link::NONE,
    };
}

/// Where the chain breaks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Break {
    /// The entry.
    pub n: u64,
    /// What is wrong with it, in words.
    pub problem: String,
}

/// Goes along the chain.
#[derive(Clone, Copy, Debug)]
pub struct Walk {
    last: Link,
    tail: Link,
    /// Entries that were found good.
    pub entries: u64,
}

impl Walk {
    /// Begins behind what was removed.
    pub fn new(marks: Marks) -> Walk {
        Walk {
            last: marks.removed,
            tail: marks.tail,
            entries: 0,
        }
    }

    /// The last entry that was found good.
    pub fn last(&self) -> Link {
        self.last
    }

    /// The next line, without its end.
    ///
    /// # Errors
    /// Where the chain breaks; nothing can be said of what follows.
    pub fn step(&mut self, line: &[u8]) -> Result<(), Break> {
        let next = self.last.n + 1;
        let Some(Joint { n, prev }) = Joint::of(line) else {
            return Err(broken(next, "it cannot be read"));
        };
        if n > next {
            let problem = format!("it is missing; what stands there is entry {n}");
            return Err(broken(next, &problem));
        }
        if n < next {
            let problem = format!("entry {n} stands in its place, which was there before");
            return Err(broken(next, &problem));
        }
        if prev != self.last.hash {
            return Err(match self.last.n {
                0 => broken(n, "it names an entry before it, and there is none"),
                last => broken(last, "it is not the entry that the next one names"),
            });
        }
        self.last = Link {
            n,
            hash: Hash::of(line),
        };
        if n == self.tail.n && self.last.hash != self.tail.hash {
            return Err(broken(n, "it is not the entry that was noted as the end"));
        }
        self.entries += 1;
        Ok(())
    }

    /// No line follows.
    ///
    /// # Errors
    /// Entries are missing at the end.
    pub fn end(&self) -> Result<(), Break> {
        if self.last.n >= self.tail.n {
            return Ok(());
        }
        let problem = format!("it is missing, and all up to {}", self.tail.n);
        Err(broken(self.last.n + 1, &problem))
    }
}

fn broken(n: u64, problem: &str) -> Break {
    Break {
        n,
        problem: problem.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn chain(entries: u64) -> Vec<Vec<u8>> {
        let mut last = Link::NONE;
        let mut lines = Vec::new();
        for n in 1..=entries {
            let line = format!(r#"{{"n":{n},"what":"w{n}","prev":"{}"}}"#, last.hash).into_bytes();
            last = Link {
                n,
                hash: Hash::of(&line),
            };
            lines.push(line);
        }
        lines
    }

    fn tail(lines: &[Vec<u8>]) -> Link {
        lines.last().map_or(Link::NONE, |line| Link {
            n: lines.len() as u64,
            hash: Hash::of(line),
        })
    }

    fn walk(lines: &[Vec<u8>], marks: Marks) -> Result<u64, u64> {
        let mut walk = Walk::new(marks);
        for line in lines {
            walk.step(line).map_err(|broken| broken.n)?;
        }
        walk.end().map_err(|broken| broken.n)?;
        Ok(walk.entries)
    }

    fn marks(lines: &[Vec<u8>]) -> Marks {
        Marks {
            removed: Link::NONE,
            tail: tail(lines),
        }
    }

    #[test]
    fn the_hash_is_what_other_tools_make_of_the_line() {
        let known = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262";
        assert_eq!(Hash::of(b"").to_string(), known);
        assert_eq!(Hash::parse(known), Some(Hash::of(b"")));
    }

    #[test]
    fn what_was_removed_by_age_is_no_break_and_what_was_removed_otherwise_is() {
        let lines = chain(9);
        let removed = tail(&lines[..4]);
        let pruned = Marks {
            removed,
            ..marks(&lines)
        };
        assert_eq!(walk(&lines[4..], pruned), Ok(5));
        assert_eq!(walk(&lines[5..], pruned), Err(5));
        assert_eq!(walk(&lines[4..], marks(&lines)), Err(1));
        assert_eq!(walk(&lines[..7], marks(&lines)), Err(8));
        // What came after the last sync may be there.
        assert_eq!(walk(&lines, marks(&lines[..6])), Ok(9));
    }

    proptest! {
        #[test]
        fn whatever_is_changed_is_found_where_it_was_changed(
            entries in 1_u64..30, at in 0_usize..30, what in 0..4, byte in any::<u8>(), place in any::<usize>(),
        ) {
            let sound = chain(entries);
            prop_assert_eq!(walk(&sound, marks(&sound)), Ok(entries));
            let at = at % sound.len();
            let mut lines = sound.clone();
            match what {
                0 => {
                    let place = place % lines[at].len();
                    prop_assume!(lines[at][place] != byte);
                    lines[at][place] = byte;
                }
                1 => drop(lines.remove(at)),
                2 => lines.insert(at, sound[at].clone()),
                _ => {
                    prop_assume!(at + 1 < lines.len());
                    lines.swap(at, at + 1);
                }
            }
            let found = walk(&lines, marks(&sound));
            let n = at as u64 + 1;
            // A changed name of the entry before it may be that one's fault as well.
            let near = match found {
                Err(found) => found == n || (what == 0 && found + 1 == n) || (what == 2 && found == n + 1),
                Ok(_) => false,
            };
            prop_assert!(near, "changed {} in way {}, found {:?}", n, what, found);
        }
    }
}

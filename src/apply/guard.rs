//! The ledger's verdict: is what an event says worth a call to Convex?
//!
//! Pure. Knows what was last seen of a record and how far back the ledger reaches. Promises: nothing
//! older than what was seen is written, content known to be there is not sent again, and where the
//! ledger cannot tell, Clerk is asked instead of guessed.

use crate::{
    model::{ContentHash, Outcome, Standing, Version},
    store::state::Seen,
    twin::{self, Twin},
};

/// What to do with an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Write it.
    Write,
    /// Ask Clerk what the record is like now.
    Ask(Doubt),
    /// Nothing: the record is further on.
    Stale(Why),
    /// Nothing: Convex has this content. The ledger moves on to this version.
    Unchanged,
}

/// Why an event alone is not enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// Two contents claim the same version.
    Tie,
    /// The record is not in the ledger, and the event is older than the ledger reaches.
    BeyondLedger,
}

/// Why an event is stale; goes into logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The record was deleted, and ids are not used twice.
    Deleted,
    /// A newer version was seen.
    Older,
}

impl Why {
    /// For logs and verdicts.
    pub const fn words(self) -> &'static str {
        match self {
            Why::Deleted => "the record was deleted before",
            Why::Older => "a newer version was seen before",
        }
    }
}

/// The verdict as far as it needs no content: before an event is parsed and mapped. `None`: map it.
///
/// `floor` is the newest version that the ledger has forgotten anything of.
pub fn at_a_glance(seen: Option<Seen>, floor: Version, says: Standing) -> Option<Verdict> {
    if twin::broken(Twin::NoDedupe) {
        return says.deleted.then_some(Verdict::Write);
    }
    match seen {
        Some(seen) if seen.deleted && says.deleted => Some(Verdict::Unchanged),
        Some(seen) if seen.deleted => Some(Verdict::Stale(Why::Deleted)),
        _ if says.deleted => Some(Verdict::Write),
        Some(seen) if says.version < seen.version => Some(Verdict::Stale(Why::Older)),
        None if says.version <= floor => Some(Verdict::Ask(Doubt::BeyondLedger)),
        _ => None,
    }
}

/// The verdict on an event with its mapped content.
pub fn judge(seen: Option<Seen>, floor: Version, says: Standing, hash: ContentHash) -> Verdict {
    if let Some(verdict) = at_a_glance(seen, floor, says) {
        return verdict;
    }
    if twin::broken(Twin::NoDedupe) {
        return Verdict::Write;
    }
    match seen {
        Some(seen) if seen.hash == hash => Verdict::Unchanged,
        Some(seen) if seen.version == says.version => Verdict::Ask(Doubt::Tie),
        _ => Verdict::Write,
    }
}

/// What the ledger believes to be there is sent all the same unless it is certain; see [`super::certain`].
pub fn unless_certain(verdict: Verdict, is_certain: impl FnOnce() -> bool) -> Verdict {
    match verdict {
        Verdict::Unchanged if !is_certain() => Verdict::Write,
        verdict => verdict,
    }
}

/// The verdict on what Clerk has just said. A tie is settled by it; only a reading older than what was
/// seen (a replica that lags) is not written. `insist` writes what the ledger believes to be there
/// already: somebody asked for this record, so the ledger may be wrong.
pub fn judge_fetched(
    seen: Option<Seen>,
    version: Version,
    hash: ContentHash,
    insist: bool,
) -> Verdict {
    match seen {
        Some(seen) if seen.deleted => Verdict::Write,
        Some(seen) if version < seen.version => Verdict::Stale(Why::Older),
        Some(seen) if seen.hash == hash && !insist => Verdict::Unchanged,
        _ => Verdict::Write,
    }
}

/// True if a repair that was made from this version has been overtaken: something newer was seen. That
/// the ledger knows the same content is no reason: the scan has seen that Convex holds something else.
pub fn overtaken(seen: Option<Seen>, version: Version, revive: bool) -> bool {
    match seen {
        Some(seen) if seen.deleted => !revive,
        Some(seen) => seen.version > version,
        None => false,
    }
}

/// The same for a repair that waited for its turn and would leave the record as in `own`. A deletion is never late.
pub fn is_late(known: Option<Seen>, own: Seen, revive: bool) -> bool {
    !own.deleted && overtaken(known, own.version, revive)
}

/// True if a write with this outcome leaves a row, so that those whom the row refers to have to be there too.
pub fn leaves_a_row(outcome: Outcome) -> bool {
    !matches!(
        outcome,
        Outcome::Tombstoned | Outcome::Stale | Outcome::Deleted | Outcome::Absent
    )
}

/// What Convex's answer to a write teaches the ledger; `None`: nothing, since what the ledger knows by then is
/// further on. `alone` says that this was a delivery's write: no other delivery of the record is written at the same
/// time, so a deletion that is known by then is one that it was judged against; but a repair may have been written
/// beside it, and have been answered first.
pub fn learnt(
    written: Seen,
    outcome: Outcome,
    alone: bool,
    known: impl FnOnce() -> Option<Seen>,
) -> Option<Seen> {
    let seen = match outcome {
        // The row is newer than this; by how much was not said.
        Outcome::Stale => return None,
        Outcome::Tombstoned => Seen {
            deleted: true,
            ..written
        },
        _ => written,
    };
    let further = |known: Seen| match alone {
        // A deletion counts whatever its version.
        true => !seen.deleted && known.version > seen.version,
        false => (known.deleted, known.version) > (seen.deleted, seen.version),
    };
    (!known().is_some_and(further)).then_some(seen)
}

/// True if Clerk shows a record older than its own event: a replica that lags, or one that has not heard of
/// the deletion yet.
pub fn lags(says: Option<Standing>, shown: Version) -> bool {
    says.is_some_and(|says| says.deleted || shown < says.version)
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: ContentHash = ContentHash([1; 16]);
    const B: ContentHash = ContentHash([2; 16]);

    fn alive(version: i64) -> Standing {
        Standing::alive(Version(version))
    }

    fn gone(version: i64) -> Standing {
        Standing::gone(Version(version))
    }

    fn seen(standing: Standing, hash: ContentHash) -> Option<Seen> {
        Some(Seen {
            version: standing.version,
            deleted: standing.deleted,
            hash,
        })
    }

    #[test]
    fn the_whole_table() {
        use Verdict::*;
        let floor = Version(100);
        let cases = [
            // nothing known
            (None, alive(101), A, Write),
            (None, alive(100), A, Ask(Doubt::BeyondLedger)),
            (None, alive(5), A, Ask(Doubt::BeyondLedger)),
            (None, gone(5), A, Write),
            // a living record
            (seen(alive(200), A), alive(199), B, Stale(Why::Older)),
            (seen(alive(200), A), alive(199), A, Stale(Why::Older)),
            (seen(alive(200), A), alive(200), A, Unchanged),
            (seen(alive(200), A), alive(200), B, Ask(Doubt::Tie)),
            (seen(alive(200), A), alive(201), A, Unchanged),
            (seen(alive(200), A), alive(201), B, Write),
            (seen(alive(200), A), gone(150), B, Write),
            (seen(alive(50), A), alive(60), B, Write),
            // a deleted one
            (seen(gone(200), A), alive(100), B, Stale(Why::Deleted)),
            (seen(gone(200), A), alive(300), B, Stale(Why::Deleted)),
            (seen(gone(200), A), gone(300), B, Unchanged),
        ];
        for (seen, says, hash, verdict) in cases {
            assert_eq!(judge(seen, floor, says, hash), verdict, "{seen:?} {says:?}");
        }
    }

    #[test]
    fn what_clerk_says_now_settles_a_tie_but_a_lagging_answer_does_not_go_back() {
        let known = seen(alive(200), A);
        assert_eq!(judge_fetched(known, Version(200), B, false), Verdict::Write);
        assert_eq!(
            judge_fetched(known, Version(200), A, false),
            Verdict::Unchanged
        );
        assert_eq!(judge_fetched(known, Version(200), A, true), Verdict::Write);
        assert_eq!(
            judge_fetched(known, Version(199), B, true),
            Verdict::Stale(Why::Older)
        );
        assert_eq!(judge_fetched(None, Version(1), A, false), Verdict::Write);
    }

    #[test]
    fn content_is_left_unsent_only_where_the_ledger_is_certain() {
        assert_eq!(unless_certain(Verdict::Unchanged, || false), Verdict::Write);
        let known = unless_certain(Verdict::Unchanged, || true);
        assert_eq!(known, Verdict::Unchanged);
        let stale = Verdict::Stale(Why::Older);
        assert_eq!(unless_certain(stale, || false), stale);
    }

    #[test]
    fn the_ledger_learns_what_was_written_and_never_goes_back() {
        let written = seen(alive(5), A).unwrap();
        let nothing = || None;
        assert_eq!(learnt(written, Outcome::Stale, true, nothing), None);
        for outcome in [Outcome::Created, Outcome::Unchanged] {
            assert_eq!(learnt(written, outcome, true, nothing), Some(written));
        }
        let buried = learnt(written, Outcome::Tombstoned, true, nothing);
        assert!(buried.is_some_and(|seen| seen.deleted));
        for (known, learns) in [
            (None, true),
            (seen(alive(5), B), true),
            (seen(alive(6), B), false),
            (seen(gone(1), B), false),
        ] {
            let learnt = learnt(written, Outcome::Updated, false, || known);
            assert_eq!(learnt.is_some(), learns, "{known:?}");
        }
        // A delivery's answer that comes after that of a newer repair takes nothing back.
        for (known, learns) in [(seen(alive(6), B), false), (seen(gone(1), B), true)] {
            let learnt = learnt(written, Outcome::Updated, true, || known);
            assert_eq!(learnt.is_some(), learns, "{known:?}");
        }
        let gone = Seen {
            deleted: true,
            ..written
        };
        let learnt = learnt(gone, Outcome::Deleted, true, || seen(alive(6), B));
        assert_eq!(learnt, Some(gone), "a deletion counts whatever its version");
    }

    #[test]
    fn a_repair_is_overtaken_only_by_what_is_strictly_newer() {
        for (known, version, revive, is) in [
            (None, 5, false, false),
            (seen(alive(200), A), 199, false, true),
            (seen(alive(200), A), 200, false, false),
            (seen(alive(200), A), 201, false, false),
            (seen(gone(200), A), 300, false, true),
            (seen(gone(200), A), 100, true, false),
        ] {
            let found = overtaken(known, Version(version), revive);
            assert_eq!(found, is, "{known:?} {version} {revive}");
        }
    }
}

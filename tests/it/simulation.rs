//! The core under a simulated clock, network, disk, Clerk and Convex, driven by seeds.
//!
//! A seed draws what goes wrong and how much of it, and then everything that happens; what must hold is watched
//! at every step, and at the end of every world both sides are the same. A failure prints its seed, and the seed
//! replays it: `CCS_SEED=7 cargo nextest run -E 'test(=simulation::one_seed)' --no-capture`. `make
//! soak-simulation SEEDS=100000` lives through as many worlds as wanted. The last tests break a promise in the
//! driver and want to see it found.

mod checks;
mod clerk;
mod convex;
mod daemon;
mod desk;
mod disk;
mod endings;
mod faults;
mod full;
mod gate;
mod groups;
mod judging;
mod machine;
mod network;
mod parents;
mod removing;
mod schedule;
mod sweep;
mod world;
mod writing;

use faults::Breach;
use machine::Manner;
use world::{Told, live};

/// Worlds of one run of the tests, and the tests that share them.
const SEEDS: u64 = 2_000;
const SHARES: u64 = 4;

fn number(variable: &str) -> Option<u64> {
    let value = std::env::var(variable).ok()?;
    Some(value.parse().expect("a whole number"))
}

/// Fails with all that is needed to see it again.
fn check(seed: u64, told: &Told) {
    let Some(violation) = &told.violation else {
        return;
    };
    // The words of events were not kept: the same world once more.
    let again = live(seed, None, Manner::Kept);
    panic!(
        "seed {seed}: {violation}\n{:#?}\nthe last of {} events:\n{}\nto see it all: CCS_SEED={seed} cargo nextest \
         run -E 'test(=simulation::one_seed)' --no-capture",
        again.drawn,
        again.events,
        again.trace.join("\n")
    );
}

/// Lives through one share of the worlds.
fn share(number_of: u64) {
    let seeds = number("CCS_SEEDS").unwrap_or(SEEDS);
    let first = number("CCS_FIRST_SEED").unwrap_or(1);
    let mut events = 0;
    for seed in (first..first + seeds).filter(|seed| seed % SHARES == number_of) {
        let told = live(seed, None, Manner::Silent);
        events += told.events;
        check(seed, &told);
    }
    println!("share {number_of} of {seeds} worlds: {events} events, nothing violated");
}

#[test]
fn seeds_of_the_first_share() {
    share(0);
}

#[test]
fn seeds_of_the_second_share() {
    share(1);
}

#[test]
fn seeds_of_the_third_share() {
    share(2);
}

#[test]
fn seeds_of_the_fourth_share() {
    share(3);
}

#[test]
fn one_seed() {
    let named = number("CCS_SEED");
    let seed = named.unwrap_or(1);
    let manner = match named {
        Some(_) => Manner::Aloud,
        None => Manner::Silent,
    };
    check(seed, &live(seed, None, manner));
}

#[test]
fn the_same_seed_is_the_same_world_to_the_last_event() {
    for seed in [3, 1_700, u64::MAX] {
        let one = live(seed, None, Manner::Silent);
        let other = live(seed, None, Manner::Kept);
        assert!(one.events > 50, "{} events", one.events);
        assert_eq!((one.digest, one.events), (other.digest, other.events));
    }
    let digest = |seed| live(seed, None, Manner::Silent).digest;
    assert_ne!(digest(3), digest(4));
}

/// Some world shows this breach.
fn is_found(breach: Breach) {
    for seed in 1..=SEEDS {
        let told = live(seed, Some(breach), Manner::Silent);
        if let Some(violation) = told.violation {
            return println!("{breach:?} is found by seed {seed}: {violation}");
        }
    }
    panic!("{SEEDS} worlds did not notice {breach:?}");
}

macro_rules! breaches {
    ($($name:ident $breach:ident)*) => {$(
        #[test]
        fn $name() {
            is_found(Breach::$breach);
        }
    )*};
}

breaches! {
    an_acknowledgement_before_the_sync_is_found AckBeforeSync
    a_sync_that_reaches_no_disk_is_found NoSync
    a_missing_guard_is_found NoGuard
    a_tie_that_nobody_settles_is_found NoTieCheck
    a_deletion_that_nobody_confirmed_is_found NoConfirm
    a_missing_brake_is_found NoBrake
    a_retry_without_a_wait_is_found NoBackoff
    an_outage_that_costs_attempts_is_found OutageCosts
    a_missing_circuit_is_found NoCircuit
    a_record_with_two_workers_is_found NoLease
    a_schedule_that_forgets_what_runs_is_found NoTurn
    a_start_that_takes_up_nothing_is_found NoRecovery
    a_status_taken_for_success_is_found StatusOnly
    an_entry_settled_before_the_ledger_is_kept_is_found SettleBeforeLedger
    a_tie_that_is_forgotten_is_found TiesForgotten
    a_ledger_that_is_believed_too_much_is_found TrustingLedger
    a_queue_that_keeps_the_first_is_found FirstWins
    a_membership_whose_parents_nobody_looks_for_is_found NoLook
    a_membership_that_outlives_its_organization_is_found NoCascade
}

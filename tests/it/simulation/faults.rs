//! What goes wrong in one world, and how much of it: drawn from its seed.
//!
//! About half of the faults of a world are off, so that each is met without the others too, and what one hides
//! another does not. Times are milliseconds, shares 0 to 1.

use super::machine::Machine;

/// A promise that the driver of a world breaks on purpose, to show that the world notices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Breach {
    /// A delivery is acknowledged before it is on the disk.
    AckBeforeSync,
    /// A sync reaches no disk.
    NoSync,
    /// Neither the ledger nor Convex compares versions or looks for tombstones.
    NoGuard,
    /// The ledger does not look whether two contents claim one version.
    NoTieCheck,
    /// What a listing lacks is deleted without asking about that id.
    NoConfirm,
    /// Every plan goes.
    NoBrake,
    /// A refused record is tried again at once.
    NoBackoff,
    /// An outage costs an attempt.
    OutageCosts,
    /// The circuit never opens.
    NoCircuit,
    /// A record is given out while somebody works on it.
    NoLease,
    /// The schedule forgets that a run is under way.
    NoTurn,
    /// What an earlier process had not finished is not taken up.
    NoRecovery,
    /// HTTP 200 is taken for success.
    StatusOnly,
    /// An entry is settled before its place in the ledger is on the disk.
    SettleBeforeLedger,
    /// The ledger is believed whatever became of a call or of the process.
    TrustingLedger,
    /// Of two contents of one version, one is final before Clerk was asked.
    TiesForgotten,
    /// Of two entries that wait, the one that came first is kept.
    FirstWins,
    /// Nobody looks for those whom a membership names.
    NoLook,
    /// A user's or an organization's memberships outlive it in Convex.
    NoCascade,
}

/// See the module's words.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    pub length: i64,
    pub users: i64,
    pub change_every: i64,
    pub deletions: f64,
    pub touches: f64,
    pub ties: f64,
    pub taken_back: f64,
    /// Of the changes that are taken back: told of long after that.
    pub overtaken: f64,
    pub mass_deletion: f64,
    pub lost: f64,
    pub repeated: f64,
    pub replayed: f64,
    pub slow_delivery: i64,
    pub unheard_ack: f64,
    pub foreign: f64,
    pub convex_fails: f64,
    pub convex_unheard: f64,
    pub convex_slow: i64,
    pub outage_every: i64,
    pub outage_length: i64,
    pub retry_after: bool,
    pub poison: f64,
    pub redacted: bool,
    pub clerk_fails: f64,
    pub clerk_slow: i64,
    pub lag: i64,
    pub lies: f64,
    pub crash_every: i64,
    /// Crashes where only the ledger knows something, for each such moment.
    pub crash_at_known: f64,
    pub power_cuts: f64,
    pub state_lost: f64,
    pub slow_disk: i64,
    pub tampered_every: i64,
    pub strikes_lost: f64,
    pub ledger_records: usize,
    pub concurrency: usize,
    pub batch: usize,
    pub page: usize,
    pub full_every_min: i64,
    pub sweeps: bool,
    /// Of what happens in Clerk: what concerns organizations and memberships. Zero: there are none.
    pub groups: f64,
    /// Of memberships that end with another record: of how many Clerk tells.
    pub endings_told: f64,
}

impl Faults {
    /// The world's own mixture.
    pub fn drawn(machine: &Machine) -> Faults {
        let share = |most: f64| match machine.chance(0.5) {
            true => 0.0,
            false => most * machine.luck(),
        };
        let up_to = |least, most| machine.between(least, most);
        let every = |least, most| match machine.chance(0.5) {
            true => 0,
            false => machine.between(least, most),
        };
        let length = up_to(2, 7) * 60_000;
        Faults {
            length,
            users: up_to(0, 20),
            change_every: up_to(2_000, 20_000),
            deletions: share(0.4),
            touches: share(0.5),
            ties: share(0.5),
            taken_back: share(0.7),
            overtaken: share(0.8),
            mass_deletion: share(0.2),
            lost: share(0.3),
            repeated: share(0.5),
            replayed: share(0.2),
            slow_delivery: every(10, 60_000),
            unheard_ack: share(0.3),
            foreign: share(0.1),
            convex_fails: share(0.5),
            convex_unheard: share(0.3),
            convex_slow: up_to(1, 2_000),
            outage_every: every(60_000, 300_000),
            outage_length: up_to(5_000, 120_000),
            retry_after: machine.chance(0.3),
            poison: share(0.2),
            redacted: machine.chance(0.5),
            clerk_fails: share(0.3),
            clerk_slow: up_to(1, 3_000),
            lag: every(500, 10_000),
            lies: share(0.3),
            crash_every: every(10_000, 200_000),
            crash_at_known: share(0.6),
            power_cuts: share(1.0),
            state_lost: share(0.3),
            slow_disk: up_to(0, 200),
            tampered_every: every(20_000, 100_000),
            strikes_lost: share(0.5),
            ledger_records: [4, 16, 1_000][machine.pick(3)],
            concurrency: up_to(1, 4) as usize,
            batch: up_to(1, 40) as usize,
            page: up_to(2, 12) as usize,
            full_every_min: up_to(1, 5),
            sweeps: machine.chance(0.5),
            groups: 0.0,
            endings_told: 0.0,
        }
    }

    /// The same with organizations and memberships.
    pub fn with_groups(self, machine: &Machine) -> Faults {
        Faults {
            groups: 0.2 + 0.5 * machine.luck(),
            endings_told: machine.luck(),
            ..self
        }
    }

    /// The same world after everything has been put right.
    pub fn over(&self) -> Faults {
        Faults {
            length: self.length,
            users: self.users,
            convex_slow: self.convex_slow,
            clerk_slow: self.clerk_slow,
            slow_disk: self.slow_disk,
            ledger_records: self.ledger_records,
            concurrency: self.concurrency,
            batch: self.batch,
            page: self.page,
            full_every_min: self.full_every_min,
            sweeps: self.sweeps,
            ..Faults::default()
        }
    }
}

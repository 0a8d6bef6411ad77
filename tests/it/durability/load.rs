//! A sender as Clerk has one: it repeats each delivery until it is acknowledged, and some after that.
//!
//! What it was told is the truth that the rows are held against. Each sender has users of its own, so that
//! the order of a user's events is known; which events come when is up to the dice.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use clerk_convex_sync::sandbox::convex::ConvexSim;
use tokio::task::JoinSet;

use crate::{
    hand::{Hand, new_id, user},
    soak::Dice,
    world::eventually,
};

/// Senders at once.
const SENDERS: u64 = 4;
/// How long a sender rests between two deliveries: about two hundred a second together.
const REST: Duration = Duration::from_millis(20);
/// After which time in vain it is told who waits for what.
const LONG: Duration = Duration::from_secs(20);
/// How long it waits after it was refused or cut off.
const AGAIN: Duration = Duration::from_millis(10);

/// See the module's words.
pub struct Load {
    told: Arc<Told>,
    port: u16,
    senders: JoinSet<()>,
}

#[derive(Default)]
struct Told {
    stop: AtomicBool,
    /// Even while there is power, odd from the order to cut it until the daemon is gone. An answer counts only if
    /// this was the same even number before its request and after it: what came later came from a machine that
    /// a real cut would have stopped, and its file system may say yes to a sync that it does not do.
    power: AtomicU64,
    /// When it was cut.
    cuts: Mutex<Vec<Instant>>,
    acknowledged: AtomicU64,
    repeated: AtomicU64,
    refused: AtomicU64,
    late: AtomicU64,
    late_lost: AtomicU64,
    /// What each sender is waiting for: since when, and at which attempt of a delivery.
    asking: Mutex<BTreeMap<String, (Instant, u64)>>,
    /// The newest version of each user that was acknowledged, and when.
    users: Mutex<BTreeMap<String, (i64, Instant)>>,
}

/// What differs between what was acknowledged and what is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Breach {
    /// Users without a row, or with an older one.
    pub lost: Vec<String>,
    /// Users whose row was written more often than there were events.
    pub doubled: Vec<String>,
    /// Users whose row went back to an older event.
    pub regressed: Vec<String>,
}

/// What was sent, in numbers.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sent {
    pub acknowledged: u64,
    pub repeated: u64,
    pub refused: u64,
    /// Yes was said, and not counted, for the power was being cut.
    pub late: u64,
    /// Of those, how many the next daemon knew nothing of.
    pub late_lost: u64,
}

impl Breach {
    /// True if nothing differs.
    pub fn is_none(&self) -> bool {
        *self == Breach::default()
    }

    /// In numbers.
    pub fn words(&self) -> String {
        let [lost, doubled, regressed] = [&self.lost, &self.doubled, &self.regressed].map(Vec::len);
        format!("{lost} lost, {doubled} doubled, {regressed} regressed")
    }

    /// Both.
    pub fn and(mut self, other: Breach) -> Breach {
        self.lost.extend(other.lost);
        self.doubled.extend(other.doubled);
        self.regressed.extend(other.regressed);
        self
    }
}

impl Sent {
    /// Both.
    pub fn and(self, other: Sent) -> Sent {
        Sent {
            acknowledged: self.acknowledged + other.acknowledged,
            repeated: self.repeated + other.repeated,
            refused: self.refused + other.refused,
            late: self.late + other.late,
            late_lost: self.late_lost + other.late_lost,
        }
    }
}

impl Load {
    /// Begins to send. `fillings` are the sizes of bodies beyond the usual 700 bytes.
    pub fn begin(hand: &Hand, dice: &mut Dice, name: &str, fillings: &'static [usize]) -> Load {
        let told = Arc::new(Told::default());
        let mut senders = JoinSet::new();
        for sender in 0..SENDERS {
            let (hand, told) = (hand.clone(), Arc::clone(&told));
            let mut dice = Dice::of(dice.below(u64::MAX));
            let name = format!("{name}_{sender}");
            senders.spawn(async move { send(&hand, &told, &mut dice, &name, fillings).await });
        }
        Load {
            told,
            port: hand.port(),
            senders,
        }
    }

    /// How many were acknowledged so far, repetitions not counted.
    pub fn acknowledged(&self) -> u64 {
        self.told.acknowledged.load(Ordering::Relaxed)
    }

    /// From now on no answer counts.
    pub fn power_goes(&self) {
        let before = self.told.power.fetch_add(1, Ordering::SeqCst);
        assert!(before.is_multiple_of(2), "it is gone");
        let mut cuts = self.told.cuts.lock().expect("no panic while held");
        cuts.push(Instant::now());
    }

    /// Nobody is there any more to answer: what is answered to requests from now on counts.
    pub fn power_is_gone(&self) {
        let before = self.told.power.fetch_add(1, Ordering::SeqCst);
        assert!(!before.is_multiple_of(2), "it is on");
    }

    /// How many were refused with 503 so far.
    pub fn refused(&self) -> u64 {
        self.told.refused.load(Ordering::Relaxed)
    }

    /// Waits until each delivery that was begun is acknowledged, and ends. The daemon must take them in.
    pub async fn end(mut self) -> Truth {
        self.told.stop.store(true, Ordering::Relaxed);
        let (began, mut said) = (Instant::now(), false);
        eventually("all is acknowledged", async || {
            while let Some(ended) = self.senders.try_join_next() {
                ended.expect("a sender that goes on to its end");
            }
            if began.elapsed() > LONG && !std::mem::replace(&mut said, true) {
                self.told.say_who_waits(self.port);
            }
            self.senders.is_empty()
        })
        .await;
        let users = std::mem::take(&mut *self.told.users.lock().expect("no panic while held"));
        let cuts = std::mem::take(&mut *self.told.cuts.lock().expect("no panic while held"));
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Truth {
            users,
            cuts,
            sent: Sent {
                acknowledged: load(&self.told.acknowledged),
                repeated: load(&self.told.repeated),
                refused: load(&self.told.refused),
                late: load(&self.told.late),
                late_lost: load(&self.told.late_lost),
            },
        }
    }
}

impl Told {
    fn asks(&self, sender: &str, attempt: Option<u64>) {
        let mut asking = self.asking.lock().expect("no panic while held");
        match attempt {
            Some(attempt) => asking.insert(sender.to_owned(), (Instant::now(), attempt)),
            None => asking.remove(sender),
        };
    }

    /// What a sender that has no answer is waiting for, and what the kernel knows of its connection.
    fn say_who_waits(&self, port: u16) {
        let asking = self.asking.lock().expect("no panic while held");
        for (sender, (since, attempt)) in &*asking {
            let since = since.elapsed();
            println!("{sender} has waited for {since:?} at attempt {attempt}");
        }
        let sockets = std::fs::read_to_string("/proc/net/tcp").unwrap_or_default();
        let port = format!(":{port:04X} ");
        let sockets = sockets.lines().filter(|socket| socket.contains(&port));
        sockets.for_each(|socket| println!("{socket}"));
    }
}

/// What a load was told.
pub struct Truth {
    users: BTreeMap<String, (i64, Instant)>,
    cuts: Vec<Instant>,
    pub sent: Sent,
}

impl Truth {
    /// Holds it against the rows. The queue must be empty.
    pub fn breach(&self, convex: &ConvexSim) -> Breach {
        let mut names = BTreeMap::new();
        for row in convex.rows("users") {
            let (key, name) = (row["clerkId"].as_str(), row["name"].as_str());
            if let (Some(key), Some(name)) = (key, name) {
                names.insert(key.to_owned(), name.to_owned());
            }
        }
        let mut written: BTreeMap<String, i64> = BTreeMap::new();
        for commit in convex.commits(0, usize::MAX) {
            if commit.table == "users" {
                *written.entry(commit.key.to_string()).or_default() += 1;
            }
        }
        let mut breach = Breach::default();
        for (key, (version, at)) in &self.users {
            let row = names.get(key).and_then(|name| version_of(name));
            let times = written.get(key).copied().unwrap_or(0);
            let lost = || format!("{key}, version {version}, {}", self.moment(*at));
            if row.is_none() {
                breach.lost.push(lost());
            } else if row < Some(*version) {
                // Whoever wrote as often as there were events and holds an older one went back.
                match times >= *version {
                    true => breach.regressed.push(key.clone()),
                    false => breach.lost.push(lost()),
                }
            }
            if times > *version {
                breach.doubled.push(key.clone());
            }
        }
        breach
    }

    /// When something was acknowledged, beside the cuts of power.
    fn moment(&self, at: Instant) -> String {
        match self.cuts.iter().position(|cut| *cut > at) {
            Some(n) => format!(
                "acknowledged {:?} before cut {n} of this epoch",
                self.cuts[n] - at
            ),
            None => "acknowledged after the last cut".into(),
        }
    }
}

fn name_of(version: i64) -> String {
    format!("Ada{version}")
}

fn version_of(name: &str) -> Option<i64> {
    name.strip_prefix("Ada")?.split(' ').next()?.parse().ok()
}

/// One delivery, as it will be repeated.
struct Delivery {
    id: String,
    body: Vec<u8>,
}

impl Delivery {
    fn new(user_id: &str, version: i64, filling: usize) -> Delivery {
        let kind = match version {
            1 => "user.created",
            _ => "user.updated",
        };
        let mut event = user(kind, user_id, version, &name_of(version));
        if filling > 0 {
            event["data"]["private_metadata"]["filling"] = "x".repeat(filling).into();
        }
        Delivery {
            id: new_id(),
            body: event.to_string().into_bytes(),
        }
    }
}

async fn send(hand: &Hand, told: &Told, dice: &mut Dice, name: &str, fillings: &[usize]) {
    // The newest version of each user, and some deliveries to repeat.
    let mut users: Vec<(String, i64)> = Vec::new();
    let mut done: Vec<Delivery> = Vec::new();
    while !told.stop.load(Ordering::Relaxed) {
        tokio::time::sleep(REST).await;
        if dice.percent(10) && !done.is_empty() {
            until_taken(hand, told, name, dice.one(&done)).await;
            told.repeated.fetch_add(1, Ordering::Relaxed);
            continue;
        }
        if dice.percent(60) || users.is_empty() {
            users.push((format!("user_{name}_{}", users.len()), 0));
        }
        let at = usize::try_from(dice.below(users.len() as u64)).expect("below a length");
        // Mostly the one that has just come.
        let at = if dice.percent(60) {
            users.len() - 1
        } else {
            at
        };
        let (user, version) = &mut users[at];
        *version += 1;
        let filling = if fillings.is_empty() {
            0
        } else {
            *dice.one(fillings)
        };
        let delivery = Delivery::new(user, *version, filling);
        let taken = until_taken(hand, told, name, &delivery).await;
        told.acknowledged.fetch_add(1, Ordering::Relaxed);
        let mut known = told.users.lock().expect("no panic while held");
        known.insert(user.clone(), (*version, taken));
        drop(known);
        if done.len() < 50 {
            done.push(delivery);
        } else if dice.percent(20) {
            let at = usize::try_from(dice.below(50)).expect("below fifty");
            done[at] = delivery;
        }
    }
}

/// Repeats a delivery until it is taken in, and says when that was.
async fn until_taken(hand: &Hand, told: &Told, name: &str, delivery: &Delivery) -> Instant {
    let mut late = false;
    let mut attempt = 0;
    loop {
        attempt += 1;
        told.asks(name, Some(attempt));
        let power = told.power.load(Ordering::SeqCst);
        let answer = hand.try_post(&delivery.id, delivery.body.clone()).await;
        let at = Instant::now();
        let counts = power.is_multiple_of(2) && told.power.load(Ordering::SeqCst) == power;
        match answer {
            Ok(answer) if !counts => {
                let first = answer.status == 200 && !late;
                told.late.fetch_add(first.into(), Ordering::Relaxed);
                late |= first;
            }
            Ok(answer) if answer.status == 200 => {
                let lost = late && answer.text == "stored\n";
                told.late_lost.fetch_add(lost.into(), Ordering::Relaxed);
                told.asks(name, None);
                return at;
            }
            Ok(answer) if answer.status == 503 => {
                assert!(answer.retry_after.is_some(), "{answer:?}");
                told.refused.fetch_add(1, Ordering::Relaxed);
            }
            Ok(answer) => panic!("{answer:?}"),
            // Nobody is there: killed, or not started yet.
            Err(_) => {}
        }
        tokio::time::sleep(AGAIN).await;
    }
}

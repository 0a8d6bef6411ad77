//! Signing secrets that are rotated under load (G12): no valid delivery is refused, and a withdrawn one is.
//!
//! The sender signs as Svix does: with the endpoint's own secret first, then with those it still honours, up to
//! eleven at once. The daemon learns of each new secret by SIGHUP or by a restart, which no sender takes for a
//! refusal. `CCS_SOAK_ROTATIONS` is how often the secret is rotated.

use std::{
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use clerk_convex_sync::sandbox::clerk::DEFAULT_WEBHOOK_SECRET;
use rustix::process::Signal;
use tokio::task::JoinSet;

use crate::{
    hand::{Hand, created, new_id},
    measure::size,
    process::System,
    world::eventually,
};

const SENDERS: usize = 4;
/// Secrets that a sender signs with at once: its own and ten old ones.
const SIGNATURES: usize = 11;
const REFUSED: &str = "reload_refused";
const ROTATED: &str = "secret_rotated";

fn secret(number: usize) -> String {
    match number {
        0 => DEFAULT_WEBHOOK_SECRET.to_owned(),
        n => format!(
            "whsec_{}",
            STANDARD.encode(format!("signing-key-number-{n:013}"))
        ),
    }
}

/// A sender of many deliveries, whose secrets change while it goes on.
struct Sender {
    /// Newest first.
    secrets: Arc<Mutex<Vec<String>>>,
    over: Arc<AtomicBool>,
    taken: Arc<AtomicUsize>,
    lanes: JoinSet<()>,
}

impl Sender {
    fn start(hand: &Hand) -> Sender {
        let mut sender = Sender {
            secrets: Arc::new(Mutex::new(vec![secret(0)])),
            over: Arc::default(),
            taken: Arc::default(),
            lanes: JoinSet::new(),
        };
        for lane in 0..SENDERS {
            let (hand, secrets) = (hand.clone(), Arc::clone(&sender.secrets));
            let (over, taken) = (Arc::clone(&sender.over), Arc::clone(&sender.taken));
            sender.lanes.spawn(async move {
                for n in 0.. {
                    if over.load(Ordering::Relaxed) {
                        return;
                    }
                    let body = created(&format!("user_{lane}_{n}"), 1, "Ada").to_string();
                    deliver(&hand, &secrets, body.into_bytes()).await;
                    taken.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        sender
    }

    /// From now on signed with this one first, and with the last ten before it.
    fn rotate(&self, to: String) {
        let mut secrets = self.secrets.lock().expect("no panic while held");
        secrets.insert(0, to);
        secrets.truncate(SIGNATURES);
    }

    async fn goes_on(&self) {
        let before = self.taken.load(Ordering::Relaxed);
        eventually("deliveries go on", async || {
            self.taken.load(Ordering::Relaxed) > before + 20
        })
        .await;
    }

    async fn end(self) -> usize {
        self.over.store(true, Ordering::Relaxed);
        self.lanes.join_all().await;
        self.taken.load(Ordering::Relaxed)
    }
}

/// Delivers one message as a sender does: again while nobody answers, signed anew.
async fn deliver(hand: &Hand, secrets: &Mutex<Vec<String>>, body: Vec<u8>) {
    const TRIES: usize = 3_000;
    let id = new_id();
    for _ in 0..TRIES {
        let now = secrets.lock().expect("no panic while held").clone();
        let now: Vec<&str> = now.iter().map(String::as_str).collect();
        match hand.signing_with(&now).try_post(&id, body.clone()).await {
            Ok(answer) if answer.status == 200 => return,
            // It is ending, or not there yet.
            Ok(answer) => assert_eq!(answer.status, 503, "{answer:?}"),
            Err(_) => {}
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("nobody takes it in");
}

fn write(file: &Path, secrets: &[String]) {
    std::fs::write(file, secrets.join("\n")).expect("written");
}

/// What a delivery signed with this secret is answered; 0 when a connection from before a restart has ended.
async fn status(hand: &Hand, secret: &str) -> u16 {
    let hand = hand.signing_with(&[secret]);
    let body = created("user_probe", 1, "Ada").to_string().into_bytes();
    let answer = hand.try_post(&new_id(), body).await;
    answer.map_or(0, |answer| answer.status)
}

#[tokio::test(flavor = "multi_thread")]
async fn g12_rotations_under_load_refuse_nothing_that_is_valid_and_everything_withdrawn() {
    let rotations = size("ROTATIONS", 3);
    let file = tempfile::NamedTempFile::new().expect("a file");
    let path = file.path().display().to_string();
    write(file.path(), &[secret(0)]);
    let mut system = System::with(&[
        ("CLERK_WEBHOOK_SECRET", ""),
        ("CLERK_WEBHOOK_SECRET_FILE", &path),
    ])
    .await;
    // Ten that were used before, so that the list is as long as it gets.
    let hand = system.hand();
    let sender = Sender::start(&hand);
    for old in (1..SIGNATURES).rev() {
        let mut secrets = sender.secrets.lock().expect("no panic while held");
        secrets.push(secret(1_000 + old));
    }
    sender.goes_on().await;
    let reloaded = async |system: &mut System, by_restart: bool| {
        if by_restart {
            assert_eq!(system.terminate().await, 0);
            system.start_daemon().await;
        } else {
            system.signal(Signal::HUP);
        }
    };
    for number in 1..=rotations {
        let (old, new) = (secret(number - 1), secret(number));
        assert_eq!(status(&hand, &new).await, 401);
        write(file.path(), &[old.clone(), new.clone()]);
        reloaded(&mut system, number % 2 == 0).await;
        eventually("the new secret counts", async || {
            status(&hand, &new).await == 200
        })
        .await;
        sender.rotate(new.clone());
        sender.goes_on().await;
        write(file.path(), std::slice::from_ref(&new));
        reloaded(&mut system, number % 2 == 1).await;
        eventually("the old secret is withdrawn", async || {
            status(&hand, &old).await == 401
        })
        .await;
        sender.goes_on().await;
    }
    let taken = sender.end().await;
    println!(
        "G12: {rotations} rotations by signal and by restart, {SIGNATURES} signatures at once; {taken} deliveries \
         signed by then, none refused; each withdrawn secret refused"
    );
    system.door().idle().await;
    let delivered = system.convex.count("users");
    assert_eq!(delivered, taken + 1, "and the one that was used to ask");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_file_keeps_what_was_in_force_and_a_secret_that_nobody_configured_is_told_of() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let path = file.path().display().to_string();
    write(file.path(), &[secret(0)]);
    let system = System::with(&[
        ("CLERK_WEBHOOK_SECRET", ""),
        ("CLERK_WEBHOOK_SECRET_FILE", &path),
    ])
    .await;
    let hand = system.hand();
    let raised = async |code: &str| system.door().alerts().await.contains(&code.to_owned());
    for bad in ["", "planted nonsense", "whsec_", "whsec_%%%"] {
        std::fs::write(file.path(), bad).expect("written");
        let before = system.log.count("the configuration was not reloaded");
        system.signal(Signal::HUP);
        eventually("the mistake is in the log", async || {
            system.log.count("the configuration was not reloaded") > before
        })
        .await;
        eventually("it is raised", async || raised(REFUSED).await).await;
        assert_eq!(status(&hand, &secret(0)).await, 200, "{bad}");
    }
    assert_eq!(system.log.count("planted nonsense"), 0);
    // The sender has rotated and nobody has told the daemon.
    let both = hand.signing_with(&[&secret(1), &secret(0)]);
    both.say(&created("user_probe", 1, "Ada")).await;
    assert!(raised(ROTATED).await);
    write(file.path(), &[secret(1), secret(0)]);
    system.signal(Signal::HUP);
    eventually("the reload succeeds", async || !raised(REFUSED).await).await;
    both.say(&created("user_probe", 1, "Ada")).await;
    assert!(!raised(ROTATED).await);
}

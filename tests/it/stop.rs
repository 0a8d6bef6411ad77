//! Clean ends and changes while running: SIGTERM, SIGHUP, and a second process on the same state.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use clerk_convex_sync::sandbox::clerk::DEFAULT_WEBHOOK_SECRET;
use rustix::process::Signal;
use tokio::task::JoinSet;

use crate::{
    hand::{created, new_id},
    process::System,
    world::eventually,
};

/// Senders at once.
const SENDERS: usize = 8;
/// The secret that replaces the old one.
const NEXT: &str = "whsec_bmV4dC1zaWduaW5nLWtleS0wMDAwMDAwMDAwMDE=";

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_under_load_ends_with_0_and_everything_acknowledged_is_applied_after_the_restart() {
    let mut system = System::start().await;
    // Slow enough that work is in hand and more is waiting when the signal comes.
    system
        .convex
        .set_latency(std::time::Duration::from_millis(50));
    let mut senders = JoinSet::new();
    for sender in 0..SENDERS {
        let hand = system.hand();
        senders.spawn(async move {
            let (mut acknowledged, mut refused) = (Vec::new(), 0);
            for n in 0.. {
                let user = format!("user_{sender}_{n}");
                let body = created(&user, 1, "Ada").to_string().into_bytes();
                match hand.try_post(&new_id(), body).await {
                    Ok(answer) if answer.status == 200 => acknowledged.push(user),
                    // A daemon that is ending may say so; it may say nothing else.
                    Ok(answer) if answer.status == 503 => refused += 1,
                    Ok(answer) => panic!("{answer:?}"),
                    Err(_) => break,
                }
                assert!(refused < 10_000, "it refuses, but does not end");
            }
            acknowledged
        });
    }
    eventually("the load is on", async || system.convex.count("users") > 50).await;
    assert_eq!(system.terminate().await, 0, "{}", system.log.text());
    let acknowledged: Vec<String> = senders.join_all().await.into_iter().flatten().collect();
    assert!(acknowledged.len() > 50);
    assert!(!Path::new(&system.state.path().join("admin.sock")).exists());

    system.start_daemon().await;
    let recovered = system.recovered();
    system.door().idle().await;
    let missing: Vec<_> = acknowledged
        .iter()
        .filter(|user| system.convex.row("users", user).is_none())
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
    assert_eq!(system.convex.rows("users").len(), acknowledged.len());
    assert_eq!(system.log.count("panicked"), 0);
    system.door().every_delivery_has_one_end(recovered).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_without_work_ends_with_0_and_nothing_is_left_to_do() {
    let mut system = System::start().await;
    system.hand().say(&created("user_1", 1, "Ada")).await;
    system.door().idle().await;
    assert_eq!(system.terminate().await, 0);
    system.start_daemon().await;
    assert_eq!(system.recovered(), 0);
    assert_eq!(system.terminate().await, 0);
}

/// Counts the answers to a stream of deliveries until it is told to end.
struct Stream {
    on: Arc<AtomicBool>,
    senders: JoinSet<usize>,
}

impl Stream {
    /// Deliveries signed with these; each must be taken in.
    fn signed_with(system: &System, secrets: &[&str], name: &str) -> Stream {
        let on = Arc::new(AtomicBool::new(true));
        let mut senders = JoinSet::new();
        for sender in 0..SENDERS {
            let (hand, on) = (system.hand().signing_with(secrets), Arc::clone(&on));
            let name = format!("{name}_{sender}");
            senders.spawn(async move {
                let mut sent = 0;
                while on.load(Ordering::Relaxed) {
                    hand.say(&created(&format!("user_{name}_{sent}"), 1, "Ada"))
                        .await;
                    sent += 1;
                }
                sent
            });
        }
        Stream { on, senders }
    }

    /// Ends it; how many deliveries were taken in. Panics if one was refused.
    async fn end(self) -> usize {
        self.on.store(false, Ordering::Relaxed);
        self.senders.join_all().await.into_iter().sum()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sighup_rotates_a_secret_without_a_refused_delivery_and_the_withdrawn_one_is_refused() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let write = |text: &str| std::fs::write(file.path(), text).expect("written");
    write(DEFAULT_WEBHOOK_SECRET);
    let path = file.path().display().to_string();
    let settings = [
        ("CLERK_WEBHOOK_SECRET", ""),
        ("CLERK_WEBHOOK_SECRET_FILE", path.as_str()),
    ];
    let mut system = System::with(&settings).await;
    let probe = async |secret: &str| {
        let hand = system.hand().signing_with(&[secret]);
        hand.deliver(&new_id(), &created("user_probe", 1, "Ada"))
            .await
            .status
    };
    assert_eq!(probe(NEXT).await, 401);

    let old = Stream::signed_with(&system, &[DEFAULT_WEBHOOK_SECRET], "old");
    write(&format!("{DEFAULT_WEBHOOK_SECRET}\n{NEXT}\n"));
    system.signal(Signal::HUP);
    eventually("the new secret counts", async || probe(NEXT).await == 200).await;
    let both = Stream::signed_with(&system, &[DEFAULT_WEBHOOK_SECRET, NEXT], "both");
    let new = Stream::signed_with(&system, &[NEXT], "new");
    assert!(old.end().await > 0);
    write(NEXT);
    system.signal(Signal::HUP);
    eventually("the old secret is withdrawn", async || {
        probe(DEFAULT_WEBHOOK_SECRET).await == 401
    })
    .await;
    assert!(both.end().await > 0 && new.end().await > 0);

    // A file that holds no secret changes nothing.
    write("not a secret at all");
    system.signal(Signal::HUP);
    eventually("the mistake is in the log", async || {
        system.log.count("the configuration was not reloaded") == 1
    })
    .await;
    assert_eq!(probe(NEXT).await, 200);
    assert_eq!(probe(DEFAULT_WEBHOOK_SECRET).await, 401);
    assert_eq!(system.log.count("not a secret at all"), 0);
    system.door().every_delivery_has_one_end(0).await;
    assert_eq!(system.terminate().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_on_the_same_state_ends_with_4_and_disturbs_nobody() {
    let mut system = System::start().await;
    system.hand().say(&created("user_1", 1, "Ada")).await;
    let mut other = System::prepared(&[]).await;
    other.set("CCS_STATE__DIR", &system.state.path().display().to_string());
    let refused = other.run(&["run"]).await;
    let complaint = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(4), "{complaint}");
    assert!(
        complaint.contains("another process"),
        "it says why: {complaint}"
    );
    system.hand().say(&created("user_2", 1, "Ada")).await;
    system.door().idle().await;
    assert_eq!(system.convex.count("users"), 2);
    system.door().every_delivery_has_one_end(0).await;
    assert_eq!(system.terminate().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_is_taken_ends_with_1_and_a_remedy() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut system = System::prepared(&[]).await;
    let address = taken.local_addr().unwrap().to_string();
    system.set("CCS_LISTEN__ADDRESS", &address);
    let refused = system.run(&["run"]).await;
    let complaint = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1), "{complaint}");
    for words in [address.as_str(), "another process listens there"] {
        assert!(complaint.contains(words), "{complaint}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_with_mistakes_ends_with_2_and_names_each_without_its_value() {
    let mut system = System::prepared(&[]).await;
    system.set("CONVEX_URL", "http://planted.example");
    system.set("CLERK_WEBHOOK_SECRET", "planted-secret");
    system.set("CCS_CONVEX__BATCHES", "planted-number");
    let refused = system.run(&["run"]).await;
    let complaint = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(2), "{complaint}");
    for key in ["convex.url", "clerk.webhook_secrets", "convex.batch"] {
        assert!(complaint.contains(key), "{key} is not in {complaint}");
    }
    assert!(!complaint.contains("planted-"), "{complaint}");
}

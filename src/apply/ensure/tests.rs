//! Sign-ins between a simulated Clerk and a simulated Convex. Repairs are written by a stand-in for the
//! applier, which does with each what it was told and then writes it with the real writer.

use std::sync::atomic::{AtomicU32, Ordering};

use secrecy::SecretString;
use serde_json::json;
use tokio::sync::mpsc;

use super::*;
use crate::{
    apply::{Edges, Settings},
    clerk::{self, ClerkClient, Pace},
    convex::{self, Deployment, reader::Reader, writer::Writer},
    mapping::UserRules,
    model::Change,
    outbound::{Dialer, OnRequest},
    queue::{
        backoff::RetryRule,
        repairs::{self, Batch},
    },
    report::alert::Alerts,
    sandbox::{
        clerk::{
            ClerkOptions, ClerkSim, DEFAULT_SECRET_KEY,
            faults::{Fault as ClerkFault, Wrong},
        },
        convex::{ConvexOptions, ConvexSim},
    },
    store::{
        journal::{self, Journal},
        state::{self, State},
    },
    telemetry::Metrics,
};

/// What the stand-in does with a repair before it writes it.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Applier {
    Writes,
    /// Says that a delivery knows better, and writes a moment later, as that delivery would.
    WasOvertaken,
    Refuses,
    IsAway,
    IsNotThere,
}

struct Place {
    clerk: ClerkSim,
    convex: ConvexSim,
    ensurer: Arc<Ensurer>,
    repairs: Arc<AtomicU32>,
    _dir: tempfile::TempDir,
}

impl Place {
    async fn with(applier: Applier) -> Place {
        let clerk = ClerkSim::start(ClerkOptions::default()).await.unwrap();
        let convex = ConvexSim::start(ConvexOptions::default()).await.unwrap();
        let dir = tempfile::tempdir().unwrap();
        let deployment = deployment(&convex);
        let shared = shared(&clerk, &deployment, dir.path());
        let (lane, batches) = repairs::lane();
        let repairs = Arc::new(AtomicU32::new(0));
        if applier != Applier::IsNotThere {
            let writer = Writer::new(deployment);
            tokio::spawn(serve(batches, writer, applier, Arc::clone(&repairs)));
        }
        let ensurer = Ensurer::new(shared, lane, Handle::current());
        Place {
            clerk,
            convex,
            ensurer,
            repairs,
            _dir: dir,
        }
    }

    fn user(&self) -> Key {
        let user = json!({ "email_address": ["ada@example.com"], "first_name": "Ada" });
        Key::parse(&self.clerk.create_user(user).unwrap()).unwrap()
    }

    async fn ensure(&self, key: &Key) -> Ensured {
        Arc::clone(&self.ensurer).ensure(key.clone()).await
    }

    fn lookups(&self) -> u64 {
        self.clerk.requests().to("GET /v1/users/{user_id}")
    }
}

fn deployment(convex: &ConvexSim) -> Deployment {
    let quiet: OnRequest = Arc::new(|_, _, _| {});
    Deployment::new(convex::Options {
        url: convex.url().parse().unwrap(),
        deploy_key: SecretString::from(convex.deploy_key()),
        module: "clerkSync".into(),
        timeout: Duration::from_secs(5),
        dialer: Dialer::default(),
        on_request: quiet,
    })
    .unwrap()
}

fn shared(clerk: &ClerkSim, deployment: &Deployment, dir: &std::path::Path) -> Arc<Shared> {
    let quiet: OnRequest = Arc::new(|_, _, _| {});
    let client = ClerkClient::new(clerk::Options {
        api_url: clerk.url().parse().unwrap(),
        secret_key: SecretString::from(DEFAULT_SECRET_KEY),
        timeout: Duration::from_secs(5),
        dialer: Dialer::default(),
        on_request: quiet,
        pace: Pace::unlimited(),
    })
    .unwrap();
    let journal = Journal::open(&dir.join(journal::DIR), journal::Options::default()).unwrap();
    let options = state::Options::at(chrono::DateTime::default(), None);
    let state = State::open(&dir.join(state::DIR), &options).unwrap();
    let settings = Settings {
        enabled: true,
        retry: RetryRule {
            max_attempts: 3,
            delay: Duration::from_millis(10),
        },
        concurrency: 4,
        batch: 200,
        user_rules: UserRules {
            default_role: "user".into(),
            ..UserRules::default()
        },
        delete_mode: Default::default(),
        files_on_delete: Default::default(),
        carried: Default::default(),
    };
    let edges = Edges {
        clerk_writer: None,
        clerk: client,
        clerk_key: [0; 8],
        reader: Reader::new(deployment.clone()),
        writer: Writer::new(deployment.clone()),
    };
    Shared::new(
        journal.journal,
        state.state,
        edges,
        settings,
        Metrics::default(),
        Alerts::default(),
        Default::default(),
    )
}

async fn serve(
    mut batches: mpsc::Receiver<Batch>,
    writer: Writer,
    applier: Applier,
    repairs: Arc<AtomicU32>,
) {
    while let Some(batch) = batches.recv().await {
        let mut answers = Vec::new();
        for repair in batch.repairs {
            repairs.fetch_add(1, Ordering::Relaxed);
            let answer = match applier {
                Applier::Writes => write(&writer, repair).await,
                Applier::WasOvertaken => {
                    let writer = writer.clone();
                    tokio::spawn(async move {
                        sleep(Duration::from_millis(120)).await;
                        write(&writer, repair).await
                    });
                    Repaired::Overtaken
                }
                Applier::Refuses => Repaired::Refused {
                    code: "too_large".into(),
                    reason: "too large".into(),
                },
                Applier::IsAway | Applier::IsNotThere => Repaired::Away {
                    reason: "paused".into(),
                },
            };
            answers.push(answer);
        }
        let _ = batch.answer.send(answers);
    }
}

async fn write(writer: &Writer, repair: Repair) -> Repaired {
    let Wish::Write { rows, .. } = repair.wish else {
        panic!("a sign-in deletes nothing");
    };
    let own = rows
        .into_iter()
        .filter(|row| row.table == Table::Users)
        .map(Change::Upsert);
    let mut applied = writer.apply(&own.collect::<Vec<_>>()).await.unwrap();
    let applied = applied.remove(0);
    Repaired::Applied {
        outcome: applied.outcome,
        id: applied.id,
    }
}

fn present(place: &Place, key: &Key, outcome: Outcome) -> Ensured {
    let row = place.convex.row("users", key.as_str()).expect("a row");
    let id = row["_id"].as_str().expect("an id").to_owned();
    Ensured::Present { id, outcome }
}

#[tokio::test]
async fn fifty_at_once_cost_one_look_one_request_and_one_write() {
    let place = Place::with(Applier::Writes).await;
    let key = place.user();
    let all = (0..50).map(|_| place.ensure(&key));
    let answers = futures_util::future::join_all(all).await;
    let created = present(&place, &key, Outcome::Created);
    assert!(
        answers.iter().all(|answer| *answer == created),
        "{answers:?}"
    );
    assert_eq!(place.convex.rows("users").len(), 1);
    assert_eq!(place.lookups(), 1);
    assert_eq!(place.repairs.load(Ordering::Relaxed), 1);
    // Once it is there, Clerk is not asked any more.
    let unchanged = present(&place, &key, Outcome::Unchanged);
    assert_eq!(place.ensure(&key).await, unchanged);
    assert_eq!(place.lookups(), 1);
    assert!(place.ensurer.users().in_hand.is_empty());
}

#[tokio::test]
async fn what_was_begun_is_finished_when_nobody_waits_any_more() {
    let place = Place::with(Applier::Writes).await;
    let key = place.user();
    place.convex.set_latency(Duration::from_millis(50));
    let given_up = timeout(Duration::from_millis(1), place.ensure(&key)).await;
    assert!(given_up.is_err());
    while place.convex.row("users", key.as_str()).is_none() {
        sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(place.lookups(), 1);
}

#[tokio::test]
async fn a_user_who_is_gone_is_asked_about_once() {
    let place = Place::with(Applier::Writes).await;
    let key = place.user();
    place.clerk.delete_user(key.as_str()).unwrap();
    for _ in 0..20 {
        assert_eq!(place.ensure(&key).await, Ensured::Gone);
    }
    assert_eq!(place.lookups(), 1);
    assert_eq!(place.repairs.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_user_whom_convex_knows_as_deleted_stays_so() {
    let place = Place::with(Applier::Writes).await;
    let key = place.user();
    let gone = Change::Delete {
        table: Table::Users,
        key: key.clone(),
        mode: Default::default(),
        files: None,
    };
    let writer = Writer::new(deployment(&place.convex));
    writer.apply(&[gone]).await.unwrap();
    assert_eq!(place.ensure(&key).await, Ensured::Gone);
    assert_eq!(place.convex.row("users", key.as_str()), None);
}

#[tokio::test]
async fn a_delivery_that_was_faster_is_waited_for() {
    let place = Place::with(Applier::WasOvertaken).await;
    let key = place.user();
    let ensured = place.ensure(&key).await;
    assert_eq!(ensured, present(&place, &key, Outcome::Unchanged));
    assert_eq!(place.lookups(), 1);
}

#[tokio::test]
async fn who_is_away_and_who_refuses_is_said() {
    for (applier, expected) in [
        (Applier::Refuses, Ensured::Refused),
        (Applier::IsAway, Ensured::Away),
        (Applier::IsNotThere, Ensured::Away),
    ] {
        let place = Place::with(applier).await;
        let key = place.user();
        assert_eq!(place.ensure(&key).await, expected, "{applier:?}");
        assert_eq!(place.ensure(&key).await, expected, "{applier:?}");
        let asked = if expected == Ensured::Refused { 1 } else { 2 };
        assert_eq!(place.lookups(), asked, "{applier:?}");
    }
    let place = Place::with(Applier::Writes).await;
    let key = place.user();
    place.convex.down();
    assert_eq!(place.ensure(&key).await, Ensured::Away);
    assert_eq!(place.lookups(), 0, "Convex is looked at first");
    place.convex.up();
    let down = Wrong::Status {
        status: 503,
        retry_after_secs: None,
        json: true,
    };
    place
        .clerk
        .fault(ClerkFault::next("GET /v1/users/{user_id}", down));
    assert_eq!(place.ensure(&key).await, Ensured::Away);
    assert_eq!(place.repairs.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_question_that_is_given_up_keeps_nobody_else_from_asking() {
    let place = Place::with(Applier::Writes).await;
    let (key, convex) = (place.user(), &place.ensurer.shared.convex);
    // After an outage one call tries whether Convex is back: this look, and Convex hangs.
    convex.shut(convex.admit().unwrap(), Some(Duration::ZERO));
    while !convex.state().0.is_zero() {
        sleep(Duration::from_millis(20)).await;
    }
    place.convex.set_latency(Duration::from_secs(4));
    let given_up = timeout(Duration::from_millis(200), place.ensurer.look(&key)).await;
    assert!(given_up.is_err());
    let (wait, _) = convex.state();
    assert!(wait <= crate::apply::MAX_HOLD, "{wait:?}");
}

#[tokio::test]
async fn only_so_many_users_at_once() {
    let place = Place::with(Applier::Writes).await;
    place.convex.set_latency(Duration::from_millis(200));
    let key = |n: usize| Key::parse(&format!("user_{n}")).unwrap();
    let waiting: Vec<_> = (0..MOST_AT_ONCE)
        .map(|n| Arc::clone(&place.ensurer).join(key(n)))
        .collect();
    assert!(waiting.iter().all(Result::is_ok));
    assert_eq!(place.ensure(&key(MOST_AT_ONCE)).await, Ensured::Busy);
    assert!(Arc::clone(&place.ensurer).join(key(0)).is_ok(), "joins");
}

#[test]
fn those_without_hope_are_a_bounded_number() {
    let mut users = Users::default();
    let key = |n: usize| Key::parse(&format!("user_{n}")).unwrap();
    for n in 0..MOST_HOPELESS + 10 {
        users.remember(&key(n), &Ensured::Gone);
    }
    assert_eq!(users.hopeless.len(), MOST_HOPELESS);
    assert_eq!(users.hopeless(&key(1)), Some(Ensured::Gone));
    users.remember(&key(1), &Ensured::Away);
    assert_eq!(users.hopeless(&key(1)), None);
}

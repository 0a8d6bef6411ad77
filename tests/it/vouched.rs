//! `STATE` where there is a key: who does not hold it cannot change what the file says without being noticed.
//!
//! It is plain, so that a start can name a key that is missing; a proof stands in it. What happens to a file that was
//! changed is what happens to a damaged one. A report is vouched for by the operations log, with a key and without.

use std::fs;

use serde_json::{Value, json};

use crate::{
    encryption::{KEY, key},
    process::System,
    runs::{report, same_records},
    world::PATH,
};

/// What is done to the file.
type Change = fn(&mut Value);

const DAMAGED: &str = "state_damaged";

async fn is_told(system: &System) -> bool {
    system.door().alerts().await.contains(&DAMAGED.to_owned())
}

fn read(system: &System) -> Value {
    let text = fs::read(system.state.path().join("STATE")).expect("a file");
    serde_json::from_slice(&text).expect("a document")
}

/// Changes the file while no daemon runs, and starts one.
async fn changed(system: &mut System, change: Change) {
    assert_eq!(system.terminate().await, 0);
    let mut state = read(system);
    change(&mut state);
    fs::write(system.state.path().join("STATE"), state.to_string()).expect("written");
    system.start_daemon().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_holder_of_no_key_has_written_into_state_is_noticed() {
    let mut system = System::prepared(&[]).await;
    system.clerk.seed_users(5);
    system.start_daemon().await;
    // Something in the journal, so that there is a number that could be made smaller.
    let webhooks = format!("http://{}{PATH}", system.address());
    system.clerk.set_webhook_url(Some(webhooks));
    let user = json!({ "first_name": "Ada" });
    system.clerk.create_user(user).expect("created");
    system.clerk.quiet().await;
    system.door().idle().await;
    report(&system.door(), "reconcile").await;
    assert_eq!(read(&system)["proof"], Value::Null);
    // A file of the time before there was a key is taken as it is, and gets its proof.
    system.set(KEY, &key(1));
    assert_eq!(system.terminate().await, 0);
    system.start_daemon().await;
    assert!(!is_told(&system).await);
    assert!(read(&system)["proof"].is_string(), "{}", read(&system));
    let changes: [(&str, Change); 3] = [
        ("nothing", |_| {}),
        ("a number", |state| state["highest_seq"] = json!(0)),
        ("the proof is gone", |state| {
            let gone = state.as_object_mut().expect("a document").remove("proof");
            gone.expect("it was there");
        }),
    ];
    for (what, change) in changes {
        changed(&mut system, change).await;
        assert_eq!(is_told(&system).await, what != "nothing", "{what}");
        report(&system.door(), "reconcile").await;
        same_records(&system.clerk, &system.convex);
        // Told once: the file has its proof again.
        changed(&mut system, |_| {}).await;
        assert!(!is_told(&system).await, "{what}");
    }
    // Who takes the journal away cannot hide it by another number.
    let journal = system.state.path().join("journal");
    assert_eq!(system.terminate().await, 0);
    let mut state = read(&system);
    assert_ne!(state["highest_seq"], json!(0));
    state["highest_seq"] = json!(0);
    fs::write(system.state.path().join("STATE"), state.to_string()).expect("written");
    fs::remove_dir_all(journal).expect("removed");
    system.start_daemon().await;
    let alerts = system.door().alerts().await;
    assert!(is_told(&system).await && alerts.contains(&"journal_lost".to_owned()));
    assert_eq!(system.log.count("panicked"), 0);
    assert_eq!(system.terminate().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_that_somebody_has_rewritten_is_found() {
    let mut system = System::prepared(&[]).await;
    system.clerk.seed_users(5);
    system.start_daemon().await;
    let kept = report(&system.door(), "reconcile").await;
    report(&system.door(), "audit").await;
    let id = kept["id"].as_str().expect("an id").to_owned();
    let path = system.state.path().join(format!("reports/{id}.json"));
    let sound = fs::read_to_string(&path).expect("a report");
    let verify = async |system: &System| {
        let output = system.run(&["log", "verify"]).await;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.code(), said)
    };
    // While a daemon runs, and without one.
    for running in [true, false] {
        if !running {
            assert_eq!(system.terminate().await, 0);
        }
        assert_eq!(verify(&system).await.0, Some(0));
        for rewritten in [
            sound.replace("repaired", "in_sync"),
            String::new(),
            format!("{sound} "),
        ] {
            fs::write(&path, rewritten).expect("written");
            let (code, said) = verify(&system).await;
            assert_eq!(code, Some(1), "{said}");
            assert!(said.contains(&format!("the report {id} is not")), "{said}");
        }
        fs::write(&path, &sound).expect("written");
    }
    // One that made room is nobody's doing.
    fs::remove_file(&path).expect("removed");
    assert_eq!(verify(&system).await.0, Some(0));
}

//! What the conformance cases cannot say: the handle, outages, limits, latency, commit times.
//!
//! Over real sockets, as the daemon meets it. The contract itself is in `tests/fixtures/apply_cases.json`.

use std::time::Duration;

use reqwest::{Client, Response};
use serde_json::{Value as Json, json};

use super::clock;
use super::*;

fn client() -> Client {
    Client::builder().no_proxy().build().unwrap()
}

async fn call(sim: &ConvexSim, kind: &str, function: &str, args: Json) -> Response {
    client()
        .post(format!("{}/api/{kind}", sim.url()))
        .header("authorization", format!("Convex {}", sim.deploy_key()))
        .json(&json!({ "path": format!("clerkSync:{function}"), "args": args, "format": "json" }))
        .send()
        .await
        .unwrap()
}

async fn apply(sim: &ConvexSim, changes: Json) -> Response {
    call(sim, "mutation", "apply", json!({ "changes": changes })).await
}

fn user(key: &str, version: u64) -> Json {
    json!({ "kind": "upsert", "table": "users", "key": key, "createdAt": 1, "version": version,
            "fields": { "email": format!("{key}@example.test"), "name": "Ada" } })
}

async fn start() -> ConvexSim {
    ConvexSim::start(ConvexOptions::default()).await.unwrap()
}

#[tokio::test]
async fn rows_show_whole_documents_and_count_the_keyed_ones() {
    let sim = start().await;
    apply(&sim, json!([user("user_1", 5)])).await;
    let id = sim
        .insert_row(
            "users",
            &json!({ "email": "own@example.test", "pets": [1, "x"] }),
        )
        .unwrap();
    sim.patch_row("users", &id, &json!({ "plan": "gold", "email": null }))
        .unwrap();
    assert_eq!(sim.row("users", "user_1").unwrap()["clerkUpdatedAt"], 5);
    let own = &sim.rows("users")[1];
    assert_eq!(own["pets"], json!([1, "x"]));
    assert_eq!(own["plan"], "gold");
    assert_eq!(own.get("email"), None);
    assert_eq!((sim.rows("users").len(), sim.count("users")), (2, 1));
    sim.remove_row("users", &id).unwrap();
    assert_eq!(
        sim.patch_row("users", &id, &json!({})),
        Err(ControlError::NoSuchRow)
    );
    assert_eq!(
        sim.insert_row("nothing", &json!({})),
        Err(ControlError::UnknownTable)
    );
    assert_eq!(
        sim.insert_row("users", &json!({ "clerkId": 5 })),
        Err(ControlError::NotADocument)
    );
    apply(
        &sim,
        json!([{ "kind": "delete", "table": "users", "key": "user_1", "mode": "hard" }]),
    )
    .await;
    assert_eq!(sim.tombstones("users"), ["user_1"]);
}

#[tokio::test]
async fn a_slot_that_is_used_again_has_another_id() {
    let sim = start().await;
    let first = sim.insert_row("users", &json!({})).unwrap();
    sim.remove_row("users", &first).unwrap();
    let second = sim.insert_row("users", &json!({})).unwrap();
    assert_ne!(first, second);
    assert_eq!(
        sim.remove_row("users", &first),
        Err(ControlError::NoSuchRow)
    );
}

#[tokio::test]
async fn an_answer_is_given_for_so_many_calls_of_its_function() {
    let sim = start().await;
    sim.answer(503, "WorkerOverloaded")
        .of("apply")
        .retry_after(3)
        .for_calls(2);
    for _ in 0..2 {
        let response = apply(&sim, json!([user("user_1", 1)])).await;
        assert_eq!(
            (
                response.status().as_u16(),
                &response.headers()["retry-after"]
            ),
            (503, &"3".parse().unwrap())
        );
        assert_eq!(
            response.json::<Json>().await.unwrap()["code"],
            "WorkerOverloaded"
        );
    }
    assert_eq!(
        call(&sim, "query", "describe", json!({})).await.status(),
        200
    );
    assert_eq!(apply(&sim, json!([user("user_1", 1)])).await.status(), 200);
    let calls = sim.calls();
    assert_eq!((calls.queries, calls.mutations, calls.changes), (1, 3, 3));
    assert_eq!((calls.counts["apply"], calls.outcomes["refused"]), (3, 2));
    assert_eq!(
        calls
            .recent
            .iter()
            .map(|call| call.status)
            .collect::<Vec<_>>(),
        [503, 503, 200, 200]
    );
}

#[tokio::test]
async fn while_it_is_down_everything_is_503_and_nothing_is_lost() {
    let sim = start().await;
    apply(&sim, json!([user("user_1", 1)])).await;
    sim.down();
    let response = apply(&sim, json!([user("user_2", 1)])).await;
    assert_eq!(response.status(), 503);
    assert_eq!(response.text().await.unwrap(), "");
    sim.up();
    assert_eq!(sim.count("users"), 1);
    assert_eq!(apply(&sim, json!([user("user_2", 1)])).await.status(), 200);
}

#[tokio::test]
async fn a_replaced_key_opens_nothing_any_more() {
    let sim = start().await;
    let url = format!("{}/api/query", sim.url());
    let ask = |key: String| {
        let body = json!({ "path": "clerkSync:describe", "args": {} });
        client()
            .post(&url)
            .header("authorization", format!("Convex {key}"))
            .json(&body)
            .send()
    };
    let old = sim.deploy_key();
    sim.set_deploy_key("dev:sandbox-convex-1|another");
    assert_eq!(ask(old).await.unwrap().status(), 401);
    assert_eq!(
        ask("sandbox-convex-1|another".to_owned())
            .await
            .unwrap()
            .status(),
        200
    );
}

#[tokio::test]
async fn a_thrown_error_may_be_560_and_its_message_redacted() {
    let options = ConvexOptions {
        redact: true,
        error_status: 560,
        ..ConvexOptions::default()
    };
    let sim = ConvexSim::start(options).await.unwrap();
    let mut change = user("user_1", 1);
    change["fields"]["nonsense"] = json!("x");
    let response = apply(&sim, json!([change])).await;
    assert_eq!(response.status().as_u16(), 560);
    let body: Json = response.json().await.unwrap();
    assert_eq!(
        body["errorData"],
        json!({ "code": "unknown_field", "key": "user_1" })
    );
    assert!(
        body["errorMessage"]
            .as_str()
            .unwrap()
            .ends_with("] Server Error"),
        "{body}"
    );
}

#[tokio::test]
async fn extra_fields_are_synced_and_of_any_type() {
    let options = ConvexOptions {
        extra_fields: vec!["plan".to_owned()],
        ..ConvexOptions::default()
    };
    let sim = ConvexSim::start(options).await.unwrap();
    let mut change = user("user_1", 1);
    change["fields"]["plan"] = json!({ "seats": 5 });
    apply(&sim, json!([change])).await;
    let page = json!({ "table": "users", "keys": ["user_1"] });
    let body: Json = call(&sim, "query", "get", page).await.json().await.unwrap();
    assert_eq!(body["value"]["records"][0]["fields"]["plan"]["seats"], 5.0);
}

#[tokio::test]
async fn a_commit_is_noted_with_its_time_after_the_latency_and_before_the_answer() {
    let sim = start().await;
    sim.set_latency(Duration::from_millis(60));
    let before = clock::now_us();
    apply(&sim, json!([user("user_1", 7), user("user_2", 8)])).await;
    let after = clock::now_us();
    let commits = sim.commits(0, 10);
    let seen: Vec<_> = commits
        .iter()
        .map(|one| (one.table, &*one.key, one.version))
        .collect();
    assert_eq!(seen, [("users", "user_1", 7.0), ("users", "user_2", 8.0)]);
    for commit in &commits {
        assert!(
            commit.at_us >= before + 60_000 && commit.at_us <= after,
            "{commit:?}"
        );
    }
    sim.set_latency(Duration::ZERO);
    apply(
        &sim,
        json!([user("user_1", 7), user("user_2", 6), user("user_1", 9)]),
    )
    .await;
    let later = sim.commits(2, 10);
    assert_eq!(
        later.len(),
        1,
        "unchanged and stale write nothing: {later:?}"
    );
    let url = format!("{}/_sim/commits?from=1&limit=1", sim.url());
    let body: Json = client()
        .get(url)
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(body["commits"][0]["key"], "user_2");
    assert_eq!(body["commits"][0]["at_us"], commits[1].at_us);
}

#[tokio::test]
async fn mutations_over_the_permits_are_429_after_the_wait() {
    let limits = Limits {
        concurrent_mutations: Some(2),
        permit_wait: Duration::from_millis(30),
        ..Limits::default()
    };
    let options = ConvexOptions {
        limits,
        latency: Duration::from_millis(400),
        ..ConvexOptions::default()
    };
    let sim = ConvexSim::start(options).await.unwrap();
    let call = |number: u64| {
        let sim = sim.clone();
        async move {
            apply(&sim, json!([user("user_1", number)]))
                .await
                .status()
                .as_u16()
        }
    };
    let (one, two, three) = tokio::join!(call(1), call(2), call(3));
    let mut statuses = [one, two, three];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 200, 429]);
}

#[tokio::test]
async fn writes_over_the_throughput_and_reads_over_the_ranges_are_refused() {
    let limits = Limits {
        write_bytes_per_second: Some(2_000),
        enforce_lookups: true,
        ..Limits::default()
    };
    let sim = ConvexSim::start(ConvexOptions {
        limits,
        ..ConvexOptions::default()
    })
    .await
    .unwrap();
    let many: Vec<Json> = (0..1000).map(|n| user(&format!("user_{n}"), 1)).collect();
    let body: Json = apply(&sim, many[..].into()).await.json().await.unwrap();
    assert_eq!(body["status"], "success", "4,000 ranges are allowed");
    let response = apply(&sim, json!([user("user_1", 2)])).await;
    assert_eq!(response.status(), 429);
    assert_eq!(
        response.json::<Json>().await.unwrap()["code"],
        "TooManyWrites"
    );

    sim.reset();
    let members: Vec<Json> = (0..1000)
        .map(|n| {
            json!({ "kind": "upsert", "table": "memberships", "key": format!("orgmem_{n}"),
                    "createdAt": 1, "version": 1, "fields": { "clerkUserId": "user_1" } })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(1_050)).await;
    let body: Json = apply(&sim, members.into()).await.json().await.unwrap();
    assert_eq!(
        body["errorData"]["code"], "batch_too_large",
        "6,000 ranges are not"
    );
    assert_eq!(sim.count("memberships"), 0);
}

#[tokio::test]
async fn a_page_ends_early_when_it_has_read_enough() {
    let limits = Limits {
        page_bytes: 3_000,
        ..Limits::default()
    };
    let sim = ConvexSim::start(ConvexOptions {
        limits,
        ..ConvexOptions::default()
    })
    .await
    .unwrap();
    let many: Vec<Json> = (0..50).map(|n| user(&format!("user_{n:02}"), 1)).collect();
    apply(&sim, many.into()).await;
    let (mut keys, mut cursor, mut pages) = (Vec::new(), Json::Null, 0);
    loop {
        let args = json!({ "table": "users", "from": null, "before": null, "cursor": cursor, "limit": 4000 });
        let body: Json = call(&sim, "query", "list", args)
            .await
            .json()
            .await
            .unwrap();
        let records = body["value"]["records"].as_array().unwrap().clone();
        keys.extend(
            records
                .iter()
                .map(|record| record["key"].as_str().unwrap().to_owned()),
        );
        pages += 1;
        cursor = body["value"]["cursor"].clone();
        if cursor.is_null() {
            break;
        }
    }
    assert!(pages > 2, "{pages}");
    assert_eq!(
        keys,
        (0..50).map(|n| format!("user_{n:02}")).collect::<Vec<_>>()
    );
}

#[tokio::test]
async fn reset_forgets_everything_and_stop_frees_the_port() {
    let sim = start().await;
    apply(&sim, json!([user("user_1", 1)])).await;
    sim.fault(FaultRule::new(FaultKind::Garbage));
    sim.down();
    sim.reset();
    assert_eq!(apply(&sim, json!([user("user_2", 1)])).await.status(), 200);
    assert_eq!(
        (
            sim.count("users"),
            sim.calls().mutations,
            sim.commits(0, 10).len()
        ),
        (1, 1, 1)
    );
    let port = url::Url::parse(&sim.url()).unwrap().port().unwrap();
    sim.stop().await;
    let again = ConvexSim::start(ConvexOptions {
        port,
        ..ConvexOptions::default()
    })
    .await;
    assert!(again.is_ok());
}

//! Published examples of Clerk's events, from an independent signer to rows of the real TypeScript.
//!
//! Nothing of ours stands in here: Svix's own Node library signs, the built binary takes in, and the
//! functions of `convex/` write into `convex-test` behind the Node host. Each example alone, then all of
//! an instance in shuffled orders: the rows must be those of `expected`, whatever the order.
//! `CCS_SKIP_NODE=1` leaves this out, loudly. Examples of different instances meet different daemons.

pub mod expected;
pub mod node;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use rand::{SeedableRng, rngs::StdRng, seq::SliceRandom};
use serde_json::Value;

use self::{
    expected::{Rows, rows_of},
    node::{Host, Signer},
};
use crate::{hand::new_id, process::System, world::PATH};

/// Orders that are tried for each instance.
const SHUFFLES: usize = 6;
/// The seed of the orders, so that a failure can be had again.
const SEED: u64 = 20_260_101;

/// An example: a file, sent byte for byte.
#[derive(Clone, Debug)]
struct Sample {
    name: String,
    path: PathBuf,
    event: Value,
}

/// The published examples if they lie beside the project, else ours.
fn samples() -> Vec<Sample> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let published = root.join("../shared/reference/clerk-webhooks");
    let own = root.join("tests/fixtures/deliveries");
    let dir = if published.is_dir() { published } else { own };
    let entries = std::fs::read_dir(&dir).expect("a directory with examples");
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| entry.expect("an entry").path())
        .collect();
    paths.retain(|path| path.extension().is_some_and(|ext| ext == "json"));
    paths.sort();
    let read = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).expect("an example");
        let event: Value = serde_json::from_str(&text).expect("JSON");
        let name = path
            .file_name()
            .expect("a name")
            .to_string_lossy()
            .into_owned();
        // What is no event (signature vectors lie there, too) has no type.
        event["type"]
            .is_string()
            .then_some(Sample { name, path, event })
    };
    let samples: Vec<Sample> = paths.into_iter().filter_map(read).collect();
    println!("{} examples from {}", samples.len(), dir.display());
    assert!(samples.len() >= 12, "too few examples to mean anything");
    samples
}

/// Examples that may meet: those of one instance. What names none goes with its source.
fn groups(samples: &[Sample]) -> BTreeMap<String, Vec<Sample>> {
    let mut groups: BTreeMap<String, Vec<Sample>> = BTreeMap::new();
    for sample in samples {
        let source = sample.name.split('.').next().unwrap_or_default();
        groups
            .entry(source.to_owned())
            .or_default()
            .push(sample.clone());
    }
    groups
}

/// Sends these in this order to a daemon that has seen nothing, and compares the rows.
async fn deliver(host: &Host, signer: &mut Signer, samples: &[Sample]) {
    let names: Vec<&str> = samples.iter().map(|sample| sample.name.as_str()).collect();
    host.reset().await;
    let (url, key) = (host.url(), host.key());
    let system = System::with(&[("CONVEX_URL", url), ("CONVEX_DEPLOY_KEY", key)]).await;
    let endpoint = format!("http://{}{PATH}", system.address());
    for sample in samples {
        let status = signer.deliver(&endpoint, &new_id(), &sample.path).await;
        assert_eq!(status, 200, "{}", sample.name);
    }
    system.door().idle().await;
    assert_eq!(
        system.door().failures().await,
        Vec::<Value>::new(),
        "{names:?}"
    );
    let events: Vec<&Value> = samples.iter().map(|sample| &sample.event).collect();
    let mut found = Rows::new();
    for table in ["users", "profiles", "organizations", "memberships"] {
        found.insert(table, expected::synced(table, host.rows(table).await));
    }
    assert_eq!(found, rows_of(&events), "in the order {names:#?}");
    let figures = system.door().figures().await;
    assert_eq!(figures.webhooks("foreign_instance"), 0.0);
    assert_eq!(
        figures.sum("clerk_requests_total", &[]),
        0.0,
        "nothing was in doubt"
    );
    system.door().every_delivery_has_one_end(0).await;
}

async fn ends() -> Option<(Host, Signer)> {
    if std::env::var_os("CCS_SKIP_NODE").is_some_and(|value| value == "1") {
        println!("!!! CCS_SKIP_NODE=1: THE EXAMPLES ARE NOT SENT IN THIS RUN !!!");
        return None;
    }
    Some((Host::start().await, Signer::start().await))
}

#[tokio::test(flavor = "multi_thread")]
async fn each_example_alone_becomes_the_rows_that_it_says() {
    let Some((host, mut signer)) = ends().await else {
        return;
    };
    for sample in samples() {
        deliver(&host, &mut signer, &[sample]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_examples_of_an_instance_become_the_same_rows_in_any_order() {
    let Some((host, mut signer)) = ends().await else {
        return;
    };
    let mut dice = StdRng::seed_from_u64(SEED);
    for (source, mut samples) in groups(&samples()) {
        println!("{source}: {} examples, {SHUFFLES} orders", samples.len());
        for _ in 0..SHUFFLES {
            deliver(&host, &mut signer, &samples).await;
            samples.shuffle(&mut dice);
        }
        samples.reverse();
        deliver(&host, &mut signer, &samples).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_signed_with_two_secrets_by_svixs_own_library_is_accepted() {
    let Some((host, mut signer)) = ends().await else {
        return;
    };
    let (url, key) = (host.url(), host.key());
    let system = System::with(&[("CONVEX_URL", url), ("CONVEX_DEPLOY_KEY", key)]).await;
    let endpoint = format!("http://{}{PATH}", system.address());
    signer.also_sign_with("whsec_bmV4dC1zaWduaW5nLWtleS0wMDAwMDAwMDAwMDE=");
    let samples = samples();
    let created = samples.iter().find(|s| s.event["type"] == "user.created");
    let path = &created.expect("an example of a new user").path;
    assert_eq!(signer.deliver(&endpoint, &new_id(), path).await, 200);
    system.door().idle().await;
    assert_eq!(host.rows("users").await.len(), 1);
}

//! Secrets are nowhere (G36), in no form: not plain, not in base64 at any offset, not in hex, not percent-encoded.
//!
//! All of them come from files, as they should; the daemon logs all that it can while deliveries, runs, reloads
//! and strangers come and go, and while it fails to start. Then every output, the process as the system shows it
//! and every byte of the state directory are searched. `leaks.rs` is about personal values, and has more of
//! what goes wrong.

use std::{fs, os::unix::process::ExitStatusExt, path::Path};

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE},
};
use clerk_convex_sync::{
    config::{Config, Env},
    sandbox::clerk::{ClerkOptions, ClerkSim},
};
use rustix::process::Signal;
use serde_json::json;
use tempfile::TempDir;

use crate::{
    hand::{created, new_id},
    measure::contents,
    process::System,
    world::{environment, eventually},
};

/// What the settings hold: the variable, and the secret.
const PLANTED: [(&str, &str); 8] = [
    ("CLERK_SECRET_KEY", "sk_test_c4n4ryOfClerk00000000000001"),
    ("CONVEX_DEPLOY_KEY", "c4n4ryOfConvex000000000000002"),
    ("CLERK_WEBHOOK_SECRET", "c4n4ry-signs-webhooks-today-003"),
    ("CLERK_WEBHOOK_SECRET", "c4n4ry-signed-them-before--0004"),
    ("CCS_ADMIN__TOKEN", "c4n4ryOpensEverything000000005"),
    ("CCS_ADMIN__OPERATE_TOKEN", "c4n4ryOpensMuch0000000000006"),
    ("CCS_ADMIN__READ_TOKEN", "c4n4ryOpensLittle00000000007"),
    ("CCS_STATE__ENCRYPTION_KEY", KEY),
];
/// The last one. It comes later, since it hides the others in the state directory, which is searched for them.
const KEY: &str = "c4n4ry-encrypts-the-state-000008";
const BEFORE_THE_KEY: usize = PLANTED.len() - 1;

/// A secret as its setting has it.
fn set(at: usize) -> String {
    let (name, secret) = PLANTED[at];
    match name {
        "CONVEX_DEPLOY_KEY" => format!("dev:quiet-otter-1|{secret}"),
        "CLERK_WEBHOOK_SECRET" => format!("whsec_{}", STANDARD.encode(secret)),
        "CCS_STATE__ENCRYPTION_KEY" => STANDARD.encode(secret),
        _ => secret.to_owned(),
    }
}

/// Every form in which a secret would still be one.
fn forms(secret: &str) -> Vec<String> {
    let mut forms = vec![secret.to_owned()];
    let writings: [fn(u8) -> String; 4] = [
        |byte| format!("{byte:02x}"),
        |byte| format!("{byte:02X}"),
        |byte| format!("%{byte:02X}"),
        |byte| format!("{byte}, "),
    ];
    for writing in writings {
        forms.push(secret.bytes().map(writing).collect());
    }
    for before in 0..3 {
        // Inside of something longer, the first and last characters belong to the neighbours as well.
        let bytes = [&vec![0; before], secret.as_bytes()].concat();
        let (first, last) = ([0, 2, 3][before], bytes.len() * 8 / 6);
        for encoded in [STANDARD.encode(&bytes), URL_SAFE.encode(&bytes)] {
            forms.push(encoded[first..last].to_owned());
        }
    }
    forms
}

/// What was searched, and how much of it there was.
#[derive(Default)]
struct Search {
    patterns: Vec<(usize, String)>,
    places: usize,
    bytes: usize,
}

impl Search {
    fn new() -> Search {
        let all = PLANTED.iter().enumerate();
        let patterns =
            all.flat_map(|(at, (_, secret))| forms(secret).into_iter().map(move |form| (at, form)));
        Search {
            patterns: patterns.collect(),
            ..Search::default()
        }
    }

    fn look(&mut self, place: &str, bytes: &[u8]) {
        self.places += 1;
        self.bytes += bytes.len();
        // Every pattern is ASCII, which this leaves as it is.
        let text = String::from_utf8_lossy(bytes);
        for (at, form) in &self.patterns {
            let name = PLANTED[*at].0;
            assert!(!text.contains(form), "{name} is in {place}, as {form}");
        }
    }

    fn look_at_process(&mut self, system: &System) {
        let process = format!("/proc/{}", system.pid().as_raw_nonzero());
        for file in ["cmdline", "comm", "status", "environ"] {
            match fs::read(format!("{process}/{file}")) {
                Ok(bytes) => self.look(file, &bytes),
                // That nobody may read it is even better.
                Err(error) => assert_eq!(file, "environ", "{error}"),
            }
        }
    }

    fn look_at_state(&mut self, dir: &Path) {
        for (path, bytes) in contents(dir) {
            self.look(&path.display().to_string(), &bytes);
        }
    }

    async fn look_at_command(&mut self, system: &System, command: &[&str]) -> Option<i32> {
        let output = system.run(command).await;
        let place = command.join(" ");
        self.look(&place, &output.stdout);
        self.look(&place, &output.stderr);
        output.status.code()
    }
}

/// A system whose secrets are in files of this directory.
async fn planted(dir: &TempDir) -> System {
    let mut system = System::prepared(&[
        ("CCS_LOG__LEVEL", "trace"),
        ("CCS_ADMIN__ADDRESS", "127.0.0.1:0"),
        ("CCS_ENSURE__ENABLED", "true"),
    ])
    .await;
    let knowing = ClerkOptions {
        secret_key: set(0),
        ..ClerkOptions::default()
    };
    system.clerk = ClerkSim::start(knowing).await.expect("simulated Clerk");
    system.clerk.enable_endpoint(false);
    system.convex.set_deploy_key(&set(1));
    for (at, (name, _)) in PLANTED[..BEFORE_THE_KEY].iter().enumerate() {
        let file = dir.path().join(name);
        let before = fs::read_to_string(&file).unwrap_or_default();
        fs::write(&file, format!("{before}{}\n", set(at))).expect("written");
        system.set(name, "");
        let variable = format!("{name}_FILE");
        system.set(&variable, &file.display().to_string());
    }
    system
}

/// The key that encrypts the state is not in the state, nor in what is said about it.
async fn with_a_key(system: &mut System, dir: &TempDir, search: &mut Search) {
    let (name, file) = (PLANTED[BEFORE_THE_KEY].0, dir.path().join("key"));
    fs::write(&file, set(BEFORE_THE_KEY)).expect("written");
    system.set(&format!("{name}_FILE"), &file.display().to_string());
    system.start_daemon().await;
    let hand = system.hand().signing_with(&[&set(2)]);
    hand.say(&created("user_5", 1, "Ada")).await;
    search.look_at_process(system);
    search.look_at_command(system, &["status", "--json"]).await;
    system.kill().await;
    for command in [&["state", "verify", "--json"][..], &["state", "rekey"]] {
        assert_eq!(search.look_at_command(system, command).await, Some(0));
        search.look_at_state(system.state.path());
    }
    system.set(&format!("{name}_FILE"), "");
    // Without it, and with half of it.
    assert_eq!(search.look_at_command(system, &["run"]).await, Some(2));
    system.set(name, &set(BEFORE_THE_KEY)[..20]);
    assert_eq!(search.look_at_command(system, &["run"]).await, Some(2));
}

/// Whoever signs in shows a token that is as good as a password for a minute.
async fn sign_in(system: &System, id: &str, search: &mut Search) -> String {
    let token = system.clerk.session_token(id).expect("a token");
    let url = format!("http://{}/ensure?wait=10s", system.address());
    let client = reqwest::Client::builder().no_proxy().build();
    let asked = client.expect("a client").post(url).bearer_auth(&token);
    let answer = asked.send().await.expect("an answer");
    assert_eq!(answer.status(), 200);
    search.look("a sign-in", answer.text().await.expect("a body").as_bytes());
    token
}

#[tokio::test(flavor = "multi_thread")]
async fn g36_no_secret_is_in_any_output_in_the_process_list_or_on_the_disk_in_any_form() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut system = planted(&dir).await;
    let mut search = Search::new();
    system.start_daemon().await;
    let hand = system.hand().signing_with(&[&set(2)]);
    for n in 0..3 {
        let user = json!({ "first_name": format!("Ada {n}") });
        let id = system.clerk.create_user(user).expect("created");
        hand.say(&created(&id, 1, "Ada")).await;
    }
    let signs_in = system.clerk.user_ids().remove(0);
    let token = sign_in(&system, &signs_in, &mut search).await;
    let forger = hand.signing_with(&["whsec_Zm9yZ2VkLXNpZ25pbmcta2V5LTAwMDAwMDE="]);
    let refused = forger
        .deliver(&new_id(), &created("user_9", 1, "Eve"))
        .await;
    search.look("a refusal", refused.text.as_bytes());
    assert_eq!(refused.status, 401);
    // A secret that is withdrawn, and a file that is none.
    let webhooks = dir.path().join("CLERK_WEBHOOK_SECRET");
    for text in [set(2), format!("{} and what is none", set(3)), set(2)] {
        let before = system.log.count("onfiguration");
        fs::write(&webhooks, text).expect("written");
        system.signal(Signal::HUP);
        eventually("it is read again", async || {
            system.log.count("onfiguration") > before
        })
        .await;
        let door = system.door();
        search.look("status", door.text("GET", "/status", None).await.as_bytes());
    }
    system.door().idle().await;
    let door = system.door();
    let lines = door
        .text("POST", "/runs", Some(json!({ "kind": "reconcile" })))
        .await;
    assert!(lines.contains("\"report\""), "{lines}");
    search.look("a run", lines.as_bytes());
    for path in ["/status", "/metrics", "/failures", "/nothing"] {
        search.look(path, door.text("GET", path, None).await.as_bytes());
    }
    for command in [
        &["status", "--json"][..],
        &["failures", "list", "--json"],
        &["check", "--online"],
        &["reports", "show", "--format", "json"],
        &["reports", "show", "--format", "html"],
        &["audit", "--json"],
    ] {
        search.look_at_command(&system, command).await;
    }
    system.convex.set_deploy_key("dev:other|another");
    hand.say(&created("user_4", 1, "Ada")).await;
    eventually("Convex lets nobody in", async || {
        let figures = system.door().figures().await;
        figures.sum("convex_requests_total", &["status=\"401\""]) > 0.0
    })
    .await;
    let status = system.door().text("GET", "/status", None).await;
    search.look("the alert about it", status.as_bytes());
    search.look_at_process(&system);
    search.look_at_state(system.state.path());
    system.signal(Signal::ABORT);
    let aborted = system.ended().await;
    assert_eq!(aborted.signal(), Some(Signal::ABORT.as_raw()));
    assert!(!aborted.core_dumped(), "it left a core file");
    // What is left on the disk when nothing was put in order.
    search.look_at_state(system.state.path());
    with_a_key(&mut system, &dir, &mut search).await;
    assert!(system.log.count("TRACE") + system.log.count("DEBUG") > 0);
    search.look("the log", system.log.text().as_bytes());
    let (_, signature) = token.rsplit_once('.').expect("three parts");
    assert!(
        !system.log.text().contains(signature),
        "a token is in the log"
    );
    for (path, bytes) in contents(system.state.path()) {
        let text = String::from_utf8_lossy(&bytes);
        assert!(
            !text.contains(signature),
            "a token is in {}",
            path.display()
        );
    }
    println!(
        "G36: {} secrets in {} forms, in none of {} places with {} KiB",
        PLANTED.len(),
        search.patterns.len(),
        search.places,
        search.bytes / 1024
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_fails_shows_no_secret_whatever_it_fails_at() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut search = Search::new();
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let taken = taken.local_addr().expect("an address").to_string();
    let mut failing = planted(&dir).await;
    let file = |name: &str| dir.path().join(name).display().to_string();
    let both = format!("{} {}", set(2), set(4));
    fs::write(file("two kinds"), both).expect("written");
    for (key, value, code) in [
        ("CCS_LISTEN__ADDRESS", taken.as_str(), 1),
        ("CCS_LISTEN__ADDRESS", "nowhere", 2),
        ("CCS_STATE__DIR", "/proc/none", 1),
        ("CONVEX_URL", &format!("http://{}.example", PLANTED[1].1), 2),
        (
            "CLERK_API_URL",
            &format!("https://{}@clerk.example:x", set(0)),
            2,
        ),
        ("CLERK_WEBHOOK_SECRET_FILE", &file("two kinds"), 2),
        // One secret in the place of another.
        ("CONVEX_DEPLOY_KEY_FILE", &file("CLERK_SECRET_KEY"), 2),
        ("CLERK_SECRET_KEY_FILE", &file("CONVEX_DEPLOY_KEY"), 2),
        ("CLERK_WEBHOOK_SECRET_FILE", &file("CCS_ADMIN__TOKEN"), 2),
    ] {
        let mut system = System::prepared(&[]).await;
        std::mem::swap(&mut system, &mut failing);
        system.set(key, value);
        let ended = search.look_at_command(&system, &["run"]).await;
        assert!(
            ended.is_some_and(|ended| ended != 0),
            "{key}={value}: {ended:?}"
        );
        if code == 2 {
            assert_eq!(ended, Some(2), "{key}={value}");
        }
        search.look_at_command(&system, &["check"]).await;
        search.look_at_state(system.state.path());
        let again = tempfile::tempdir().expect("a directory");
        failing = planted(&again).await;
        // Its files are those of the first.
        for (name, _) in &PLANTED[..BEFORE_THE_KEY] {
            failing.set(&format!("{name}_FILE"), &file(name));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_configuration_shows_no_secret_when_it_is_printed() {
    let system = System::prepared(&[]).await;
    let mut variables = environment(&system.clerk, &system.convex, system.state.path());
    for (at, (name, _)) in PLANTED.iter().enumerate() {
        variables.push(((*name).to_owned(), set(at)));
    }
    variables.push(("CCS_ADMIN__ADDRESS".to_owned(), "127.0.0.1:0".to_owned()));
    let loaded = Config::load(None, &Env::new(variables)).expect("a sound configuration");
    let mut search = Search::new();
    search.look("Debug", format!("{loaded:?} {loaded:#?}").as_bytes());
    assert!(format!("{loaded:?}").contains("Secret"), "it is there");
}

#[test]
fn the_search_finds_a_secret_in_each_of_its_forms() {
    let search = Search::new();
    for (at, (_, secret)) in PLANTED.iter().enumerate() {
        for hidden in [
            format!("x{secret}y"),
            STANDARD.encode(format!("Bearer {secret}")),
            STANDARD.encode(format!("a{secret}zz")),
            URL_SAFE.encode(format!("ab{secret}?")),
            format!("{:?}, ", secret.as_bytes()).replace(']', ""),
            set(at),
        ] {
            let mut own = search.patterns.iter().filter(|(which, _)| *which == at);
            assert!(own.any(|(_, form)| hidden.contains(form)), "{hidden}");
        }
    }
}

//! No 2xx before the sync that covers the event (G03), as the kernel sees it.
//!
//! The built binary runs under strace, 200 signed events are posted over eight connections at once, and of each
//! the order is looked at: its bytes written to a file of the journal, then a sync of that file begun and
//! ended well, then the first byte of its answer. The judge is tried on traces in which that order is broken.
//! Without strace, or where tracing is not allowed, this says that it was not run.

use std::{collections::HashMap, fs, process::Command};

use crate::{
    hand::{created, new_id},
    process::System,
    soak,
};

/// Deliveries in the real trace, unless a longer one was asked for.
const DELIVERIES: usize = 200;
/// Connections at once.
const LANES: usize = 8;

/// One system call, from its beginning to its end in lines of the trace.
#[derive(Debug)]
struct Call {
    name: String,
    /// Arguments, and what came back.
    text: String,
    began: usize,
    ended: usize,
}

impl Call {
    fn file(&self) -> &str {
        let inside = self.text.split_once('<').map_or("", |(_, rest)| rest);
        inside.split_once('>').map_or("", |(file, _)| file)
    }

    fn descriptor(&self) -> &str {
        self.text.split(['<', ',', ')']).next().unwrap_or_default()
    }

    fn returned(&self) -> Option<i64> {
        let (_, value) = self.text.rsplit_once("= ")?;
        value.split_whitespace().next()?.parse().ok()
    }
}

/// Puts calls together that another thread's has cut in two.
fn calls(trace: &str) -> Vec<Call> {
    let mut found = Vec::new();
    let mut open: HashMap<&str, Call> = HashMap::new();
    for (at, line) in trace.lines().enumerate() {
        let Some((thread, rest)) = line.split_once(' ') else {
            continue;
        };
        let rest = rest.trim_start();
        if let Some(resumed) = rest.strip_prefix("<... ") {
            let (Some(mut call), Some((_, end))) = (open.remove(thread), resumed.split_once('>'))
            else {
                continue;
            };
            call.text.push_str(end);
            call.ended = at;
            found.push(call);
        } else if let Some((name, text)) = rest.split_once('(') {
            let call = |text: &str| Call {
                name: name.to_owned(),
                text: text.to_owned(),
                began: at,
                ended: at,
            };
            match text.strip_suffix(" <unfinished ...>") {
                Some(begun) => drop(open.insert(thread, call(begun))),
                None => found.push(call(text)),
            }
        }
    }
    found.sort_by_key(|call| call.ended);
    found
}

/// The id of the delivery in a request.
fn delivery(text: &str) -> Option<&str> {
    let (_, after) = text.split_once("svix-id: ")?;
    after.split(['\\', '"']).next()
}

/// How many 2xx there are, and those that came too early.
fn judge(trace: &str) -> (usize, Vec<String>) {
    let calls = calls(trace);
    let syncs: Vec<&Call> = calls
        .iter()
        .filter(|call| ["fdatasync", "fsync"].contains(&call.name.as_str()))
        .filter(|call| call.returned() == Some(0))
        .collect();
    let writes: Vec<&Call> = calls
        .iter()
        .filter(|call| call.name.starts_with("pwrite") && call.file().contains("/journal/"))
        .collect();
    let mut asked: HashMap<&str, (&str, usize)> = HashMap::new();
    let (mut answered, mut early) = (0, Vec::new());
    for call in &calls {
        let reads = ["read", "readv", "recvfrom"].contains(&call.name.as_str());
        if let (true, Some(id)) = (reads, delivery(&call.text)) {
            asked.insert(call.descriptor(), (id, call.began));
        }
        let answers = ["write", "writev", "sendto"].contains(&call.name.as_str());
        if !answers || !call.text.contains("\"HTTP/1.1 2") {
            continue;
        }
        let Some((id, since)) = asked.remove(call.descriptor()) else {
            continue;
        };
        answered += 1;
        // What ended before the request came is not about it. Both lists are in the order of their ends.
        let from = |calls: &[&Call]| calls.partition_point(|call| call.ended < since);
        let to = |calls: &[&Call]| calls.partition_point(|other| other.ended < call.began);
        let between = |calls: &[&Call]| from(calls)..to(calls).max(from(calls));
        let covered = writes[between(&writes)].iter().any(|write| {
            write.text.contains(id)
                && syncs[between(&syncs)].iter().any(|sync| {
                    let same = sync.file() == write.file();
                    same && sync.began > write.ended && sync.ended < call.began
                })
        });
        if !covered {
            early.push(id.to_owned());
        }
    }
    (answered, early)
}

const REQUEST: &str = r#"11 recvfrom(9<socket:[7]>, "POST / HTTP/1.1\r\nsvix-id: msg_1\r\n\r\n{}", 8192, 0, NULL, NULL) = 40"#;
const WRITE: &str = r#"12 pwrite64(5</s/journal/1.seg>, "\1msg_1{}", 8, 0) = 8"#;
const SYNC: &str = "12 fdatasync(5</s/journal/1.seg>) = 0";
const ANSWER: &str =
    r#"11 sendto(9<socket:[7]>, "HTTP/1.1 200 OK\r\n\r\n", 19, MSG_NOSIGNAL, NULL, 0) = 19"#;

#[test]
fn the_judge_lets_the_right_order_through_and_no_other() {
    let fine = [REQUEST, WRITE, SYNC, ANSWER].join("\n");
    assert_eq!(judge(&fine), (1, vec![]));
    let cut = [
        REQUEST,
        WRITE,
        "12 fdatasync(5</s/journal/1.seg> <unfinished ...>",
        "13 fdatasync(6</s/derived/db>) = 0",
        "12 <... fdatasync resumed>) = 0",
        ANSWER,
    ];
    assert_eq!(judge(&cut.join("\n")), (1, vec![]));
    let early = (1, vec!["msg_1".to_owned()]);
    for (what, order) in [
        (
            "acknowledged before it is stored",
            vec![REQUEST, ANSWER, WRITE, SYNC],
        ),
        (
            "acknowledged before the sync",
            vec![REQUEST, WRITE, ANSWER, SYNC],
        ),
        ("never synced", vec![REQUEST, WRITE, ANSWER]),
        ("never written", vec![REQUEST, SYNC, ANSWER]),
        (
            "synced before it was written",
            vec![REQUEST, SYNC, WRITE, ANSWER],
        ),
        (
            "another file synced",
            vec![
                REQUEST,
                WRITE,
                "12 fdatasync(6</s/journal/2.seg>) = 0",
                ANSWER,
            ],
        ),
        (
            "the sync failed",
            vec![
                REQUEST,
                WRITE,
                "12 fdatasync(5</s/journal/1.seg>) = -1 EIO (Input/output error)",
                ANSWER,
            ],
        ),
        (
            "acknowledged during the sync",
            vec![
                REQUEST,
                WRITE,
                "12 fdatasync(5</s/journal/1.seg> <unfinished ...>",
                ANSWER,
                "12 <... fdatasync resumed>) = 0",
            ],
        ),
        (
            "written during the sync",
            vec![
                REQUEST,
                "13 fdatasync(5</s/journal/1.seg> <unfinished ...>",
                WRITE,
                "13 <... fdatasync resumed>) = 0",
                ANSWER,
            ],
        ),
    ] {
        assert_eq!(judge(&order.join("\n")), early, "{what}");
    }
}

/// Whether strace is there and may trace a process of ours.
fn can_trace() -> bool {
    let tried = Command::new("strace")
        .args([
            "-D",
            "-f",
            "-qq",
            "-o",
            "/dev/null",
            "-e",
            "trace=fsync",
            "true",
        ])
        .output();
    matches!(tried, Ok(output) if output.status.success())
}

/// The answers with 2xx to so many deliveries, and the deliveries that were answered too early; nothing where
/// nothing can be traced.
pub async fn early(deliveries: usize, settings: &[(&str, &str)]) -> Option<(usize, Vec<String>)> {
    if !can_trace() {
        return None;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("trace");
    let mut system = System::prepared(settings).await;
    let trace = "trace=read,readv,recvfrom,write,writev,sendto,pwrite64,pwritev,fdatasync,fsync";
    let path = file.to_str().expect("a path");
    // -D: the daemon stays our child, so that signals reach it.
    system.start_by(&[
        "strace", "-D", "-f", "-y", "-qq", "-s", "65536", "-o", path, "-e", trace,
    ]);
    system.start_daemon().await;
    let mut posting = tokio::task::JoinSet::new();
    for lane in 0..LANES {
        let hand = system.hand();
        posting.spawn(async move {
            for n in (lane..deliveries).step_by(LANES) {
                let event = created(&format!("user_{lane}_{n}"), 1, "Ada");
                assert_eq!(hand.deliver(&new_id(), &event).await.status, 200);
            }
        });
    }
    posting.join_all().await;
    assert_eq!(system.terminate().await, 0);
    // The tracer writes its last lines after the daemon has gone.
    crate::world::eventually("the trace is whole", async || {
        let trace = fs::read(&file).expect("a trace");
        judge(&String::from_utf8_lossy(&trace)).0 == deliveries
    })
    .await;
    let trace = fs::read(&file).expect("a trace");
    Some(judge(&String::from_utf8_lossy(&trace)))
}

#[tokio::test(flavor = "multi_thread")]
async fn g03_each_2xx_follows_the_sync_that_covers_its_event() {
    let deliveries = soak::size("CCS_SOAK_SYNCED", DELIVERIES);
    let Some((answered, early)) = early(deliveries, &[]).await else {
        return soak::not_run("G03", "strace is not installed, or may not trace here");
    };
    let words = format!(
        "{answered} answers with 2xx, {} before the sync of their event",
        early.len()
    );
    soak::say("G03", &words);
    assert_eq!((answered, early), (deliveries, Vec::new()));
}

//! G26: restarts of a daemon whose public socket the service manager holds.
//!
//! The test holds the socket as systemd does and hands it over to each process. Every delivery comes over a
//! connection of its own, so that none outlives what a restart does; none of them may be refused.

use std::{
    net::{SocketAddr, TcpListener},
    os::fd::OwnedFd,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::{
    answers::signed,
    hand::created,
    process::System,
    soak::{self, Dice},
    wire::post,
    world::eventually,
};

const SENDERS: usize = 6;
/// Far longer than any restart takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// What came of connections.
#[derive(Default)]
struct Counts {
    /// Nobody listened.
    refused: AtomicUsize,
    /// The connection ended without an answer.
    hung_up: AtomicUsize,
    acknowledged: AtomicUsize,
}

/// The status of the answer to one request on a connection of its own; none if there was no answer.
async fn ask(address: SocketAddr, request: &[u8], counts: &Counts) -> Option<u16> {
    let Ok(mut socket) = TcpStream::connect(address).await else {
        counts.refused.fetch_add(1, Ordering::Relaxed);
        return None;
    };
    let mut head = [0; 12];
    let exchange = async {
        socket.write_all(request).await?;
        socket.read_exact(&mut head).await
    };
    let exchanged = timeout(PATIENCE, exchange).await;
    if exchanged.expect("an answer, or an end").is_err() {
        counts.hung_up.fetch_add(1, Ordering::Relaxed);
        return None;
    }
    std::str::from_utf8(&head[9..]).ok()?.parse().ok()
}

/// Delivers one user after another, each until it is acknowledged; those users.
async fn send(
    address: SocketAddr,
    name: String,
    counts: Arc<Counts>,
    stop: Arc<AtomicBool>,
) -> Vec<String> {
    let mut users = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let user = format!("user_{name}_{}", users.len());
        let body = created(&user, 1, "Ada").to_string().into_bytes();
        let request = post(&signed(&body), &body);
        loop {
            match ask(address, &request, &counts).await {
                Some(200) => break,
                Some(503) | None => sleep(Duration::from_millis(10)).await,
                Some(other) => panic!("{other} to a good delivery"),
            }
        }
        counts.acknowledged.fetch_add(1, Ordering::Relaxed);
        users.push(user);
    }
    users
}

#[tokio::test(flavor = "multi_thread")]
async fn g26_while_the_daemon_is_restarted_its_handed_over_socket_refuses_nobody() {
    let mut dice = Dice::new();
    let restarts = soak::size("CCS_SOAK_RESTARTS", 5);
    let socket = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = socket.local_addr().expect("an address");
    let mut system = System::prepared(&[]).await;
    system.hand_over(socket);
    system.start_daemon().await;
    assert_eq!(
        system.address(),
        address,
        "it listens where it was handed over"
    );
    let (counts, stop) = (
        Arc::new(Counts::default()),
        Arc::new(AtomicBool::new(false)),
    );
    let mut senders = JoinSet::new();
    for sender in 0..SENDERS {
        let (counts, stop) = (Arc::clone(&counts), Arc::clone(&stop));
        senders.spawn(send(
            address,
            format!("{}_{sender}", dice.seed),
            counts,
            stop,
        ));
    }
    let mut cut_off = 0;
    for restart in 0..restarts {
        let before = counts.acknowledged.load(Ordering::Relaxed);
        let more = 10 + usize::try_from(dice.below(20)).expect("a few");
        eventually("the load is on", async || {
            counts.acknowledged.load(Ordering::Relaxed) > before + more
        })
        .await;
        let hung_up = counts.hung_up.load(Ordering::Relaxed);
        // The last one ends as in a crash: whoever was inside is cut off then, and nobody else.
        if restart + 1 == restarts {
            system.kill().await;
            system.start_daemon().await;
            cut_off = counts.hung_up.load(Ordering::Relaxed) - hung_up;
        } else {
            assert_eq!(system.terminate().await, 0, "{}", system.log.text());
            system.start_daemon().await;
        }
    }
    stop.store(true, Ordering::Relaxed);
    let users: Vec<String> = senders.join_all().await.into_iter().flatten().collect();
    system.door().idle().await;
    let there = crate::runs::keys(&system.convex, "users");
    let lost = users.iter().filter(|user| !there.contains(*user)).count();
    let refused = counts.refused.load(Ordering::Relaxed);
    let hung_up = counts.hung_up.load(Ordering::Relaxed) - cut_off;
    soak::say(
        "G26",
        &format!(
            "{restarts} restarts with a socket that was handed over, the last one by SIGKILL, {} deliveries acknowledged, \
             each over a connection of its own: {refused} refused, {hung_up} ended without an answer by SIGTERM, \
             {lost} lost; seed {}",
            users.len(),
            dice.seed
        ),
    );
    assert_eq!((refused, hung_up, lost), (0, 0, 0));
    assert_eq!(there.len(), system.convex.count("users"));
    assert_eq!(system.terminate().await, 0);
}

/// How a daemon that is handed this ends, and what it says.
async fn handed(socket: impl Into<OwnedFd>) -> (Option<i32>, String) {
    let mut system = System::prepared(&[]).await;
    system.hand_over(TcpListener::from(socket.into()));
    let ended = system.run(&["run"]).await;
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    (ended.status.code(), said)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_listening_socket_or_is_open_to_all_without_encryption_is_not_taken() {
    let file = tempfile::tempfile().expect("a file");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let connection = std::net::TcpStream::connect(address).expect("a connection");
    let open = TcpListener::bind("0.0.0.0:0").expect("a port");
    for ((code, said), reason) in [
        (handed(file).await, "is not a socket"),
        (handed(connection).await, "Accept=no"),
        (handed(open).await, "without encryption"),
    ] {
        assert_eq!(code, Some(1), "{said}");
        assert!(
            said.contains("handed over cannot be used") && said.contains(reason),
            "{said}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_handed_to_another_process_is_left_alone() {
    let mut system = System::prepared(&[("LISTEN_FDS", "1"), ("LISTEN_PID", "1")]).await;
    system.start_daemon().await;
    system.hand().say(&created("user_1", 1, "Ada")).await;
    system.door().idle().await;
    assert_eq!(system.convex.count("users"), 1);
    assert_eq!(system.terminate().await, 0);
}

//! Slow clients (G08), and what there is no room for: silent ones, half a head, one byte a second, deaf ones.
//!
//! No test measures a deadline: each slow client waits until it is hung up on and comes again, while deliveries
//! between them are all taken in. `CCS_SOAK_SLOW` is the number of clients of each kind, `CCS_SOAK_SLOW_SECONDS`
//! how long they go on. The short form sets the deadlines short; the long one has those of the program.

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use rustix::{
    net::sockopt::{set_socket_keepalive, set_tcp_keepidle, set_tcp_keepintvl},
    process::{Resource, Rlimit, getrlimit, prlimit},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream, UnixStream},
    task::JoinSet,
    time::timeout,
};

use crate::{
    answers::{body, signed},
    hand::{created, updated},
    measure::{memory, mib, open_files, size},
    process::System,
    wire::{Wire, ask, head, post},
    world::{World, eventually},
};

/// Clients that fill every buffer between the two ends before they are waited for.
const DEAF: usize = 3;
/// What memory may grow by while they are there, in bytes.
const GROWTH: u64 = 64 << 20;
/// The longest that anything is waited for: ten times the longest deadline, for machines that stand still for minutes.
const PATIENCE: Duration = Duration::from_secs(600);
/// How long who was hung up on stays away: these are slow clients, and no flood of connections.
const AWAY: Duration = Duration::from_secs(1);
/// How long after a delivery the next one comes.
const BETWEEN: Duration = Duration::from_millis(20);
/// Deadlines of the short form.
const SHORT: [(&str, &str); 3] = [
    ("CCS_LISTEN__HEADER_TIMEOUT", "1s"),
    ("CCS_LISTEN__BODY_TIMEOUT", "1s"),
    ("CCS_LISTEN__IDLE_TIMEOUT", "1s"),
];

#[derive(Clone, Copy, Debug)]
enum Slow {
    Silent,
    HalfAHead,
    /// One byte of the body a moment.
    Drips,
    /// The same where no body is wanted.
    DripsElsewhere,
    /// What belongs to TLS.
    Garbage,
    /// Asks and asks, and reads no answer.
    Deaf,
}

/// A connection that looks now and then whether there is another end. While the listener's queue is full, its kernel
/// lets go of a connection that the client's already takes for one: who then says nothing would never hear of it.
async fn connected(address: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect(address).await.expect("a connection");
    let moment = Duration::from_secs(10);
    let looks = set_socket_keepalive(&socket, true)
        .and_then(|()| set_tcp_keepidle(&socket, moment))
        .and_then(|()| set_tcp_keepintvl(&socket, moment));
    looks.expect("a socket that can be told to");
    socket
}

/// Waits until the other end has hung up, and throws away what it says.
async fn hung_up(mut socket: impl AsyncReadExt + Unpin) {
    let mut rest = Vec::new();
    let read = timeout(PATIENCE, socket.read_to_end(&mut rest)).await;
    // A reset is an end, too.
    let _ = read.expect("the listener hangs up");
}

async fn drip(socket: TcpStream, begun: Vec<u8>) {
    let (reading, mut writing) = socket.into_split();
    let drips = async {
        if writing.write_all(&begun).await.is_err() {
            return;
        }
        loop {
            tokio::time::sleep(Duration::from_millis(200)).await;
            if writing.write_all(b"x").await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = hung_up(reading) => {}
        () = drips => {}
    }
}

impl Slow {
    /// One connection, until it is hung up on.
    async fn come(self, address: SocketAddr) {
        let body = body();
        let announced = |length: usize| format!("content-length: {length}\r\n\r\n").into_bytes();
        if let Slow::Deaf = self {
            return deaf(address).await;
        }
        let mut socket = connected(address).await;
        let begun = match self {
            Slow::Silent | Slow::Deaf => Vec::new(),
            Slow::HalfAHead => b"POST /api/webhooks/clerk HTTP/1.1\r\nhost: l\r\nsvix-i".to_vec(),
            Slow::Drips => {
                return drip(socket, [head(&signed(&body)), announced(9_000)].concat()).await;
            }
            Slow::DripsElsewhere => {
                let elsewhere = b"POST /elsewhere HTTP/1.1\r\nhost: l\r\n".to_vec();
                return drip(socket, [elsewhere, announced(9_000)].concat()).await;
            }
            Slow::Garbage => b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
        };
        let _ = socket.write_all(&begun).await;
        hung_up(socket).await;
    }
}

/// Writes requests until the listener has given up: it stops reading once its answers are not read.
async fn deaf(address: SocketAddr) {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4096).expect("a small buffer");
    let mut socket = socket.connect(address).await.expect("a connection");
    let many = b"GET /healthz HTTP/1.1\r\nhost: l\r\n\r\n".repeat(100);
    let writing = async { while socket.write_all(&many).await.is_ok() {} };
    timeout(PATIENCE, writing)
        .await
        .expect("the listener hangs up");
}

#[tokio::test(flavor = "multi_thread")]
async fn g08_slow_clients_are_hung_up_on_and_keep_nobody_else_out() {
    let (each, seconds) = (size("SLOW", 100), size("SLOW_SECONDS", 0));
    // With thousands of clients on a busy machine a good request may take as long as the short ones.
    let bounds = if seconds > 0 { &[][..] } else { &SHORT };
    let mut system = System::prepared(bounds).await;
    system.set_as_the_unit();
    system.start_daemon().await;
    let hand = system.hand();
    hand.say(&created("user_first", 1, "Ada")).await;
    system.door().idle().await;
    let (files, memory_before) = (open_files(system.pid()), memory(system.pid()));
    let over = Arc::new(AtomicBool::new(false));
    // All that came, and those among them that are only ended by the clock.
    let [came, waited] = [(); 2].map(|()| Arc::new(AtomicUsize::new(0)));
    let mut clients = JoinSet::new();
    let kinds = [
        Slow::Silent,
        Slow::HalfAHead,
        Slow::Drips,
        Slow::DripsElsewhere,
        Slow::Garbage,
    ];
    let deaf = [Slow::Deaf; DEAF];
    let all = kinds
        .into_iter()
        .flat_map(|kind| vec![kind; each])
        .chain(deaf);
    for kind in all {
        let (address, over) = (system.address(), Arc::clone(&over));
        let (came, waited) = (Arc::clone(&came), Arc::clone(&waited));
        clients.spawn(async move {
            loop {
                kind.come(address).await;
                came.fetch_add(1, Ordering::Relaxed);
                if let Slow::Silent = kind {
                    waited.fetch_add(1, Ordering::Relaxed);
                }
                // Who writes all the time is no slow client, until nothing more goes in.
                if over.load(Ordering::Relaxed) || matches!(kind, Slow::Deaf) {
                    return;
                }
                tokio::time::sleep(AWAY).await;
            }
        });
    }
    let began = Instant::now();
    let (mut took, mut most) = (Vec::new(), memory_before);
    // Until the silent ones have been hung up on, by the look of it, twice.
    while waited.load(Ordering::Relaxed) < 2 * each || began.elapsed().as_secs() < seconds as u64 {
        let asked = Instant::now();
        // About one user and not many a second, since what is known of users takes memory as well.
        let version = 2 + i64::try_from(took.len()).expect("few");
        hand.say(&updated("user_first", version, "Ada")).await;
        took.push(asked.elapsed());
        most = most.max(memory(system.pid()));
        tokio::time::sleep(BETWEEN).await;
    }
    over.store(true, Ordering::Relaxed);
    clients.join_all().await;
    took.sort_unstable();
    println!(
        "G08: {} slow clients at once, hung up on {} times; {} deliveries in between, all taken in, p99 {:?}; \
         memory +{:.1} MiB at most",
        kinds.len() * each + DEAF,
        came.load(Ordering::Relaxed),
        took.len(),
        took[(took.len() - 1) * 99 / 100],
        mib(most - memory_before),
    );
    assert!(most - memory_before <= GROWTH);
    if let Some(files) = files {
        eventually("their descriptors are given back", async || {
            open_files(system.pid()).is_some_and(|now| now <= files + 10)
        })
        .await;
    }
    system.door().every_delivery_has_one_end(0).await;
    assert_eq!(system.log.count("panicked"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_that_does_not_end_is_hung_up_on() {
    let file = |name: &str| format!("{}/tests/fixtures/tls/{name}", env!("CARGO_MANIFEST_DIR"));
    let (cert, key) = (file("first.crt"), file("first.key"));
    let world = World::with(&[
        ("CCS_LISTEN__TLS_CERT", cert.as_str()),
        ("CCS_LISTEN__TLS_KEY", key.as_str()),
        ("CCS_LISTEN__HEADER_TIMEOUT", "300ms"),
    ])
    .await;
    let mut clients = JoinSet::new();
    // The beginning of a greeting, and what is none.
    for begun in [&b"\x16\x03\x01\x02\x00\x01\x00"[..], b"POST / HTTP/1.1\r\n"] {
        for _ in 0..20 {
            let address = world.daemon().public_addr();
            clients.spawn(async move {
                let mut socket = TcpStream::connect(address).await.expect("a connection");
                let _ = socket.write_all(begun).await;
                hung_up(socket).await;
            });
        }
    }
    clients.join_all().await;
}

/// Lets a process open so many files.
fn allow_files(system: &System, most: u64) {
    let limit = Rlimit {
        current: Some(most),
        ..getrlimit(Resource::Nofile)
    };
    let before = prlimit(Some(system.pid()), Resource::Nofile, limit);
    before.expect("a limit that may be changed");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_descriptor_left_connections_wait_and_open_ones_go_on() {
    let system = System::start().await;
    let Some(files) = open_files(system.pid()) else {
        println!("NOT RUN: only root sees how many files the daemon has open");
        return;
    };
    let mut open = Wire::to(system.address()).await;
    let body = body();
    open.write(&post(&signed(&body), &body)).await;
    assert_eq!(open.reply().await.expect("an answer").status, 200);
    system.door().idle().await;
    let files = open_files(system.pid()).unwrap_or(files);
    allow_files(&system, files as u64 + 2);
    let mut others = Vec::new();
    for _ in 0..20 {
        others.push(TcpStream::connect(system.address()).await.expect("queued"));
    }
    const RAISED: &str = "\"alert\":\"out_of_files\"";
    eventually("somebody is told", async || system.log.count(RAISED) == 1).await;
    for _ in 0..20 {
        open.write(&post(&signed(&body), &body)).await;
        assert_eq!(open.reply().await.expect("an answer").status, 200);
    }
    allow_files(&system, 4096);
    let reply = ask(system.address(), &post(&signed(&body), &body)).await;
    assert_eq!(reply.expect("an answer").status, 200);
    eventually("it is over", async || {
        !system
            .door()
            .alerts()
            .await
            .contains(&"out_of_files".to_owned())
    })
    .await;
    system.door().idle().await;
    assert_eq!(system.log.count("panicked"), 0);
}

/// The beginning of the answer to a request that may not be whole.
async fn status_of(path: PathBuf, request: String) -> String {
    let mut socket = UnixStream::connect(path).await.expect("a connection");
    socket.write_all(request.as_bytes()).await.expect("written");
    let mut first = [0; 12];
    let read = timeout(PATIENCE, socket.read_exact(&mut first)).await;
    read.expect("an answer").expect("an answer");
    String::from_utf8_lossy(&first).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operators_doors_hang_up_on_slow_ones_too_and_serve_the_others() {
    const TOKEN: &str = "a-token-of-operators";
    let world = World::with(&[
        ("CCS_ADMIN__ADDRESS", "127.0.0.1:0"),
        ("CCS_ADMIN__TOKEN", TOKEN),
    ])
    .await;
    let address = world.daemon().admin_addr().expect("a TCP address");
    let mut slow = JoinSet::new();
    // As many as there are places.
    for _ in 0..64 {
        let socket = TcpStream::connect(address).await.expect("a connection");
        slow.spawn(hung_up(socket));
    }
    let path = world.daemon().admin_socket().to_owned();
    for begun in [&b""[..], b"GET /status HTTP/1.1\r\nhost: localhost\r\nx-"] {
        let mut socket = UnixStream::connect(&path).await.expect("a connection");
        socket.write_all(begun).await.expect("written");
        slow.spawn(hung_up(socket));
    }
    let begun = |length: usize| {
        let head = "POST /failures/retry HTTP/1.1\r\nhost: localhost\r\ncontent-length: ";
        format!("{head}{length}\r\n\r\n{{")
    };
    // A body that does not come.
    let late = tokio::spawn(status_of(path.clone(), begun(10)));
    let large = status_of(path, begun(2_000_000)).await;
    assert_eq!(large, "HTTP/1.1 413");
    // The other door is not concerned, and this one serves whoever waits for a place.
    assert_eq!(world.door().get("/status").await["paused"], false);
    let asking = format!(
        "GET /status HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {TOKEN}\r\nconnection: close\r\n\r\n"
    );
    let reply = ask(address, asking.as_bytes()).await.expect("an answer");
    assert_eq!(reply.status, 200);
    assert_eq!(late.await.expect("it ends"), "HTTP/1.1 408");
    slow.join_all().await;
}

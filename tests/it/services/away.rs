//! G34, further: names that do not resolve, an address at which nobody answers, connections that die while they
//! are kept open. Deliveries are taken in all the while, and written when the network is back.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use rustix::net::{AddressFamily, SocketType, bind, listen, socket, sockopt::set_socket_linger};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
    time::timeout,
};

use super::{Between, say, seed, size};
use crate::{
    door::Door,
    durability::native,
    hand::{Hand, created, new_id},
    process::System,
    world::{World, eventually},
};

/// Delivers so many new users; each must be acknowledged. How long the slowest answer took.
async fn deliver(hand: &Hand, name: &str, events: usize) -> Duration {
    let mut slowest = Duration::ZERO;
    for n in 0..events {
        let asked = Instant::now();
        let event = created(&format!("user_{name}_{n}"), 1, "Ada");
        let answer = hand.deliver(&new_id(), &event).await;
        assert_eq!(answer.status, 200, "{name}: {answer:?}");
        slowest = slowest.max(asked.elapsed());
    }
    slowest
}

async fn noticed(door: &Door) {
    eventually("it is noticed", async || {
        door.alerts().await.contains(&"convex_away".to_owned())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn g34_while_no_name_resolves_deliveries_are_taken_in_and_written_when_it_does() {
    let (seed, events) = (seed(), size("G34_EVENTS", 40));
    let dir = tempfile::tempdir().expect("a directory");
    let library = match native::names(dir.path()) {
        Ok(library) => library,
        Err(why) => return println!("G34: NOT RUN: {why}"),
    };
    let there = dir.path().join("there");
    let mut system = System::prepared(&[("CCS_CONVEX__TIMEOUT", "1s")]).await;
    system.set("LD_PRELOAD", library.to_str().expect("a path of ours"));
    system.set("NAMES_RESOLVE", there.to_str().expect("a path of ours"));
    let named = |url: String, name| url.replace("127.0.0.1", name);
    let convex = named(system.convex.url(), "convex.localhost");
    let clerk = named(system.clerk.url(), "clerk.localhost");
    system.set("CONVEX_URL", &convex);
    system.set("CLERK_API_URL", &clerk);
    // It starts all the same.
    system.start_daemon().await;
    let slowest = deliver(&system.hand(), "unnamed", events).await;
    noticed(&system.door()).await;
    assert_eq!(system.convex.count("users"), 0);
    std::fs::write(&there, "").expect("written");
    let back = Instant::now();
    system.door().idle().await;
    let back = back.elapsed();
    assert_eq!(system.convex.count("users"), events);
    assert_eq!(system.door().failures().await.len(), 0);
    system.door().every_delivery_has_one_end(0).await;
    say(
        "G34",
        seed,
        format!(
            "no name resolves: slowest answer {slowest:.1?}, all written {back:.1?} after its return"
        ),
    );
}

/// An address whose queue of connections is full, so that the kernel answers nobody else; and those who fill it.
async fn unanswered() -> (std::net::TcpListener, Vec<TcpStream>) {
    let queue = socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
    bind(&queue, &SocketAddr::from(([127, 0, 0, 1], 0))).expect("a port");
    listen(&queue, 0).expect("it listens");
    let queue = std::net::TcpListener::from(queue);
    let address = queue.local_addr().expect("an address");
    let mut filling = Vec::new();
    while let Ok(came) = timeout(Duration::from_millis(300), TcpStream::connect(address)).await {
        filling.push(came.expect("it is queued"));
        assert!(filling.len() < 100, "the queue has no end");
    }
    (queue, filling)
}

#[tokio::test(flavor = "multi_thread")]
async fn g34_while_an_address_answers_nobody_deliveries_are_taken_in_and_calls_end() {
    let (seed, events) = (seed(), size("G34_EVENTS", 40));
    let mut world = World::with(&[("CCS_CONVEX__TIMEOUT", "1s")]).await;
    world.stop_daemon().await;
    let (queue, filling) = unanswered().await;
    let address = queue.local_addr().expect("an address");
    world.set("CONVEX_URL", &format!("http://{address}"));
    world.start_daemon().await;
    let slowest = deliver(&world.hand(), "unheard", events).await;
    noticed(&world.door()).await;
    let figures = world.door().figures().await;
    assert!(
        figures.sum("convex_requests_total", &[]) > 0.0,
        "calls have ended, though nobody answered: {figures:?}"
    );
    assert_eq!(world.convex.count("users"), 0);
    let wire = Between::on(queue, world.convex.url());
    drop(filling);
    let back = Instant::now();
    world.door().idle().await;
    let back = back.elapsed();
    assert_eq!(world.convex.count("users"), events);
    assert!(wire.count() > 0);
    assert_eq!(world.door().failures().await.len(), 0);
    world.settled().await;
    say(
        "G34",
        seed,
        format!(
            "an address that answers nobody: slowest answer {slowest:.1?}, all written {back:.1?} after its return"
        ),
    );
}

/// How a cable is.
#[derive(Clone, Copy, PartialEq)]
enum Cable {
    Good,
    /// What is open is silent for ever; what is opened from now on is good.
    Dead,
    /// Everything is reset, also what is opened.
    Storm,
}

/// Carries connections as they are, for as long as the cable is good.
async fn lay(behind: SocketAddr) -> (String, watch::Sender<Cable>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let (cable, state) = watch::channel(Cable::Good);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(carry(stream, behind, state.clone()));
        }
    });
    (url, cable)
}

async fn carry(mut stream: TcpStream, behind: SocketAddr, mut state: watch::Receiver<Cable>) {
    let reset = |stream: &TcpStream| {
        let at_once = set_socket_linger(stream, Some(Duration::ZERO));
        at_once.expect("a socket of ours");
    };
    if *state.borrow_and_update() == Cable::Storm {
        return reset(&stream);
    }
    let mut further = TcpStream::connect(behind).await.expect("the service");
    tokio::select! {
        _ = copy_bidirectional(&mut stream, &mut further) => return,
        changed = state.changed() => if changed.is_err() { return },
    }
    let now = *state.borrow_and_update();
    match now {
        Cable::Dead => std::future::pending().await,
        Cable::Storm => reset(&stream),
        Cable::Good => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn g34_connections_that_die_while_they_are_open_cost_a_call_and_no_delivery() {
    let (seed, events) = (seed(), size("G34_EVENTS", 40));
    let mut world = World::with(&[("CCS_CONVEX__TIMEOUT", "1s")]).await;
    world.stop_daemon().await;
    let behind = world.convex.url().replace("http://", "");
    let (url, cable) = lay(behind.parse().expect("an address")).await;
    world.set("CONVEX_URL", &url);
    world.start_daemon().await;
    let mut users = 0;
    for (how, now) in [("dead", Cable::Dead), ("reset", Cable::Storm)] {
        // So that there are connections.
        deliver(&world.hand(), &format!("before_{how}"), events).await;
        world.door().idle().await;
        cable.send_replace(now);
        let slowest = deliver(&world.hand(), how, events).await;
        if now == Cable::Storm {
            noticed(&world.door()).await;
            cable.send_replace(Cable::Good);
        }
        let back = Instant::now();
        world.door().idle().await;
        let back = back.elapsed();
        users += 2 * events;
        assert_eq!(world.convex.count("users"), users, "{how}");
        say(
            "G34",
            seed,
            format!(
                "connections {how}: slowest answer {slowest:.1?}, all written {back:.1?} later"
            ),
        );
    }
    assert_eq!(world.door().failures().await.len(), 0);
    super::never_twice_never_back(&world.convex);
    world.settled().await;
}

//! A listener with handlers of a test's own: what panics, what nobody reads, how many at once.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicUsize, Ordering},
};

use axum::routing::get;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::oneshot,
    task::JoinHandle,
};

use super::*;

struct Running {
    address: SocketAddr,
    stop: CancellationToken,
    task: JoinHandle<()>,
    panics: Arc<AtomicUsize>,
}

const BOUNDS: Bounds = Bounds {
    header_timeout: Duration::from_secs(30),
    idle_timeout: Duration::from_millis(300),
    max_connections: 100,
};

async fn served(router: Router, bounds: Bounds) -> Running {
    served_by(Crew::here(), router, bounds).await
}

async fn served_by(crew: Crew, router: Router, bounds: Bounds) -> Running {
    served_on(local().await, crew, router, bounds)
}

async fn local() -> Listener {
    Listener::bind(([127, 0, 0, 1], 0).into(), None)
        .await
        .unwrap()
}

fn served_on(listener: Listener, crew: Crew, router: Router, bounds: Bounds) -> Running {
    let address = listener.address().unwrap();
    let (stop, panics) = (CancellationToken::new(), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&panics);
    let on_fault: OnFault = Arc::new(move |fault| {
        assert!(matches!(fault, Fault::Panicked), "{fault:?}");
        count.fetch_add(1, Ordering::Relaxed);
    });
    let first = crew.first().clone();
    let serve = super::serve(
        listener,
        crew,
        router,
        bounds,
        |_| Some(()),
        on_fault,
        stop.clone(),
    );
    Running {
        address,
        stop,
        task: first.spawn(serve),
        panics,
    }
}

async fn ask(address: SocketAddr, path: &str) -> String {
    let mut socket = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: l\r\nconnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_that_panics_costs_its_own_request_and_is_counted() {
    async fn fails() -> &'static str {
        panic!("planted")
    }
    let router = Router::new()
        .route("/fails", get(fails))
        .route("/fine", get(|| async { "fine" }));
    let served = served(router, BOUNDS).await;
    for round in 1..=3 {
        let failed = ask(served.address, "/fails").await;
        assert!(failed.starts_with("HTTP/1.1 500 "), "{failed}");
        assert!(failed.ends_with("\r\n\r\nfailed\n"), "{failed}");
        assert!(ask(served.address, "/fine").await.ends_with("fine"));
        assert_eq!(served.panics.load(Ordering::Relaxed), round);
    }
    served.stop.cancel();
    served.task.await.unwrap();
}

/// Says when it is dropped.
struct Told(Option<oneshot::Sender<()>>);

impl Drop for Told {
    fn drop(&mut self) {
        let _ = self.0.take().map(|told| told.send(()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_reads_no_answer_is_hung_up_on() {
    let (tell, told) = oneshot::channel();
    let tell = Arc::new(std::sync::Mutex::new(Some(tell)));
    // More than any buffer between the two ends holds.
    let endless = move || {
        let told = Told(tell.lock().unwrap().take());
        async move {
            let chunks = futures_util::stream::repeat_with(move || {
                let _kept = &told;
                Ok::<_, Infallible>(axum::body::Bytes::from_static(&[b'x'; 16 * 1024]))
            });
            Body::from_stream(chunks)
        }
    };
    let served = served(Router::new().route("/", get(endless)), BOUNDS).await;
    let mut deaf = TcpStream::connect(served.address).await.unwrap();
    deaf.write_all(b"GET / HTTP/1.1\r\nhost: l\r\n\r\n")
        .await
        .unwrap();
    told.await.expect("the answer is given up");
    drop(deaf);
    served.stop.cancel();
    served.task.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn beyond_the_most_connections_others_wait_until_one_has_ended() {
    let bounds = Bounds {
        max_connections: 2,
        ..BOUNDS
    };
    let served = served(Router::new().route("/", get(|| async { "fine" })), bounds).await;
    // Silent ones give their places back after the idle timeout.
    let mut silent = Vec::new();
    for _ in 0..10 {
        silent.push(TcpStream::connect(served.address).await.unwrap());
    }
    assert!(ask(served.address, "/").await.ends_with("fine"));
    served.stop.cancel();
    served.task.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_connections_are_served_at_once_than_there_are_places() {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let seen = Arc::clone(&most);
    let busy = move || {
        let (now, most) = (Arc::clone(&now), Arc::clone(&most));
        async move {
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            // Long enough for others to come in, if they were let in.
            sleep(Duration::from_millis(20)).await;
            now.fetch_sub(1, Ordering::SeqCst);
            "fine"
        }
    };
    let bounds = Bounds {
        max_connections: 2,
        ..BOUNDS
    };
    let served = served(Router::new().route("/", get(busy)), bounds).await;
    let asked = (0..10).map(|_| ask(served.address, "/"));
    for answer in futures_util::future::join_all(asked).await {
        assert!(answer.ends_with("fine"), "{answer}");
    }
    let most = seen.load(Ordering::SeqCst);
    assert!((1..=2).contains(&most), "{most} at once");
    served.stop.cancel();
    served.task.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_beyond_its_bound_reaches_no_handler() {
    let router = Router::new().route("/", get(|| async { "fine" }));
    let served = served(router, BOUNDS).await;
    for (bytes, fine) in [(MAX_HEAD / 2, true), (4 * MAX_HEAD, false)] {
        let mut socket = TcpStream::connect(served.address).await.unwrap();
        let long = "a".repeat(bytes);
        let request =
            format!("GET / HTTP/1.1\r\nhost: l\r\nconnection: close\r\nx-long: {long}\r\n\r\n");
        // Whoever refuses need not hear all of it, and the end of the connection may overtake the answer.
        let _ = socket.write_all(request.as_bytes()).await;
        let mut answer = Vec::new();
        let _ = socket.read_to_end(&mut answer).await;
        assert_eq!(answer.ends_with(b"fine"), fine, "{bytes}");
    }
    served.stop.cancel();
    served.task.await.unwrap();
}

/// Asks on a connection that stays open; every answer here is a thread's number.
async fn ask_again(socket: &mut TcpStream) -> String {
    socket
        .write_all(b"GET / HTTP/1.1\r\nhost: l\r\n\r\n")
        .await
        .unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b".") {
        assert!(socket.read_buf(&mut answer).await.unwrap() > 0, "closed");
    }
    let answer = String::from_utf8(answer).unwrap();
    answer.rsplit("\r\n").next().unwrap().to_owned()
}

#[tokio::test]
async fn a_crew_shares_connections_evenly_and_each_stays_where_it_is() {
    let own = || async { format!("{:?}.", std::thread::current().id()) };
    let crew = Crew::start("crew", 3).unwrap();
    let served = served_by(crew.clone(), Router::new().route("/", get(own)), BOUNDS).await;

    let mut open = Vec::new();
    let mut by_thread = std::collections::BTreeMap::new();
    for _ in 0..6 {
        let mut socket = TcpStream::connect(served.address).await.unwrap();
        let thread = ask_again(&mut socket).await;
        *by_thread.entry(thread.clone()).or_insert(0) += 1;
        open.push((socket, thread));
    }
    assert_eq!(by_thread.into_values().collect::<Vec<_>>(), [2, 2, 2]);
    for (socket, thread) in &mut open {
        assert_eq!(ask_again(socket).await, *thread);
    }

    // Where there are fewer now, the next one goes.
    let (gone, thread) = open.pop().unwrap();
    drop(gone);
    let mut elsewhere = 0;
    while ask_on(served.address).await != thread {
        elsewhere += 1;
        assert!(elsewhere < 1000, "its place stays taken");
    }

    served.stop.cancel();
    served.task.await.unwrap();
    for (socket, _) in &mut open {
        assert_eq!(socket.read(&mut [0]).await.unwrap(), 0, "closed in order");
    }
    crew.end();
}

/// Asks on a connection of its own.
async fn ask_on(address: SocketAddr) -> String {
    ask_again(&mut TcpStream::connect(address).await.unwrap()).await
}

#[tokio::test]
async fn a_crew_that_is_ended_ends_what_it_has_in_hand() {
    let crew = Crew::start("crew", 2).unwrap();
    let (tell, told) = oneshot::channel();
    let tell = Arc::new(std::sync::Mutex::new(Some(tell)));
    let never = move || {
        let _ = tell.lock().unwrap().take().map(|tell| tell.send(()));
        std::future::pending::<&str>()
    };
    let router = Router::new().route("/", get(never));
    let served = served_by(crew.clone(), router, BOUNDS).await;
    let mut socket = TcpStream::connect(served.address).await.unwrap();
    socket
        .write_all(b"GET / HTTP/1.1\r\nhost: l\r\n\r\n")
        .await
        .unwrap();
    told.await.unwrap();
    crew.end();
    assert!(served.task.await.is_err(), "cancelled");
    let cut_off = socket.read(&mut [0]).await;
    assert!(matches!(cut_off, Ok(0) | Err(_)), "{cut_off:?}");
}

#[test]
fn who_comes_is_let_in_while_the_runtime_that_bound_the_listener_is_busy() {
    let busy = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let crew = Crew::start("crew", 2).unwrap();
    // From here on nobody runs it any more.
    let listener = busy.block_on(local()).moved_to(crew.first()).unwrap();
    let router = Router::new().route("/", get(|| async { "fine" }));
    let served = served_on(listener, crew.clone(), router, BOUNDS);
    let other = tokio::runtime::Runtime::new().unwrap();
    let asked = async { timeout(Duration::from_secs(10), ask(served.address, "/")).await };
    let answer = other.block_on(asked);
    assert!(answer.unwrap().ends_with("fine"));
    served.stop.cancel();
    other.block_on(served.task).unwrap();
    crew.end();
}

//! A stretch of wire between the daemon and a simulated service, which a test may tamper with.
//!
//! Passes requests on and answers back, one to a connection, unless its rule says otherwise: another answer,
//! byte by byte if need be, or the true answer with a lie in it or cut off. Keeps of each request when it came
//! and what it was for; knows neither service.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::{Duration, Instant, sleep},
};

/// Longer than any request of the daemon's.
const MAX_REQUEST: usize = 32 << 20;

/// See the module's words. Ends with the runtime.
#[derive(Clone)]
pub struct Between {
    /// What the daemon is told to call.
    pub url: String,
    shared: Arc<Shared>,
}

struct Shared {
    behind: String,
    client: reqwest::Client,
    rule: Mutex<Rule>,
    heard: Mutex<Vec<Heard>>,
    flying: AtomicUsize,
    most: AtomicUsize,
}

/// What is done with a request.
pub type Rule = Box<dyn FnMut(&Heard) -> Deed + Send>;

/// A request that came.
#[derive(Clone, Debug)]
pub struct Heard {
    /// `apply` for Convex, the path without the query for Clerk.
    pub what: String,
    /// The query of Clerk's requests.
    pub query: String,
    /// When it had come whole.
    pub at: Instant,
}

/// What happens to a request.
pub enum Deed {
    /// It is passed on, and so is its answer.
    Pass,
    /// It is passed on; its answer is cut off here.
    Cut(Cut),
    /// It is passed on; this is done to the document in its answer.
    Lie(Box<dyn FnOnce(&mut Value) + Send>),
    /// This is answered in its place.
    Say(Play),
}

/// Where an answer is cut off.
#[derive(Clone, Copy, Debug)]
pub enum Cut {
    BeforeStatus,
    AfterStatus,
    InBody,
}

/// Bytes that are no honest answer.
#[derive(Clone)]
pub struct Play {
    /// The beginning.
    pub head: Vec<u8>,
    /// What follows, again and again.
    pub piece: Vec<u8>,
    pub times: usize,
    /// Between the pieces, and before the connection ends.
    pub pause: Duration,
}

impl Play {
    /// An answer with this body.
    pub fn answer(status: &str, headers: &str, body: &[u8]) -> Play {
        let length = body.len();
        let head = format!("HTTP/1.1 {status}\r\n{headers}content-length: {length}\r\n\r\n");
        Play::bytes([head.as_bytes(), body].concat())
    }

    /// These bytes and an end.
    pub fn bytes(head: impl Into<Vec<u8>>) -> Play {
        Play {
            head: head.into(),
            piece: Vec::new(),
            times: 0,
            pause: Duration::ZERO,
        }
    }

    /// Followed by so many of these.
    pub fn and(self, piece: impl Into<Vec<u8>>, times: usize) -> Play {
        let piece = piece.into();
        Play {
            piece,
            times,
            ..self
        }
    }

    /// At this pace.
    pub fn every(self, pause: Duration) -> Play {
        Play { pause, ..self }
    }
}

impl Between {
    /// Listens, and passes everything on to `behind`.
    pub async fn before(behind: String) -> Between {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        Between::on(listener, behind)
    }

    /// The same where somebody listens already.
    pub fn on(listener: std::net::TcpListener, behind: String) -> Between {
        listener.set_nonblocking(true).expect("a socket of ours");
        let listener = TcpListener::from_std(listener).expect("a socket of ours");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let client = reqwest::Client::builder().no_proxy().build();
        let shared = Arc::new(Shared {
            behind,
            client: client.expect("a client"),
            rule: Mutex::new(Box::new(|_| Deed::Pass)),
            heard: Mutex::default(),
            flying: AtomicUsize::new(0),
            most: AtomicUsize::new(0),
        });
        let between = Between {
            url,
            shared: Arc::clone(&shared),
        };
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let shared = Arc::clone(&shared);
                // Whoever hangs up early is right to.
                tokio::spawn(async move { shared.carry(stream).await.ok() });
            }
        });
        between
    }

    /// From now on this is done.
    pub fn rule(&self, rule: impl FnMut(&Heard) -> Deed + Send + 'static) {
        *self.shared.rule.lock().expect("no panic while held") = Box::new(rule);
    }

    /// From now on everything passes.
    pub fn pass(&self) {
        self.rule(|_| Deed::Pass);
    }

    /// Everything that came, oldest first.
    pub fn heard(&self) -> Vec<Heard> {
        self.shared
            .heard
            .lock()
            .expect("no panic while held")
            .clone()
    }

    /// How many requests came.
    pub fn count(&self) -> usize {
        self.shared.heard.lock().expect("no panic while held").len()
    }

    /// The most requests that were under way at once.
    pub fn most(&self) -> usize {
        self.shared.most.load(Ordering::Relaxed)
    }
}

impl Shared {
    async fn carry(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let Some((head, body)) = read(&mut stream).await? else {
            return Ok(());
        };
        let flying = self.flying.fetch_add(1, Ordering::Relaxed) + 1;
        self.most.fetch_max(flying, Ordering::Relaxed);
        let done = self.answer(&mut stream, &head, body).await;
        self.flying.fetch_sub(1, Ordering::Relaxed);
        done?;
        stream.shutdown().await
    }

    async fn answer(
        &self,
        stream: &mut TcpStream,
        head: &str,
        body: Vec<u8>,
    ) -> std::io::Result<()> {
        let heard = heard(head, &body);
        let deed = {
            let mut rule = self.rule.lock().expect("no panic while held");
            rule(&heard)
        };
        {
            let mut all = self.heard.lock().expect("no panic while held");
            all.push(heard);
        }
        let (cut, lie) = match deed {
            Deed::Say(play) => return play.perform(stream).await,
            Deed::Cut(cut) => (Some(cut), None),
            Deed::Lie(lie) => (None, Some(lie)),
            Deed::Pass => (None, None),
        };
        let (mut answer, mut body) = self.ask(head, body).await;
        if let Some(lie) = lie {
            let mut document = serde_json::from_slice(&body).expect("a document");
            lie(&mut document);
            body = document.to_string().into_bytes();
        }
        let status = answer.find("\r\n").map_or(0, |end| end + 2);
        answer.push_str(&format!("content-length: {}\r\n\r\n", body.len()));
        match cut {
            Some(Cut::BeforeStatus) => answer.clear(),
            Some(Cut::AfterStatus) => answer.truncate(status),
            Some(Cut::InBody) | None => {}
        }
        stream.write_all(answer.as_bytes()).await?;
        match cut {
            None => stream.write_all(&body).await,
            Some(Cut::InBody) => stream.write_all(&body[..body.len() / 2]).await,
            Some(_) => Ok(()),
        }
    }

    /// The service's answer: its head without the length, and its body.
    async fn ask(&self, head: &str, body: Vec<u8>) -> (String, Vec<u8>) {
        let mut lines = head.lines();
        let mut line = lines.next().unwrap_or_default().split(' ');
        let method = line.next().unwrap_or_default().parse().expect("a method");
        let target = line.next().unwrap_or_default();
        let mut request = self
            .client
            .request(method, format!("{}{target}", self.behind))
            .body(body);
        for line in lines {
            let (name, value) = line.split_once(':').unwrap_or((line, ""));
            let of_this_wire = ["host", "content-length", "connection", "accept-encoding"];
            if !name.is_empty() && !of_this_wire.contains(&name.to_ascii_lowercase().as_str()) {
                request = request.header(name, value.trim());
            }
        }
        let answer = request.send().await.expect("the service answers");
        let mut text = format!("HTTP/1.1 {}\r\nconnection: close\r\n", answer.status());
        for name in ["content-type", "retry-after", "date"] {
            let value = answer.headers().get(name).and_then(|v| v.to_str().ok());
            if let Some(value) = value {
                text.push_str(&format!("{name}: {value}\r\n"));
            }
        }
        let body = answer.bytes().await.expect("a whole answer");
        (text, body.to_vec())
    }
}

impl Play {
    async fn perform(self, stream: &mut TcpStream) -> std::io::Result<()> {
        stream.write_all(&self.head).await?;
        for _ in 0..self.times {
            stream.write_all(&self.piece).await?;
            if !self.pause.is_zero() {
                sleep(self.pause).await;
            }
        }
        if self.times == 0 && !self.pause.is_zero() {
            // Silence, until the other side has enough of it.
            let mut rest = [0; 1];
            tokio::select! {
                _ = stream.read(&mut rest) => {}
                () = sleep(self.pause) => {}
            }
        }
        Ok(())
    }
}

fn heard(head: &str, body: &[u8]) -> Heard {
    let target = head.split(' ').nth(1).unwrap_or_default();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let call: Option<Value> = serde_json::from_slice(body).ok();
    let function = call.as_ref().and_then(|call| call["path"].as_str());
    let function = function.and_then(|path| path.split_once(':'));
    Heard {
        what: function.map_or(path, |(_, name)| name).to_owned(),
        query: query.to_owned(),
        at: Instant::now(),
    }
}

/// A whole request: head and body. None if nobody asked for anything.
async fn read(stream: &mut TcpStream) -> std::io::Result<Option<(String, Vec<u8>)>> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end;
        }
        if stream.read_buf(&mut bytes).await? == 0 {
            return Ok(None);
        }
    };
    let mut body = bytes.split_off(end + 4);
    let head = String::from_utf8_lossy(&bytes).into_owned();
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.trim().parse::<usize>().ok())?
    });
    let length = length.unwrap_or(0).min(MAX_REQUEST);
    while body.len() < length {
        if stream.read_buf(&mut body).await? == 0 {
            return Ok(None);
        }
    }
    Ok(Some((head, body)))
}

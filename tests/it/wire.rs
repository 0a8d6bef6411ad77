//! HTTP by hand over a real socket, for what no client library would send.
//!
//! Writes the bytes that it is given and reads one answer, or the end of the connection. Knows as much
//! of HTTP/1.1 as telling status, headers and a body with `content-length` apart. Reading is bounded.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::{
    hand::{new_id, now_s, signature},
    world::PATH,
};

/// How long an answer, or the end of a connection, may take: far beyond any deadline of the daemon's.
const ANSWER: Duration = Duration::from_secs(30);

/// A connection to the public listener.
pub struct Wire {
    socket: TcpStream,
    read: Vec<u8>,
}

/// One answer, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Wire {
    pub async fn to(address: SocketAddr) -> Wire {
        Wire {
            socket: TcpStream::connect(address).await.expect("a connection"),
            read: Vec::new(),
        }
    }

    /// Writes; a listener that has hung up already is none of the writer's business.
    pub async fn write(&mut self, bytes: &[u8]) -> bool {
        self.socket.write_all(bytes).await.is_ok()
    }

    /// Reads one answer; `None` when the connection ends without one.
    pub async fn reply(&mut self) -> Option<Reply> {
        let read = timeout(ANSWER, self.read_reply()).await;
        read.expect("an answer, or the end of the connection")
    }

    /// Says that nothing more comes, and goes on reading.
    pub async fn said_all(&mut self) {
        self.socket.shutdown().await.expect("half closed");
    }

    /// Waits for the listener to hang up; whatever it still says is thrown away.
    pub async fn hung_up(&mut self) {
        let mut rest = Vec::new();
        let read = timeout(ANSWER, self.socket.read_to_end(&mut rest)).await;
        // A reset is an end, too.
        let _ = read.expect("the listener hangs up");
    }

    async fn read_reply(&mut self) -> Option<Reply> {
        loop {
            if let Some(reply) = self.complete() {
                return Some(reply);
            }
            let mut chunk = [0; 4096];
            match self.socket.read(&mut chunk).await {
                Ok(0) | Err(_) => return None,
                Ok(n) => self.read.extend_from_slice(&chunk[..n]),
            }
        }
    }

    fn complete(&mut self) -> Option<Reply> {
        let end = self.read.windows(4).position(|four| four == b"\r\n\r\n")?;
        let head = String::from_utf8(self.read[..end].to_vec()).expect("a head in ASCII");
        let mut lines = head.split("\r\n");
        let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
        let headers: Vec<(String, String)> = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        let length = headers.iter().find(|(name, _)| name == "content-length");
        let length: usize = length.map_or(0, |(_, value)| value.parse().expect("a length"));
        let body = self.read.get(end + 4..end + 4 + length)?;
        let body = String::from_utf8(body.to_vec()).expect("text");
        self.read.drain(..end + 4 + length);
        Some(Reply {
            status,
            headers,
            body,
        })
    }
}

impl Reply {
    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(other, _)| other == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// One request on a connection of its own.
pub async fn ask(address: SocketAddr, request: &[u8]) -> Option<Reply> {
    let mut wire = Wire::to(address).await;
    wire.write(request).await;
    wire.reply().await
}

/// The signed headers of a delivery, in the `svix-` spelling.
pub fn signed_headers(secrets: &[&str], body: &[u8]) -> Vec<(String, String)> {
    let (id, now) = (new_id(), now_s());
    let signature = signature(secrets, &id, now, body);
    let header = |name: &str, value: String| (format!("svix-{name}"), value);
    vec![
        header("id", id),
        header("timestamp", now.to_string()),
        header("signature", signature),
    ]
}

/// A whole POST to the first webhook path.
pub fn post(headers: &[(String, String)], body: &[u8]) -> Vec<u8> {
    let mut request = head(headers);
    request.extend_from_slice(format!("content-length: {}\r\n\r\n", body.len()).as_bytes());
    request.extend_from_slice(body);
    request
}

/// The head of a POST without its last empty line, so that more headers can follow.
pub fn head(headers: &[(String, String)]) -> Vec<u8> {
    let mut head = format!("POST {PATH} HTTP/1.1\r\nhost: localhost\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.into_bytes()
}

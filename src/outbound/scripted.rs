//! A far end for tests that answers with given bytes, right or wrong.
//!
//! Reads one request, writes the next bytes of its script (the last ones again and again), closes. It
//! uses a raw socket, so that nothing of the client's own HTTP library is on both sides.

use std::{
    io::{Read, Write},
    net::TcpListener,
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use url::Url;

/// The requests that a scripted end has read.
pub(crate) type Heard = Arc<Mutex<Vec<String>>>;

/// One answer for every request; with `hold` the connection stays open without a further word.
pub(crate) fn serve(answer: impl Into<Vec<u8>>, hold: bool) -> (Url, Heard) {
    script(vec![answer.into()], hold)
}

/// These answers, one after another.
pub(crate) fn script(answers: Vec<Vec<u8>>, hold: bool) -> (Url, Heard) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = Url::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
    let heard = Heard::default();
    let list = heard.clone();
    thread::spawn(move || {
        while let Ok((mut socket, _)) = listener.accept() {
            let request = read_request(&mut socket);
            let mut heard = list.lock().unwrap();
            let answer = answers.get(heard.len()).or(answers.last()).unwrap().clone();
            heard.push(request);
            drop(heard);
            let _ = socket.write_all(&answer);
            if hold {
                thread::sleep(Duration::from_secs(5));
            }
        }
    });
    (url, heard)
}

fn read_request(socket: &mut impl Read) -> String {
    let mut request = Vec::new();
    let mut chunk = [0; 4096];
    while !whole(&request) {
        match socket.read(&mut chunk) {
            Ok(0) | Err(_) => break,
            Ok(n) => request.extend_from_slice(&chunk[..n]),
        }
    }
    String::from_utf8_lossy(&request).into_owned()
}

fn whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request).to_lowercase();
    let Some(end) = text.find("\r\n\r\n") else {
        return false;
    };
    let length = text
        .split("content-length: ")
        .nth(1)
        .and_then(|rest| rest.split("\r\n").next()?.parse::<usize>().ok());
    request.len() >= end + 4 + length.unwrap_or(0)
}

/// An HTTP/1.1 answer with a body.
pub(crate) fn answer(status: u16, headers: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n{body}").into_bytes()
}

//! A webhook endpoint for tests: verifies what comes in and answers what it is told.
//!
//! It answers 200 unless statuses were queued. Every request is kept with its headers.

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use serde_json::Value;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use svix::webhooks::Webhook;

/// One delivery as it arrived.
#[derive(Clone)]
pub struct Arrival {
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Arrival {
    pub fn id(&self) -> &str {
        self.headers["svix-id"].to_str().expect("text")
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }

    pub fn kind(&self) -> String {
        self.json()["type"].as_str().expect("a type").to_owned()
    }

    pub fn verifies(&self, secret: &str) -> bool {
        Webhook::new(secret)
            .expect("a secret")
            .verify(&self.body, &self.headers)
            .is_ok()
    }
}

#[derive(Default)]
struct Inner {
    arrivals: Vec<Arrival>,
    next: VecDeque<(u16, Vec<(&'static str, String)>)>,
    slow: Duration,
}

#[derive(Clone, Default)]
pub struct Receiver {
    inner: Arc<Mutex<Inner>>,
    pub url: String,
}

impl Receiver {
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port");
        let address = listener.local_addr().expect("an address");
        let receiver = Self {
            inner: Arc::default(),
            url: format!("http://{address}/webhooks/clerk"),
        };
        let app = axum::Router::new()
            .fallback(take)
            .with_state(receiver.clone());
        tokio::spawn(async move { serve(listener, app).await });
        receiver
    }

    pub fn answer(&self, status: u16, times: usize) {
        self.answer_with(status, Vec::new(), times);
    }

    pub fn answer_with(&self, status: u16, headers: Vec<(&'static str, String)>, times: usize) {
        let mut inner = self.inner.lock().expect("no panic");
        inner
            .next
            .extend(std::iter::repeat_n((status, headers), times));
    }

    pub fn take_as_long(&self, slow: Duration) {
        self.inner.lock().expect("no panic").slow = slow;
    }

    pub fn arrivals(&self) -> Vec<Arrival> {
        self.inner.lock().expect("no panic").arrivals.clone()
    }
}

async fn serve(listener: tokio::net::TcpListener, app: axum::Router) {
    use hyper_util::rt::TokioIo;
    use hyper_util::service::TowerToHyperService;
    while let Ok((stream, _)) = listener.accept().await {
        let service = TowerToHyperService::new(app.clone());
        tokio::spawn(async move {
            let http = hyper::server::conn::http1::Builder::new();
            let _ = http.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn take(State(receiver): State<Receiver>, request: Request) -> impl IntoResponse {
    let headers = request.headers().clone();
    let body = axum::body::to_bytes(request.into_body(), 1 << 20)
        .await
        .expect("a body")
        .to_vec();
    let (slow, next) = {
        let mut inner = receiver.inner.lock().expect("no panic");
        inner.arrivals.push(Arrival { headers, body });
        (inner.slow, inner.next.pop_front())
    };
    tokio::time::sleep(slow).await;
    let (status, extra) = next.unwrap_or((200, Vec::new()));
    let mut headers = HeaderMap::new();
    for (name, value) in extra {
        headers.insert(name, value.parse().expect("a header value"));
    }
    (StatusCode::from_u16(status).expect("a status"), headers)
}

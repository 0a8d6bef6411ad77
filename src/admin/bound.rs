//! What one request of an operator may take, and how many are worked on at once.
//!
//! The operators' door shares its threads with the appliers, and somebody who asks for the status a thousand
//! times a second must not take them all. A body is read before there is a turn for it, so that a slow one holds
//! up nobody. What an answer streams, such as the progress of a run, is outside of the turn.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{Request, State},
    http::StatusCode,
    middleware::Next,
    response::Response,
};
use tokio::sync::Semaphore;

use super::problem;
use crate::inbound::body::{self, Limits, Unread};

/// Requests that are worked on at once.
const AT_WORK: usize = 8;
/// The largest body, in bytes: ten thousand ids of dead letters, several times over.
const MAX_BODY: usize = 1024 * 1024;
/// How long reading a body may take.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// What all bodies may take, in bytes.
const ALL_BODIES: usize = 8 * MAX_BODY;

/// The bounds of both ways in.
#[derive(Clone)]
pub(super) struct Bound {
    turns: Arc<Semaphore>,
    limits: Limits,
}

impl Default for Bound {
    fn default() -> Self {
        Bound {
            turns: Arc::new(Semaphore::new(AT_WORK)),
            limits: Limits {
                most: MAX_BODY,
                time: BODY_TIMEOUT,
                room: Arc::new(Semaphore::new(ALL_BODIES)),
            },
        }
    }
}

/// Reads the body within its bounds, waits for a turn, and goes on.
pub(super) async fn bound(State(bound): State<Bound>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let whole = match body::read(body::announced(&parts.headers), body, &bound.limits).await {
        Ok(whole) => whole,
        Err(unread) => return refuse(&unread),
    };
    let Ok(_turn) = bound.turns.acquire().await else {
        return super::ending();
    };
    let request = Request::from_parts(parts, whole.bytes.clone().into());
    next.run(request).await
}

fn refuse(unread: &Unread) -> Response {
    let (status, words) = match unread {
        Unread::TooLarge(_) => (
            StatusCode::PAYLOAD_TOO_LARGE,
            "send less than a megabyte at once",
        ),
        Unread::TooSlow => (StatusCode::REQUEST_TIMEOUT, "the body took too long"),
        Unread::Broken => (StatusCode::BAD_REQUEST, "the body cannot be read"),
        Unread::Crowded => (
            StatusCode::SERVICE_UNAVAILABLE,
            "others send too much at once; try again",
        ),
    };
    problem(status, words)
}

#[cfg(test)]
mod tests {
    use std::{
        convert::Infallible,
        sync::atomic::{AtomicUsize, Ordering},
    };

    use axum::{Router, body::Body, middleware::from_fn_with_state, routing::get};
    use futures_util::future::join_all;
    use tokio::task::yield_now;
    use tower::ServiceExt;

    use super::*;

    #[tokio::test]
    async fn no_more_requests_are_worked_on_at_once_than_there_are_turns() {
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let seen = Arc::clone(&most);
        let busy = get(async move || {
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            for _ in 0..100 {
                yield_now().await;
            }
            now.fetch_sub(1, Ordering::SeqCst);
        });
        let router = Router::new()
            .route("/status", busy)
            .layer(from_fn_with_state(Bound::default(), bound));
        let asked = (0..10 * AT_WORK).map(|_| {
            let request = Request::get("/status").body(Body::empty()).unwrap();
            router.clone().oneshot(request)
        });
        for answered in join_all(asked).await {
            let answered: Result<Response, Infallible> = answered;
            assert_eq!(answered.unwrap().status(), StatusCode::OK);
        }
        assert_eq!(seen.load(Ordering::SeqCst), AT_WORK);
    }
}

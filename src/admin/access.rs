//! Who asks, and what they may.
//!
//! Reading is one thing, operating another, and approving deletions a third. Over the socket the kernel says
//! who is there (`SO_PEERCRED`): root and the daemon's own user may do everything, and those who are listed may
//! read. Over TCP a token says it. Every request that changes something leaves a line with the target `audit`:
//! who, what, and what came of it; never a body.

use std::{panic::resume_unwind, sync::Arc};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::Response,
};
use rustix::process::geteuid;
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};
use tokio::net::unix::UCred;
use tokio_util::task::TaskTracker;

use super::{ending, problem};
use crate::{
    apply::Clock,
    config::Secret,
    model::Asked,
    report::oplog::{
        OperationsLog,
        note::{Note, Place},
    },
    twin::{self, Twin},
};

/// The longest path that is logged, in characters: longer than any that leads somewhere.
const LONGEST_PATH: usize = 128;

/// What somebody may do; each includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// Look at figures and lists, which hold no personal value.
    Read,
    /// See an event as it came, pause, retry, drop, reload, start runs.
    Operate,
    /// Approve a plan that was held back.
    Approve,
}

/// Who asks.
#[derive(Clone, Debug)]
pub struct Caller {
    /// For the log: `uid 0`, or the name of a token's setting.
    pub name: Arc<str>,
    scope: Scope,
}

impl Caller {
    /// Somebody with this scope.
    pub fn new(name: impl Into<Arc<str>>, scope: Scope) -> Caller {
        let name = name.into();
        Caller { name, scope }
    }

    /// Whether this is theirs to do.
    pub fn may(&self, scope: Scope) -> bool {
        self.scope >= scope
    }
}

/// What a request did, for the log; a handler puts it into its answer.
#[derive(Clone, Debug)]
pub(super) struct Did(pub String);

/// Who may read over the socket, beside root and the daemon's user, who may do everything.
#[derive(Clone, Debug, Default)]
pub struct Readers {
    /// User ids.
    pub uids: Vec<u32>,
    /// Group ids; a process's own group counts, not its further ones.
    pub gids: Vec<u32>,
}

impl Readers {
    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.uids.is_empty() && self.gids.is_empty()
    }

    /// Who a process on this machine is.
    pub(super) fn caller(&self, peer: &UCred) -> Option<Caller> {
        let scope = self.scope(peer.uid(), peer.gid(), geteuid().as_raw())?;
        Some(Caller::new(format!("uid {}", peer.uid()), scope))
    }

    fn scope(&self, uid: u32, gid: u32, own: u32) -> Option<Scope> {
        if uid == 0 || uid == own {
            Some(Scope::Approve)
        } else if self.uids.contains(&uid) || self.gids.contains(&gid) {
            Some(Scope::Read)
        } else {
            None
        }
    }
}

/// The tokens of the TCP listener, as hashes: they have one length, whatever is sent.
#[derive(Clone, Default)]
pub struct Tokens(Vec<(blake3::Hash, Caller)>);

impl Tokens {
    /// A token opens what its caller may.
    pub fn add(&mut self, token: &Secret, caller: Caller) {
        let hash = blake3::hash(token.expose().as_bytes());
        self.0.push((hash, caller));
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whose token these headers bear. Takes as long whichever it is, and if it is none.
    pub(super) fn caller(&self, headers: &HeaderMap) -> Option<Caller> {
        // Of two that differ, some reader before us may have looked at the other one.
        let mut all = headers.get_all(header::AUTHORIZATION).iter();
        let sent = all.next().filter(|_| all.next().is_none());
        let sent = sent.and_then(|value| value.to_str().ok());
        let (scheme, sent) = sent.and_then(|value| value.split_once(' ')).unzip();
        let sent = sent.filter(|_| scheme.is_some_and(|own| own.eq_ignore_ascii_case("bearer")));
        let sent = blake3::hash(sent.unwrap_or_default().as_bytes());
        let mut found = u64::MAX;
        for (at, (own, _)) in (0..).zip(&self.0) {
            let same: Choice = own.as_bytes().ct_eq(sent.as_bytes());
            found = u64::conditional_select(&found, &at, same);
        }
        if twin::broken(Twin::OpenDoor) {
            found = 0;
        }
        let (_, caller) = self.0.get(usize::try_from(found).ok()?)?;
        Some(caller.clone())
    }
}

/// What a request asks for. Approving is asked for in a body, so the handler of runs looks at that itself.
fn needed(method: &Method, path: &str) -> Scope {
    let shows_an_event = path.starts_with("/failures/");
    match *method {
        Method::GET | Method::HEAD if !shows_an_event => Scope::Read,
        _ => Scope::Operate,
    }
}

/// Where what changes something is noted for good.
#[derive(Clone)]
pub(super) struct Audit {
    pub(super) log: OperationsLog,
    pub(super) clock: Clock,
    /// See [`super::Admin::tasks`].
    pub(super) tasks: TaskTracker,
}

impl Audit {
    /// Carries out what changes something, and notes it. In a task of its own: whoever hangs up before the answer
    /// ends neither what was begun nor what is noted of it.
    async fn change(
        self,
        caller: Caller,
        what: String,
        answer: impl Future<Output = Response> + Send + 'static,
    ) -> Response {
        let tasks = self.tasks.clone();
        let changed = tasks.spawn(async move {
            let mut response = answer.await;
            let did = response.extensions_mut().remove::<Did>().map(|did| did.0);
            // Whoever may change nothing could fill the log with tries.
            if caller.may(Scope::Operate) {
                self.note(&caller, &what, did.clone(), response.status())
                    .await;
            }
            tracing::info!(
                target: "audit",
                who = &*caller.name,
                what,
                did,
                status = response.status().as_u16(),
                "an operator asked for a change"
            );
            response
        });
        match changed.await {
            Ok(response) => response,
            // The connection answers for it, as for every request.
            Err(error) if error.is_panic() => resume_unwind(error.into_panic()),
            Err(_) => ending(),
        }
    }

    async fn note(&self, caller: &Caller, what: &str, did: Option<String>, status: StatusCode) {
        let asked = Asked::Operator {
            who: Arc::clone(&caller.name),
        };
        let (at_ms, outcome) = (self.clock.now_ms(), status.as_str());
        let note = Note::new(at_ms, Place::Daemon, asked, what, outcome);
        self.log.note(note.did(did)).await;
    }
}

/// Lets through who may, logs what changes something, and keeps answers out of caches.
pub(super) async fn authorise(
    State(audit): State<Audit>,
    request: Request,
    next: Next,
) -> Response {
    let method = request.method().clone();
    let path: String = request.uri().path().chars().take(LONGEST_PATH).collect();
    let caller = request.extensions().get::<Caller>().cloned();
    let changes = !matches!(method, Method::GET | Method::HEAD);
    let may = caller
        .as_ref()
        .is_some_and(|caller| caller.may(needed(&method, &path)));
    let answer = async move {
        match may {
            true => next.run(request).await,
            false => problem(StatusCode::FORBIDDEN, "this is not yours to do"),
        }
    };
    let mut response = match caller.filter(|_| changes) {
        Some(caller) => {
            audit
                .change(caller, format!("{method} {path}"), answer)
                .await
        }
        None => answer.await,
    };
    let headers = response.headers_mut();
    let no_store = HeaderValue::from_static("no-store");
    headers.insert(header::CACHE_CONTROL, no_store);
    let no_sniff = HeaderValue::from_static("nosniff");
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, no_sniff);
    response
}

/// A word that came from outside, as the log may carry it.
pub(super) fn plain(word: &str) -> String {
    const LONGEST: usize = 64;
    let fine = |c: &char| c.is_ascii_alphanumeric() || "_-:.".contains(*c);
    word.chars().filter(fine).take(LONGEST).collect()
}

#[cfg(test)]
mod tests {
    use axum::{Router, body::Body, middleware::from_fn_with_state, routing::post};
    use tokio::{sync::Notify, task::JoinSet};
    use tower::ServiceExt;

    use super::*;
    use crate::report::oplog::{self, Wanted};

    #[tokio::test]
    async fn a_change_is_noted_also_if_whoever_asked_hangs_up_before_the_answer() {
        let dir = tempfile::tempdir().unwrap();
        let options = oplog::Options {
            keep: 1 << 20,
            keys: Default::default(),
            alerts: Default::default(),
            now_ms: || 0,
        };
        let log = OperationsLog::open(dir.path(), options).unwrap();
        let audit = Audit {
            log: log.clone(),
            clock: Clock,
            tasks: TaskTracker::new(),
        };
        let (begun, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (told, waits) = (Arc::clone(&begun), Arc::clone(&go_on));
        let retry = post(async move || {
            told.notify_one();
            waits.notified().await;
            "retried"
        });
        let router = Router::new()
            .route("/failures/retry", retry)
            .layer(from_fn_with_state(audit, authorise));
        let mut request = Request::post("/failures/retry")
            .body(Body::empty())
            .unwrap();
        let caller = Caller::new("uid 0", Scope::Approve);
        request.extensions_mut().insert(caller);
        let mut asked = JoinSet::new();
        asked.spawn(router.oneshot(request));
        begun.notified().await;
        // It hangs up.
        asked.shutdown().await;
        go_on.notify_one();
        let mut noted = Vec::new();
        while noted.is_empty() {
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
            log.written().await;
            let wanted = Wanted {
                limit: 1,
                ..Wanted::default()
            };
            noted = log.reader().newest(&wanted).unwrap();
        }
        assert!(noted[0].get().contains("POST /failures/retry"), "{noted:?}");
    }

    #[test]
    fn root_and_the_daemons_own_user_may_all_listed_ones_read_and_nobody_else_anything() {
        let readers = Readers {
            uids: vec![1001],
            gids: vec![50],
        };
        for (uid, gid, scope) in [
            (0, 0, Some(Scope::Approve)),
            (999, 1, Some(Scope::Approve)),
            (1001, 1, Some(Scope::Read)),
            (1002, 50, Some(Scope::Read)),
            (1002, 51, None),
            (50, 1001, None),
        ] {
            assert_eq!(readers.scope(uid, gid, 999), scope, "{uid} {gid}");
        }
        assert_eq!(Readers::default().scope(1001, 50, 999), None);
    }

    #[test]
    fn a_token_is_whole_and_alone() {
        let mut tokens = Tokens::default();
        let all = Secret::from("a-token-of-sixteen");
        tokens.add(&all, Caller::new("all", Scope::Approve));
        let read = Secret::from("another-of-sixteen");
        tokens.add(&read, Caller::new("read", Scope::Read));
        let whose = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, value.parse().unwrap());
            tokens
                .caller(&headers)
                .map(|caller| caller.name.to_string())
        };
        assert_eq!(whose("Bearer a-token-of-sixteen").as_deref(), Some("all"));
        assert_eq!(whose("Bearer another-of-sixteen").as_deref(), Some("read"));
        assert_eq!(whose("bearer a-token-of-sixteen").as_deref(), Some("all"));
        for wrong in [
            "Bearer ",
            "Bearer",
            "a-token-of-sixteen",
            "Basic a-token-of-sixteen",
            "Bearer a-token-of-sixtee",
            "Bearer a-token-of-sixteen ",
            "Bearer b-token-of-sixteen",
            "Bearer a-token-of-sixteen,another-of-sixteen",
        ] {
            assert_eq!(whose(wrong), None, "{wrong}");
        }
        assert_eq!(tokens.caller(&HeaderMap::new()).map(|c| c.name), None);
        let mut twice = HeaderMap::new();
        for value in ["Bearer a-token-of-sixteen", "Bearer b"] {
            twice.append(header::AUTHORIZATION, value.parse().unwrap());
        }
        assert!(tokens.caller(&twice).is_none());
        assert!(Tokens::default().caller(&HeaderMap::new()).is_none());
    }

    #[test]
    fn what_is_not_known_to_be_harmless_needs_an_operator() {
        for (method, path, scope) in [
            (Method::GET, "/status", Scope::Read),
            (Method::GET, "/metrics", Scope::Read),
            (Method::GET, "/failures", Scope::Read),
            (Method::GET, "/failures/dl_1", Scope::Operate),
            (Method::DELETE, "/failures/dl_1", Scope::Operate),
            (Method::POST, "/pause", Scope::Operate),
            (Method::PUT, "/status", Scope::Operate),
            (Method::OPTIONS, "/runs", Scope::Operate),
        ] {
            assert_eq!(needed(&method, path), scope, "{method} {path}");
        }
    }
}

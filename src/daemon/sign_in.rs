//! Puts `POST /ensure` together: the listener's side, the check of tokens and those who do it.
//!
//! Requests come in on intake's threads; Clerk and Convex are asked, and rows are written, on the daemon's
//! own, so that a slow service holds up no acknowledgement.

use std::sync::Arc;

use axum::Router;
use tokio::runtime::Handle;

use crate::{
    apply::{Shared, ensure::Ensurer},
    clerk::jwks::{FetchKeys, Rules, SessionTokens},
    config::Config,
    intake::{Ensure, Intake, MakeSure},
    queue::repairs::Lane,
};

/// The routes; none unless `ensure.enabled`. Call on the runtime that is to do the work.
pub fn routes(config: &Config, shared: &Arc<Shared>, intake: &Arc<Intake>, lane: Lane) -> Router {
    let section = &config.ensure;
    if !section.enabled {
        return Router::new();
    }
    let runtime = Handle::current();
    let edges = Arc::clone(shared);
    let fetch: FetchKeys = Arc::new(move || {
        let clerk = edges.edges.load().clerk.clone();
        Box::pin(async move { clerk.session_keys().await })
    });
    let rules = Rules {
        issuer: section.issuer.clone(),
        origins: section.origins.clone(),
    };
    let ensurer = Ensurer::new(Arc::clone(shared), lane, runtime.clone());
    let make_sure: MakeSure = Arc::new(move |key| Box::pin(Arc::clone(&ensurer).ensure(key)));
    let ensure = Ensure {
        intake: Arc::clone(intake),
        tokens: SessionTokens::new(rules, fetch, runtime),
        origins: section.origins.clone(),
        make_sure,
    };
    ensure.router()
}

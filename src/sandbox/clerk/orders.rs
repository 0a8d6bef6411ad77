//! The control API under `/_sim/`, for JavaScript, shells and the demo.
//!
//! Needs no key and passes no gate; the port is bound to 127.0.0.1 only. Each call is one of
//! `control`'s. Orders are merged into those in force, key by key, and answered as they now stand,
//! secrets left out.

use super::faults::Fault;
use super::limits::LimitSettings;
use super::refusal::Refusal;
use super::routes::{Answer, Asked, Json, body};
use super::sender::SenderOrders;
use super::sender::book::Fate;
use super::state::Settings;
use super::{Shared, held, render};
use axum::Router;
use axum::extract::{Path, Request, State};
use axum::routing::{get, post};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use std::sync::Arc;
use std::time::Duration;

/// Messages or requests that one answer lists at most, the last ones.
const MAX_LISTED: usize = 10_000;
/// Users, and memberships, that one call seeds at most; a million users take about a gigabyte.
const MAX_SEEDED: u64 = 2_000_000;
/// Longest latency, in milliseconds, so that a mistyped one does not hang everything.
const MAX_LATENCY_MS: u64 = 120_000;

/// The paths of the control API.
pub fn router() -> Router<Arc<Shared>> {
    Router::new()
        .route("/_sim/users", post(create_user))
        .route("/_sim/users/{user_id}", post(update_user).get(user))
        .route("/_sim/seed", post(seed))
        .route("/_sim/webhooks", post(webhooks).get(webhooks_now))
        .route("/_sim/fates", get(fates))
        .route("/_sim/messages", get(messages).post(send_raw))
        .route("/_sim/messages/{id}", get(message_body))
        .route("/_sim/replay", post(replay))
        .route("/_sim/quiet", post(quiet))
        .route("/_sim/requests", get(requests))
        .route(
            "/_sim/faults",
            post(add_fault).get(waiting_faults).delete(clear_faults),
        )
        .route("/_sim/settings", post(settings))
        .route("/_sim/limits", post(limits))
        .route("/_sim/latency", post(latency))
        .route("/_sim/lag", post(lag))
        .route("/_sim/reset", post(reset))
}

async fn create_user(State(shared): Asked, request: Request) -> Answer {
    let body = body(request).await?;
    let id = shared.create_user(Value::Object(body))?;
    Ok(Json::of(&json!({ "id": id })))
}

async fn update_user(State(shared): Asked, Path(id): Path<String>, request: Request) -> Answer {
    let body = body(request).await?;
    shared.update_user(&id, Value::Object(body))?;
    Ok(Json::of(&json!({ "id": id })))
}

async fn user(State(shared): Asked, Path(id): Path<String>) -> Answer {
    shared.read(|world| {
        let slot = world.user_slot(&id)?;
        let user = world
            .users
            .get(slot)
            .ok_or_else(|| Refusal::UserNotFound(id.clone()))?;
        Ok(Json::of(&render::user(user, &world.settings)))
    })
}

/// `{"users"?, "organizations"?, "members"?}`: so many users; so many organizations of so many members each.
async fn seed(State(shared): Asked, request: Request) -> Answer {
    let body = body(request).await?;
    let number = |key: &str| body.get(key).and_then(Value::as_u64).unwrap_or(0);
    let users = number("users").min(MAX_SEEDED);
    let (organizations, members) = (number("organizations"), number("members"));
    let organizations = organizations.min(MAX_SEEDED / members.max(1));
    let (added, memberships) = shared.write(|world| {
        (
            world.seed_users(users as usize),
            world.seed_organizations(organizations as usize, members as usize),
        )
    });
    Ok(Json::of(
        &json!({ "added": added, "memberships": memberships }),
    ))
}

async fn webhooks(State(shared): Asked, request: Request) -> Answer {
    let change = body(request).await?;
    let now = shared.sender.orders();
    let mut orders: SenderOrders = merged(&now, &change)?;
    if !change.contains_key("secrets") {
        orders.secrets = now.secrets;
    }
    let shown = Json::of(&orders);
    let refused = |_| Refusal::ParamFormat("secrets".into(), "must be whsec_ and base64.".into());
    shared.sender.order(|o| *o = orders).map_err(refused)?;
    Ok(shown)
}

async fn webhooks_now(State(shared): Asked) -> Json {
    Json::of(&shared.sender.orders())
}

async fn fates(State(shared): Asked) -> Json {
    Json::of(&shared.sender.fates())
}

async fn messages(State(shared): Asked) -> Json {
    let all = shared.sender.messages();
    Json::of(&&all[all.len().saturating_sub(MAX_LISTED)..])
}

/// `{"type", "body" (JSON) or "raw" (text), "id"?}`.
async fn send_raw(State(shared): Asked, request: Request) -> Answer {
    let body = body(request).await?;
    let kind = body
        .get("type")
        .and_then(Value::as_str)
        .unwrap_or("user.updated");
    let raw = match (body.get("raw"), body.get("body")) {
        (Some(Value::String(raw)), _) => raw.clone(),
        (_, Some(body)) => body.to_string(),
        _ => return Err(Refusal::ParamMissing("body".to_owned())),
    };
    let id = body.get("id").and_then(Value::as_str).map(str::to_owned);
    Ok(Json::of(
        &json!({ "id": shared.sender.send_raw(kind, raw, id) }),
    ))
}

async fn message_body(State(shared): Asked, Path(id): Path<String>) -> Answer {
    let body = shared.sender.body(&id).ok_or(Refusal::PathNotFound)?;
    Ok(Json::of(
        &json!({ "id": id, "raw": String::from_utf8_lossy(&body) }),
    ))
}

/// `{"id"}` or `{"fate": "failed" | "withheld" | "lost" | "delivered"}`.
async fn replay(State(shared): Asked, request: Request) -> Answer {
    let body = body(request).await?;
    let replayed = match (body.get("id"), body.get("fate").and_then(Value::as_str)) {
        (Some(Value::String(id)), _) => usize::from(shared.sender.replay(id)),
        (_, Some("failed")) => shared.sender.replay_all(Fate::Failed),
        (_, Some("withheld")) => shared.sender.replay_all(Fate::Withheld),
        (_, Some("lost")) => shared.sender.replay_all(Fate::Lost),
        (_, Some("delivered")) => shared.sender.replay_all(Fate::Delivered),
        _ => return Err(Refusal::ParamMissing("id".to_owned())),
    };
    Ok(Json::of(&json!({ "replayed": replayed })))
}

/// `{"timeout_ms"?}`: answers when every message has its final fate, or when time is up.
async fn quiet(State(shared): Asked, request: Request) -> Answer {
    let body = body(request).await?;
    let ms = body
        .get("timeout_ms")
        .and_then(Value::as_u64)
        .unwrap_or(30_000)
        .min(600_000);
    let quiet = tokio::time::timeout(Duration::from_millis(ms), shared.sender.quiet()).await;
    Ok(Json::of(&json!({ "quiet": quiet.is_ok() })))
}

async fn requests(State(shared): Asked) -> Json {
    #[derive(Serialize)]
    struct Shown<'a> {
        #[serde(flatten)]
        counts: &'a super::requests::Requests,
        last: Vec<&'a super::requests::Request>,
    }
    let requests = held(&shared.requests).clone();
    Json::of(&Shown {
        counts: &requests,
        last: requests.last().collect(),
    })
}

async fn add_fault(State(shared): Asked, request: Request) -> Answer {
    let fault: Fault = read("fault", Value::Object(body(request).await?))?;
    let mut faults = held(&shared.faults);
    if !faults.add(fault) {
        return Err(Refusal::ArraySize(
            "faults".to_owned(),
            faults.waiting().len(),
        ));
    }
    Ok(Json::of(&json!({ "waiting": faults.waiting() })))
}

async fn waiting_faults(State(shared): Asked) -> Json {
    Json::of(&json!({ "waiting": held(&shared.faults).waiting() }))
}

async fn clear_faults(State(shared): Asked) -> Json {
    held(&shared.faults).clear();
    Json::of(&json!({ "waiting": [] }))
}

async fn settings(State(shared): Asked, request: Request) -> Answer {
    let change = body(request).await?;
    let now = shared.read(|world| world.settings.clone());
    let settings: Settings = merged(&now, &change)?;
    let shown = Json::of(&settings);
    shared.write(|world| world.settings = settings);
    Ok(shown)
}

async fn limits(State(shared): Asked, request: Request) -> Answer {
    let change = body(request).await?;
    let now = held(&shared.limits).settings;
    let settings: LimitSettings = merged(&now, &change)?;
    held(&shared.limits).settings = settings;
    Ok(Json::of(&settings))
}

/// `{"ms"}`: added to every answer from now on.
async fn latency(State(shared): Asked, request: Request) -> Answer {
    let body = body(request).await?;
    let ms = body.get("ms").and_then(Value::as_u64).unwrap_or(0);
    *held(&shared.latency) = Duration::from_millis(ms.min(MAX_LATENCY_MS));
    Ok(Json::of(&json!({ "ms": ms.min(MAX_LATENCY_MS) })))
}

/// `{"changes", "ms"}`: the next changes of users appear in listings only later.
async fn lag(State(shared): Asked, request: Request) -> Answer {
    let body = body(request).await?;
    let number = |key: &str| body.get(key).and_then(Value::as_u64).unwrap_or(0);
    let changes = u32::try_from(number("changes")).unwrap_or(u32::MAX);
    let ms = i64::try_from(number("ms")).unwrap_or(i64::MAX / 4);
    shared.write(|world| world.lag_next(changes, ms));
    Ok(Json::of(&json!({ "changes": changes, "ms": ms })))
}

async fn reset(State(shared): Asked) -> Json {
    shared.reset();
    Json::of(&json!({ "reset": true }))
}

/// `now` with the keys of `change` put over it.
fn merged<T: Serialize + DeserializeOwned>(
    now: &T,
    change: &Map<String, Value>,
) -> Result<T, Refusal> {
    let mut value = serde_json::to_value(now).unwrap_or_default();
    for (key, new) in change {
        value[key] = new.clone();
    }
    read("order", value)
}

fn read<T: DeserializeOwned>(param: &str, value: Value) -> Result<T, Refusal> {
    serde_json::from_value(value).map_err(|e| Refusal::ParamFormat(param.into(), e.to_string()))
}

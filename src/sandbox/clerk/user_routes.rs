//! The calls about users: list, count, get, create, patch, delete, metadata, ban and lock.
//!
//! Listings are bare arrays, as in every version of the API. Orders to spoil a listing are carried
//! out here, where the rows are known. It decides nothing about users themselves.

use super::Shared;
use super::faults::Wrong;
use super::filters::UserQuery;
use super::gate::{Mischief, Version};
use super::profile::Door;
use super::query::Pairs;
use super::refusal::Refusal;
use super::render;
use super::routes::{Answer, Asked, Json, body};
use super::state::World;
use super::users::MetadataCall;
use axum::Router;
use axum::extract::{Extension, Path, RawQuery, Request, State};
use axum::routing::{get, patch, post};
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// Bytes of a user in a listing, about.
const USER_BYTES: usize = 2048;

/// The paths about users.
pub fn router() -> Router<Arc<Shared>> {
    Router::new()
        .route("/v1/users", get(list).post(create))
        .route("/v1/users/count", get(count))
        .route("/v1/users/{user_id}", get(one).patch(update).delete(delete))
        .route(
            "/v1/users/{user_id}/metadata",
            patch(merge_metadata).put(replace_metadata),
        )
        .route("/v1/users/{user_id}/{action}", post(act))
}

async fn list(
    State(shared): Asked,
    RawQuery(raw): RawQuery,
    Extension(Mischief(wrongs)): Extension<Mischief>,
) -> Answer {
    let pairs = Pairs::read(raw.as_deref().unwrap_or_default());
    let mut query = UserQuery::read(&pairs)?;
    if wrongs.contains(&Wrong::IgnoreCursor) {
        query.ignore_cursor();
    }
    let (answer, slots) = shared.read(|world| {
        let mut slots = query.select(world)?;
        spoil(&mut slots, &wrongs);
        let rows = slots.iter().filter_map(|slot| world.users.listed(*slot));
        let rows: Vec<_> = rows
            .map(|user| render::user(user, &world.settings))
            .collect();
        let answer = Json::large(&rows, rows.len() * USER_BYTES + 2);
        Ok::<_, Refusal>((answer, slots))
    })?;
    for wrong in &wrongs {
        if let Wrong::MovingPages {
            create,
            touch,
            delete,
        } = wrong
        {
            shared.write(|world| move_world(world, &slots, *create, *touch, *delete));
        }
    }
    Ok(answer)
}

/// Spoils the rows of a page as ordered.
pub fn spoil(slots: &mut Vec<u32>, wrongs: &[Wrong]) {
    for wrong in wrongs {
        match wrong {
            Wrong::EmptyListing => slots.clear(),
            Wrong::ShortPage { rows } => slots.truncate(*rows),
            Wrong::RepeatLast if slots.len() > 1 => {
                slots.remove(0);
                slots.extend(slots.last().copied());
            }
            _ => {}
        }
    }
}

/// Plays what other people do between two pages of a walk.
fn move_world(world: &mut World, page: &[u32], create: u32, touch: u32, delete: u32) {
    for _ in 0..create {
        let address = format!("mover-{}@example.com", world.ids.below(u64::MAX));
        let user = json!({ "email_address": [address] });
        if let Value::Object(user) = user {
            // A fresh address is never taken, so this cannot be refused.
            let _ = world.create_user(&user, Door::Control);
        }
    }
    // Deleted from the front and changed from the back, so that the two do not meet.
    for slot in page.iter().take(delete as usize) {
        let _ = world.delete_user(*slot);
    }
    for slot in page.iter().rev().take(touch as usize) {
        let _ = world.update_user(*slot, &Map::new(), Door::Control);
    }
}

async fn count(
    State(shared): Asked,
    RawQuery(raw): RawQuery,
    Extension(Mischief(wrongs)): Extension<Mischief>,
) -> Answer {
    let pairs = Pairs::read(raw.as_deref().unwrap_or_default()).without_paging();
    let query = UserQuery::read(&pairs)?;
    let total = shared.read(|world| query.count(world));
    let total = if wrongs.contains(&Wrong::EmptyListing) {
        0
    } else {
        total
    };
    Ok(Json::of(
        &json!({ "object": "total_count", "total_count": total }),
    ))
}

async fn one(State(shared): Asked, Path(id): Path<String>) -> Answer {
    shared.read(|world| {
        let slot = world.user_slot(&id)?;
        user_json(world, slot)
    })
}

async fn create(State(shared): Asked, request: Request) -> Answer {
    let body = body(request).await?;
    shared.write(|world| {
        let slot = world.create_user(&body, Door::Create)?;
        user_json(world, slot)
    })
}

async fn update(
    State(shared): Asked,
    Path(id): Path<String>,
    Extension(version): Extension<Version>,
    request: Request,
) -> Answer {
    let body = body(request).await?;
    let door = Door::Patch {
        metadata: version.patch_takes_metadata(),
    };
    shared.write(|world| {
        let slot = world.user_slot(&id)?;
        world.update_user(slot, &body, door)?;
        user_json(world, slot)
    })
}

async fn delete(State(shared): Asked, Path(id): Path<String>) -> Answer {
    shared.write(|world| {
        let slot = world.user_slot(&id)?;
        world.delete_user(slot).map(|gone| Json::of(&gone))
    })
}

async fn merge_metadata(state: Asked, id: Path<String>, request: Request) -> Answer {
    metadata(state, id, request, MetadataCall::Merge).await
}

async fn replace_metadata(state: Asked, id: Path<String>, request: Request) -> Answer {
    metadata(state, id, request, MetadataCall::Replace).await
}

async fn metadata(
    State(shared): Asked,
    Path(id): Path<String>,
    request: Request,
    call: MetadataCall,
) -> Answer {
    let body = body(request).await?;
    shared.write(|world| {
        let slot = world.user_slot(&id)?;
        world.user_metadata(slot, &body, call)?;
        user_json(world, slot)
    })
}

async fn act(State(shared): Asked, Path((id, action)): Path<(String, String)>) -> Answer {
    let change = match action.as_str() {
        "ban" => json!({ "banned": true }),
        "unban" => json!({ "banned": false }),
        "lock" => json!({ "locked": true }),
        "unlock" => json!({ "locked": false }),
        _ => return Err(Refusal::PathNotFound),
    };
    let Value::Object(change) = change else {
        return Err(Refusal::PathNotFound);
    };
    shared.write(|world| {
        let slot = world.user_slot(&id)?;
        world.update_user(slot, &change, Door::Control)?;
        user_json(world, slot)
    })
}

fn user_json(world: &World, slot: u32) -> Answer {
    let user = world
        .users
        .get(slot)
        .ok_or_else(|| Refusal::UserNotFound(String::new()))?;
    Ok(Json::of(&render::user(user, &world.settings)))
}

//! The calls about organizations and memberships.
//!
//! While organizations are switched off every one of them answers 403
//! `organization_not_enabled_in_instance`. Listings carry `data` and `total_count`. A membership
//! is addressed by organization and user, as no call takes its own id.

use super::Shared;
use super::faults::Wrong;
use super::gate::Mischief;
use super::listings::{self, Listing};
use super::query::Pairs;
use super::refusal::Refusal;
use super::render;
use super::routes::{Answer, Asked, Json, body};
use super::state::World;
use super::user_routes::spoil;
use super::users::MetadataCall;
use axum::Router;
use axum::extract::{Extension, Path, RawQuery, Request, State};
use axum::routing::{get, patch};
use serde::Serialize;
use serde_json::{Map, Value};
use std::sync::Arc;

type Spoiled = Extension<Mischief>;

/// The paths about organizations and memberships.
pub fn router() -> Router<Arc<Shared>> {
    let member = "/v1/organizations/{organization_id}/memberships/{user_id}";
    Router::new()
        .route("/v1/organizations", get(list).post(create))
        .route(
            "/v1/organizations/{organization_id}",
            get(one).patch(update).delete(delete),
        )
        .route(
            "/v1/organizations/{organization_id}/metadata",
            patch(merge_metadata).put(replace_metadata),
        )
        .route(
            "/v1/organizations/{organization_id}/memberships",
            get(members).post(add),
        )
        .route(member, patch(change_role).delete(remove))
        .route(&format!("{member}/metadata"), patch(member_metadata))
        .route("/v1/users/{user_id}/organization_memberships", get(of_user))
        .route("/v1/organization_memberships", get(everywhere))
}

#[derive(Serialize)]
struct Page<T> {
    data: Vec<T>,
    total_count: usize,
}

async fn list(
    State(shared): Asked,
    RawQuery(raw): RawQuery,
    Extension(Mischief(wrongs)): Spoiled,
) -> Answer {
    let pairs = Pairs::read(raw.as_deref().unwrap_or_default());
    let counted = pairs.flag("include_members_count")?.unwrap_or(false);
    shared.read(|world| {
        enabled(world)?;
        let listing = spoiled(listings::organizations(world, &pairs)?, &wrongs);
        let rows = listing
            .slots
            .iter()
            .filter_map(|slot| organization(world, *slot, counted));
        Ok(Json::of(&Page {
            data: rows.collect(),
            total_count: listing.total,
        }))
    })
}

async fn one(State(shared): Asked, Path(id): Path<String>, RawQuery(raw): RawQuery) -> Answer {
    let pairs = Pairs::read(raw.as_deref().unwrap_or_default());
    let counted = pairs.flag("include_members_count")?.unwrap_or(false);
    shared.read(|world| {
        enabled(world)?;
        let slot = world.organization_slot(&id)?;
        organization(world, slot, counted)
            .map(|o| Json::of(&o))
            .ok_or(Refusal::OrganizationNotFound)
    })
}

async fn create(State(shared): Asked, request: Request) -> Answer {
    let body = body(request).await?;
    shared.write(|world| {
        enabled(world)?;
        if body.contains_key("id") {
            return Err(Refusal::ParamUnknown("id".to_owned()));
        }
        let slot = world.create_organization(&body)?;
        organization_json(world, slot)
    })
}

async fn update(State(shared): Asked, Path(id): Path<String>, request: Request) -> Answer {
    let body = body(request).await?;
    shared.write(|world| {
        enabled(world)?;
        let slot = world.organization_slot(&id)?;
        world.update_organization(slot, &body)?;
        organization_json(world, slot)
    })
}

async fn delete(State(shared): Asked, Path(id): Path<String>) -> Answer {
    shared.write(|world| {
        enabled(world)?;
        let slot = world.organization_slot(&id)?;
        world.delete_organization(slot).map(|gone| Json::of(&gone))
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
    let body = only_metadata(body(request).await?)?;
    shared.write(|world| {
        enabled(world)?;
        let slot = world.organization_slot(&id)?;
        world.organization_metadata(slot, &body, call)?;
        organization_json(world, slot)
    })
}

async fn members(
    State(shared): Asked,
    Path(id): Path<String>,
    RawQuery(raw): RawQuery,
    Extension(Mischief(wrongs)): Spoiled,
) -> Answer {
    let pairs = Pairs::read(raw.as_deref().unwrap_or_default());
    shared.read(|world| {
        enabled(world)?;
        let slot = world.organization_slot(&id)?;
        let listing = listings::members_of(world, slot, &pairs)?;
        Ok(memberships(world, &spoiled(listing, &wrongs)))
    })
}

async fn of_user(
    State(shared): Asked,
    Path(id): Path<String>,
    RawQuery(raw): RawQuery,
    Extension(Mischief(wrongs)): Spoiled,
) -> Answer {
    let pairs = Pairs::read(raw.as_deref().unwrap_or_default());
    shared.read(|world| {
        enabled(world)?;
        let slot = world.user_slot(&id)?;
        let listing = listings::memberships_of(world, slot, &pairs)?;
        Ok(memberships(world, &spoiled(listing, &wrongs)))
    })
}

async fn everywhere(
    State(shared): Asked,
    RawQuery(raw): RawQuery,
    Extension(Mischief(wrongs)): Spoiled,
) -> Answer {
    let pairs = Pairs::read(raw.as_deref().unwrap_or_default());
    shared.read(|world| {
        enabled(world)?;
        let listing = listings::all_memberships(world, &pairs)?;
        Ok(memberships(world, &spoiled(listing, &wrongs)))
    })
}

async fn add(State(shared): Asked, Path(id): Path<String>, request: Request) -> Answer {
    let mut body = body(request).await?;
    // Null metadata is as good as none in this call alone.
    body.retain(|_, value| !value.is_null());
    let text = |key: &str| {
        let value = body.get(key).and_then(Value::as_str).map(str::to_owned);
        value.ok_or_else(|| Refusal::ParamMissing(key.to_owned()))
    };
    let (user, role) = (text("user_id")?, text("role")?);
    shared.write(|world| {
        enabled(world)?;
        let organization = world.organization_slot(&id)?;
        let user = world.user_slot(&user)?;
        let slot = world.add_member(organization, user, &role, &body)?;
        membership_json(world, slot)
    })
}

async fn change_role(
    State(shared): Asked,
    Path((id, user)): Path<(String, String)>,
    request: Request,
) -> Answer {
    let body = body(request).await?;
    let role = body.get("role").and_then(Value::as_str);
    let role = role.ok_or_else(|| Refusal::ParamMissing("role".to_owned()))?;
    shared.write(|world| {
        enabled(world)?;
        let slot = world.membership_slot(&id, &user)?;
        world.change_role(slot, role)?;
        membership_json(world, slot)
    })
}

async fn member_metadata(
    State(shared): Asked,
    Path((id, user)): Path<(String, String)>,
    request: Request,
) -> Answer {
    let body = only_metadata(body(request).await?)?;
    shared.write(|world| {
        enabled(world)?;
        let slot = world.membership_slot(&id, &user)?;
        world.membership_metadata(slot, &body)?;
        membership_json(world, slot)
    })
}

async fn remove(State(shared): Asked, Path((id, user)): Path<(String, String)>) -> Answer {
    shared.write(|world| {
        enabled(world)?;
        let slot = world.membership_slot(&id, &user)?;
        let answer = membership_json(world, slot)?;
        world.drop_membership(slot, true);
        Ok(answer)
    })
}

fn enabled(world: &World) -> Result<(), Refusal> {
    if world.settings.organizations_enabled {
        Ok(())
    } else {
        Err(Refusal::OrganizationsDisabled)
    }
}

fn only_metadata(body: Map<String, Value>) -> Result<Map<String, Value>, Refusal> {
    let other = body
        .keys()
        .find(|k| *k != "public_metadata" && *k != "private_metadata");
    match other {
        Some(key) => Err(Refusal::ParamUnknown(key.clone())),
        None => Ok(body),
    }
}

fn spoiled(mut listing: Listing, wrongs: &[Wrong]) -> Listing {
    spoil(&mut listing.slots, wrongs);
    if wrongs.contains(&Wrong::EmptyListing) {
        listing.total = 0;
    }
    listing
}

fn organization(world: &World, slot: u32, counted: bool) -> Option<render::OrganizationJson<'_>> {
    let members = counted.then(|| world.organizations.members.of_organization(slot).len());
    world
        .organizations
        .get(slot)
        .map(|o| render::organization(o, &world.settings, members))
}

fn organization_json(world: &World, slot: u32) -> Answer {
    let shown = organization(world, slot, false);
    shown
        .map(|o| Json::of(&o))
        .ok_or(Refusal::OrganizationNotFound)
}

fn membership_json(world: &World, slot: u32) -> Answer {
    render::membership(world, slot)
        .map(|m| Json::of(&m))
        .ok_or(Refusal::MembershipNotFound)
}

fn memberships(world: &World, listing: &Listing) -> Json {
    let rows = listing
        .slots
        .iter()
        .filter_map(|slot| render::membership(world, *slot));
    Json::of(&Page {
        data: rows.collect(),
        total_count: listing.total,
    })
}

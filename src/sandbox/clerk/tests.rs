//! The world without HTTP: identifiers, listings under random changes, cascades, repeatability.
//!
//! What the API makes of it is tested from outside, in `tests/it/clerk_sim`.

use super::clock::Clock;
use super::filters::UserQuery;
use super::profile::Door;
use super::query::Pairs;
use super::refusal::Refusal;
use super::state::{Settings, World};
use super::users::USER;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

fn world() -> World {
    World::new(7, Clock::fixed(1_762_939_000_000), Settings::default())
}

fn object(value: Value) -> Map<String, Value> {
    value.as_object().expect("an object").clone()
}

fn create(world: &mut World, user: Value) -> Result<u32, Refusal> {
    world.create_user(&object(user), Door::Control)
}

fn kinds(world: &mut World) -> Vec<&'static str> {
    std::mem::take(&mut world.outbox)
        .iter()
        .map(|event| event.kind)
        .collect()
}

fn select(world: &World, query: &str) -> Vec<u32> {
    UserQuery::read(&Pairs::read(query))
        .and_then(|q| q.select(world))
        .expect("a listing")
}

#[test]
fn one_seed_gives_one_world() {
    let [a, b] = [(); 2].map(|()| {
        let mut world = world();
        world.seed_users(500);
        create(&mut world, json!({"email_address": "x@example.com"})).expect("a user");
        let users = world
            .users
            .iter()
            .map(|(_, u)| format!("{u:?}"))
            .collect::<Vec<_>>();
        (users, world.outbox.clone())
    });
    assert_eq!(a, b);
    assert_eq!(a.0.len(), 501);
}

#[test]
fn an_address_is_taken_until_it_is_given_up_and_then_moves() {
    let mut world = world();
    let ada = create(
        &mut world,
        json!({"email_address": ["a@example.com", "b@example.com"]}),
    );
    let ada = ada.expect("a user");
    let taken = create(&mut world, json!({"email_address": "B@example.com"}));
    assert_eq!(
        taken,
        Err(Refusal::IdentifierExists("email_address".to_owned()))
    );
    let first = world.users.get(ada).and_then(|u| u.primary_email);
    let keep = object(json!({"email_address": ["a@example.com"]}));
    world
        .update_user(ada, &keep, Door::Control)
        .expect("a change");
    assert_eq!(world.users.get(ada).and_then(|u| u.primary_email), first);
    let grace = create(&mut world, json!({"email_address": "b@example.com"})).expect("free now");
    assert_eq!(select(&world, "email_address=b@example.com"), [grace]);
    let back = object(json!({"email_address": ["a@example.com", "b@example.com"]}));
    assert!(world.update_user(ada, &back, Door::Control).is_err());
    assert_eq!(
        world.users.get(ada).map(|u| u.emails.len()),
        Some(1),
        "a refusal changes nothing"
    );
}

#[test]
fn the_primary_address_need_not_be_first() {
    let mut world = world();
    let user = json!({"email_address": ["old@example.com", "new@example.com"]});
    let slot = create(&mut world, user).expect("a user");
    let user = world.users.get(slot).expect("there");
    let listed: Vec<&str> = user.emails.iter().map(|e| &*e.value).collect();
    assert_eq!(listed, ["new@example.com", "old@example.com"]);
    assert_eq!(user.primary_address(), Some("old@example.com"));
    let new = user.emails[0].id.with("idn_").to_string();
    let patch = object(json!({"primary_email_address_id": new}));
    world
        .update_user(slot, &patch, Door::Patch { metadata: false })
        .expect("its own");
    let primary = world.users.get(slot).and_then(|u| u.primary_address());
    assert_eq!(primary, Some("new@example.com"));
    let foreign = object(json!({"primary_email_address_id": "idn_2222222222222222222222222zz"}));
    assert!(
        world
            .update_user(slot, &foreign, Door::Patch { metadata: false })
            .is_err()
    );
}

#[test]
fn memberships_that_vanish_with_their_owner_tell_only_when_asked() {
    for (cascade, want) in [
        (false, vec!["user.deleted", "organization.deleted"]),
        (
            true,
            vec![
                "organizationMembership.deleted",
                "user.deleted",
                "organizationMembership.deleted",
                "organization.deleted",
            ],
        ),
    ] {
        let mut world = world();
        world.settings.cascade_events = cascade;
        let ada = create(&mut world, json!({"email_address": "a@example.com"})).expect("a user");
        let id = world
            .users
            .get(ada)
            .expect("there")
            .id
            .with(USER)
            .to_string();
        let grace = create(&mut world, json!({"email_address": "g@example.com"})).expect("a user");
        let organization = object(json!({"name": "Engines", "created_by": id}));
        let organization = world
            .create_organization(&organization)
            .expect("an organization");
        world
            .add_member(organization, grace, "org:member", &Map::new())
            .expect("a member");
        kinds(&mut world);
        world.delete_user(ada).expect("there");
        world.delete_organization(organization).expect("there");
        assert_eq!(kinds(&mut world), want);
        assert_eq!(world.organizations.members.all().len(), 0);
    }
}

#[test]
fn updated_at_never_repeats_for_one_user_even_when_the_clock_stands_still() {
    let mut world = world();
    let slot = create(&mut world, json!({"email_address": "a@example.com"})).expect("a user");
    let mut last = world.users.get(slot).expect("there").updated_at;
    for _ in 0..5 {
        world
            .update_user(slot, &Map::new(), Door::Control)
            .expect("a change");
        let now = world.users.get(slot).expect("there").updated_at;
        assert!(now > last);
        last = now;
    }
    world.clock.advance_ms(-60_000);
    world
        .update_user(slot, &Map::new(), Door::Control)
        .expect("a change");
    assert_eq!(world.users.get(slot).expect("there").updated_at, last + 1);
}

/// One random change of the world.
#[derive(Debug, Clone)]
enum Act {
    Create(i64),
    Touch(usize, i64),
    Delete(usize),
    Lag(u32),
    Pass(i64),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        3 => (0_i64..50).prop_map(Act::Create),
        3 => (any::<usize>(), 0_i64..50).prop_map(|(n, ms)| Act::Touch(n, ms)),
        2 => any::<usize>().prop_map(Act::Delete),
        1 => (0_u32..3).prop_map(Act::Lag),
        1 => (0_i64..200).prop_map(Act::Pass),
    ];
    proptest::collection::vec(act, 0..80)
}

fn perform(world: &mut World, act: Act, serial: usize) {
    let alive: Vec<u32> = world.users.iter().map(|(slot, _)| slot).collect();
    let pick = |n: usize| alive.get(n % alive.len().max(1)).copied();
    match act {
        Act::Create(ms) => {
            let at = world.now_ms() + ms;
            let user = json!({"email_address": format!("u{serial}@example.com"), "created_at": at});
            create(world, user).expect("a fresh address");
        }
        Act::Touch(n, ms) => {
            if let Some(slot) = pick(n) {
                let at = world.now_ms() + ms;
                let change = object(json!({"updated_at": at, "created_at": at}));
                world
                    .update_user(slot, &change, Door::Control)
                    .expect("alive");
            }
        }
        Act::Delete(n) => {
            if let Some(slot) = pick(n) {
                world.delete_user(slot).expect("alive");
            }
        }
        Act::Lag(changes) => world.lag_next(changes, 100),
        Act::Pass(ms) => world.clock.advance_ms(ms),
    }
    let now = world.now_ms();
    world.users.settle(now);
}

proptest! {
    #[test]
    fn listings_end_up_with_exactly_the_users_there_are(acts in acts()) {
        let mut world = world();
        for (serial, act) in acts.into_iter().enumerate() {
            perform(&mut world, act, serial);
        }
        world.clock.advance_ms(1000);
        let now = world.now_ms();
        world.users.settle(now);
        for field in ["created_at", "updated_at"] {
            let mut want: Vec<(i64, u32)> = world.users.iter().map(|(slot, user)| {
                (if field == "created_at" { user.created_at } else { user.updated_at }, slot)
            }).collect();
            want.sort_unstable();
            let want: Vec<u32> = want.into_iter().map(|(_, slot)| slot).collect();
            let up = select(&world, &format!("limit=500&order_by={field}"));
            prop_assert_eq!(&up, &want);
            let mut down = select(&world, &format!("limit=500&order_by=-{field}"));
            down.reverse();
            prop_assert_eq!(&down, &want);
        }
    }
}

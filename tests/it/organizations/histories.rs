//! Random histories of users, profiles, organizations, memberships, roles and deletions, under random loss,
//! repetition and reordering of deliveries.
//!
//! Whatever was told and in whichever order: one full diff later all four tables hold what Clerk's state maps to,
//! and nothing else. A history is made from a number, which a failure names; `HISTORY=17` runs that one alone,
//! `HISTORIES=500` the first five hundred.

use std::collections::BTreeMap;

use clerk_convex_sync::{
    mapping::{self, UserRules},
    model::Table,
};
use serde_json::{Map, Value, json};

use super::Club;

/// Histories that are tried.
const HISTORIES: u64 = 5;
/// Changes of one history.
const CHANGES: usize = 120;

/// Numbers that look random and are the same for the same seed (an LCG with Knuth's constants).
struct Dice(u64);

impl Dice {
    fn below(&mut self, sides: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % sides
    }

    /// Between none and six of ten.
    fn share(&mut self) -> f64 {
        self.below(61) as f64 / 100.0
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

/// One change. The first user has founded all organizations and stays, so that none is ever left empty.
fn change(club: &mut Club, dice: &mut Dice) {
    let number = dice.below(1_000_000);
    let clerk = &club.world.clerk;
    clerk.advance_ms(1 + dice.below(5) as i64);
    let user = dice.pick(&club.users).clone();
    let organization = dice.pick(&club.organizations).clone();
    let alive = clerk.user(&user).is_some();
    // What is refused, such as a second membership, is no change.
    match dice.below(12) {
        0 => {
            let body = json!({"first_name": format!("N{number}"), "email_address": [format!("n{number}@example.com")]});
            club.users.extend(clerk.create_user(body));
        }
        1 if alive => drop(clerk.update_user(&user, json!({"last_name": format!("L{number}")}))),
        2 if alive => {
            let claims = [json!("admin"), json!("emperor"), Value::Null];
            let organizations = [json!("org_chosen"), Value::Null];
            let claims =
                json!({"role": dice.pick(&claims), "organizationId": dice.pick(&organizations)});
            drop(clerk.merge_metadata(&user, json!({"public_metadata": claims})));
        }
        // Somebody leaves, and somebody else has the address from now on.
        10 if alive && user != club.users[0] => {
            let body = clerk.user(&user).expect("alive");
            let address = body["email_addresses"][0]["email_address"].clone();
            drop(clerk.delete_user(&user));
            let body = json!({"first_name": format!("H{number}"), "email_address": [address]});
            club.users.extend(clerk.create_user(body));
        }
        11 if alive => {
            let names = [json!(format!("F{number}")), Value::Null];
            let numbers = [json!([format!("+1555{number:07}")]), json!([])];
            let profile =
                json!({"first_name": dice.pick(&names), "phone_number": dice.pick(&numbers)});
            drop(clerk.update_user(&user, profile));
        }
        3 if alive && user != club.users[0] => drop(clerk.delete_user(&user)),
        4 => {
            let body = json!({"name": format!("O{number}"), "created_by": club.users[0], "max_allowed_memberships": 0});
            club.organizations.extend(clerk.create_organization(body));
        }
        5 => drop(clerk.update_organization(&organization, json!({"name": format!("R{number}")}))),
        6 if club.organizations.len() > 3 && number.is_multiple_of(3) => {
            drop(clerk.delete_organization(&organization))
        }
        7 if user != club.users[0] => drop(clerk.remove_member(&organization, &user)),
        8 => drop(clerk.change_role(
            &organization,
            &user,
            ["org:admin", "org:member"][dice.below(2)],
        )),
        _ => drop(clerk.add_member(&organization, &user, "org:member")),
    }
}

type Rows = BTreeMap<(Table, String), Map<String, Value>>;

/// What Clerk's state maps to.
fn wanted(club: &Club) -> Rows {
    let clerk = &club.world.clerk;
    let rules = UserRules {
        roles: vec!["user".into(), "admin".into()],
        default_role: "user".into(),
        ..UserRules::default()
    };
    let mut rows = Rows::new();
    let all = [
        (Table::Users, clerk.users()),
        (Table::Organizations, clerk.organizations()),
        (Table::Memberships, clerk.memberships()),
    ];
    for (table, records) in all {
        for record in records {
            for mapped in mapping::record(table, &record.to_string(), &rules).expect("mapped") {
                let row = mapped.upsert;
                rows.insert((row.table, row.key.to_string()), row.fields);
            }
        }
    }
    let mut memberships = clerk.memberships();
    memberships.sort_by_key(|one| (one["created_at"].as_i64(), one["id"].to_string()));
    for ((_, key), row) in rows
        .iter_mut()
        .filter(|((table, _), _)| *table == Table::Users)
    {
        let oldest = memberships
            .iter()
            .find(|one| one["public_user_data"]["user_id"] == key.as_str());
        let derived = oldest.map_or(Value::Null, |one| one["organization"]["id"].clone());
        row.entry("organizationId").or_insert(derived);
    }
    rows
}

/// What stands in Convex of the same columns.
fn standing(club: &Club, wanted: &Rows) -> Rows {
    let mut rows = Rows::new();
    for table in Table::ALL {
        let columns = wanted
            .iter()
            .find(|((of, _), _)| *of == table)
            .map(|(_, row)| row);
        for row in club.world.convex.rows(table.name()) {
            let column = |name: &String| (name.clone(), row[name].clone());
            let fields = columns
                .into_iter()
                .flat_map(|row| row.keys())
                .map(column)
                .collect();
            let key = row["clerkId"].as_str().expect("a key").to_owned();
            assert!(rows.insert((table, key), fields).is_none(), "twice: {row}");
        }
    }
    rows
}

#[tokio::test(flavor = "multi_thread")]
async fn after_any_history_and_one_full_diff_all_tables_are_what_clerk_s_state_maps_to() {
    let free = [
        ("CCS_REPAIR__MAX_DELETES", "10000"),
        ("CCS_REPAIR__MAX_DELETE_RATIO", "1.0"),
        ("CCS_USERS__ROLES", "user,admin"),
    ];
    let said = |name| {
        let text = std::env::var(name).ok()?;
        Some(text.parse::<u64>().expect("a number"))
    };
    let all = 0..said("HISTORIES").unwrap_or(HISTORIES);
    for seed in said("HISTORY").map_or(all, |seed| seed..seed + 1) {
        println!("history {seed}: HISTORY={seed} runs it alone");
        let mut dice = Dice(seed);
        let mut club = Club::found(&free, 8, (3, 2)).await;
        club.run("reconcile").await;
        club.world.clerk.lose_ratio(dice.share());
        club.world.clerk.repeat_ratio(dice.share());
        club.world.clerk.reorder_window(dice.below(12));
        for _ in 0..CHANGES {
            change(&mut club, &mut dice);
            if dice.below(40) == 0 {
                club.world.quiet().await;
            }
        }
        club.world.quiet().await;
        let report = club.run("reconcile").await;
        assert!(
            matches!(report["outcome"].as_str(), Some("repaired" | "in_sync")),
            "history {seed}: {report:#}"
        );
        let wanted = wanted(&club);
        let standing = standing(&club, &wanted);
        for (key, row) in &wanted {
            assert_eq!(standing.get(key), Some(row), "history {seed}: {key:?}");
        }
        assert_eq!(standing.len(), wanted.len(), "history {seed}");
        club.agrees().await;
    }
}

//! Many users and organizations at once: an instance that has been in use for a while, from one seed.
//!
//! Seeded users are varied on purpose: with and without names, with two addresses of which the
//! older is primary, with a phone only, banned, locked, with metadata and external ids. They
//! emit no events, as they were there before anybody listened.

use super::ids::IdSource;
use super::memberships::Membership;
use super::metadata::Metadata;
use super::organizations::Organization;
use super::shelf::Place;
use super::state::World;
use super::users::{Account, Rare, User, contact};
use serde_json::json;

/// Time between the sign-ups of two seeded users, in milliseconds. Small enough that a million
/// fit into three years; every 50th shares its millisecond with the one before.
const BETWEEN_MS: i64 = 90_000;

const FIRST: [&str; 12] = [
    "Ada",
    "Grace",
    "Alan",
    "Edsger",
    "Barbara",
    "Donald",
    "Katherine",
    "Niklaus",
    "Frances",
    "John",
    "Zoë",
    "Søren",
];
const LAST: [&str; 10] = [
    "Lovelace", "Hopper", "Turing", "Dijkstra", "Liskov", "Knuth", "Johnson", "Wirth", "Allen",
    "Åkesson",
];

impl World {
    /// Adds `n` users that signed up in the past, without events. Answers how many were added.
    pub fn seed_users(&mut self, n: usize) -> usize {
        let now = self.now_ms();
        // A later batch lies before the earlier ones, so that it disturbs no cursor at the end.
        let oldest = self.users.by_created().ascending(0, 1).next();
        let newest = oldest.map_or(now, |(ms, _)| ms.min(now)) - BETWEEN_MS;
        self.users.reserve(n);
        let first = self.users.len();
        let ids = &mut self.ids;
        let users = (0..n).map(|i| {
            let back = (n - 1 - i) as i64 * BETWEEN_MS;
            let at = newest - if i % 50 == 1 { back + BETWEEN_MS } else { back };
            let mut user = User::blank(ids.id(), at, at + 12);
            let serial = first + i;
            let dice = ids.below(1000);
            dress(&mut user, serial, dice, now, ids);
            user
        });
        // The closure borrows the ids, the shelf is another field.
        self.users.insert_all(users)
    }
}

impl World {
    /// Adds `n` organizations that were founded in the past, each with so many members (at most as many as there
    /// are users), in turn from all users. Answers how many memberships that makes.
    pub fn seed_organizations(&mut self, n: usize, members: usize) -> usize {
        let now = self.now_ms();
        let listed = self.users.by_created();
        let users: Vec<Place> = listed.ascending(0, listed.len()).collect();
        let members = members.min(users.len());
        let first = self.organizations.by_created.len();
        let mut turn = users.iter().cycle();
        for i in 0..n {
            let at = now - (n - i) as i64 * BETWEEN_MS;
            let id = self.ids.id();
            let slot = self.organizations.insert(Organization {
                id,
                name: format!("Seeded {}", first + i).into(),
                slug: format!("seeded-{}", first + i).into(),
                created_by: None,
                max_allowed_memberships: 0,
                admin_delete_enabled: true,
                public_metadata: Metadata::default(),
                private_metadata: Metadata::default(),
                created_at: at,
                updated_at: at,
            });
            for (j, (_, user)) in turn.by_ref().take(members).enumerate() {
                let joined = at + 1 + j as i64;
                let id = self.ids.id();
                self.organizations.members.insert(Membership {
                    id,
                    organization: slot,
                    user: *user,
                    role: if j == 0 { "org:admin" } else { "org:member" }.into(),
                    public_metadata: Metadata::default(),
                    private_metadata: Metadata::default(),
                    created_at: joined,
                    updated_at: joined,
                });
            }
        }
        n * members
    }
}

fn dress(user: &mut User, serial: usize, dice: u64, now: i64, ids: &mut IdSource) {
    let at = user.created_at;
    let first = FIRST[serial % FIRST.len()];
    let last = LAST[(serial / FIRST.len()) % LAST.len()];
    if dice % 10 != 3 {
        user.first_name = Some(first.into());
        user.last_name = (dice % 10 != 4).then(|| last.into());
    }
    if dice < 20 {
        let number = format!("+1202{:07}", serial % 10_000_000);
        user.phones = Box::new([contact(ids, &number, true, at)]);
        user.primary_phone = user.phones.first().map(|p| p.id);
    } else {
        let address = format!("{}.{serial}@example.com", first.to_lowercase());
        let primary = contact(ids, &address, dice % 50 != 21, at);
        user.primary_email = Some(primary.id);
        user.emails = if dice % 20 == 7 {
            let work = format!("{}.{serial}@work.example", last.to_lowercase());
            Box::new([contact(ids, &work, true, at), primary])
        } else {
            Box::new([primary])
        };
    }
    if dice.is_multiple_of(5) {
        user.username = Some(format!("{}_{serial}", first.to_lowercase()).into());
    }
    if dice % 8 == 1 {
        user.external_id = Some(format!("crm-{serial}").into());
    }
    if dice % 4 == 2 {
        let role = if dice % 40 == 2 { "admin" } else { "user" };
        let metadata = json!({ "role": role, "appId": "app_1" });
        user.public_metadata = Metadata::replaced("public_metadata", &metadata).unwrap_or_default();
    }
    if dice % 6 == 5 {
        user.accounts = Box::new([Account {
            id: ids.id(),
            identification: ids.id(),
            provider: "oauth_google".into(),
            provider_user_id: format!("1{serial:020}").into(),
            email: user.primary_address().unwrap_or_default().into(),
            created_at: at,
        }]);
        user.has_image = true;
    } else {
        user.password_enabled = true;
    }
    user.banned = dice == 999;
    user.locked = dice == 998;
    if dice == 997 {
        user.rare = Some(Box::new(Rare {
            deprovisioned: true,
            ..Rare::default()
        }));
    }
    if dice.is_multiple_of(3) {
        // A later edit, so that the order by `updated_at` is another than by `created_at`.
        user.updated_at = now.min(at + 1000 + (dice as i64) * 40_000);
        user.last_sign_in_at = Some(user.updated_at);
        user.last_active_at = Some(user.updated_at);
    }
}

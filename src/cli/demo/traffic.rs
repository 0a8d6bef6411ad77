//! What happens in the simulated Clerk during a demo: people sign up, change, join, leave.
//!
//! A plain sequence of acts from a seed; when they happen is the caller's choice. Knows nothing of
//! deliveries, of Convex or of the daemon. Everybody and everything in it is invented.

use std::collections::HashSet;

use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};

use crate::sandbox::clerk::{ClerkSim, refusal::Refusal};

/// Acts for each sign-up, the sign-up among them.
pub(super) const ACTS_PER_USER: u64 = 2;

/// Sign-ups for each organization that is founded.
const PEOPLE_PER_ORGANIZATION: u64 = 40;

const FIRST: [&str; 12] = [
    "Ines", "Tomasz", "Amara", "Jun", "Leila", "Piet", "Noor", "Mateo", "Saoirse", "Ravi", "Yuki",
    "Björn",
];

const LAST: [&str; 10] = [
    "Varga",
    "Okafor",
    "Lindqvist",
    "Castellanos",
    "Haddad",
    "de Wit",
    "Moreau",
    "Tanaka",
    "Kowal",
    "Ó Broin",
];

const COMPANIES: [&str; 6] = [
    "Harbour Pilots",
    "North Kiln Pottery",
    "Tern & Daughters",
    "Lowland Bicycles",
    "Ember Observatory",
    "Quiet Orchard",
];

/// What has happened so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Acts {
    /// People who signed up.
    pub signed_up: u64,
    /// Changes of profiles and roles.
    pub changed: u64,
    /// People who left for good.
    pub deleted: u64,
    /// Organizations founded.
    pub founded: u64,
    /// People who joined an organization, or got another role there.
    pub memberships: u64,
}

impl Acts {
    /// All of them; each makes one event.
    pub fn total(&self) -> u64 {
        self.signed_up + self.changed + self.deleted + self.founded + self.memberships
    }
}

/// The people so far, and the dice.
pub(super) struct Traffic {
    dice: StdRng,
    most_people: u64,
    people: Vec<String>,
    organizations: Vec<String>,
    members: HashSet<String>,
    acts: Acts,
}

impl Traffic {
    /// An empty instance with room for so many people.
    pub fn new(seed: u64, most_people: u64) -> Self {
        Traffic {
            dice: StdRng::seed_from_u64(seed),
            most_people,
            people: Vec::new(),
            organizations: Vec::new(),
            members: HashSet::new(),
            acts: Acts::default(),
        }
    }

    /// What has happened so far.
    pub fn acts(&self) -> Acts {
        self.acts
    }

    /// The next act. Every second one is a sign-up until everybody is there; when people have left
    /// since, others come in their place.
    pub fn act(&mut self, clerk: &ClerkSim) -> Result<(), Refusal> {
        let turn_to_sign_up = self.acts.total().is_multiple_of(ACTS_PER_USER);
        let everybody_came = self.acts.signed_up >= self.most_people;
        let room = (self.people.len() as u64) < self.most_people;
        if self.people.is_empty() || (turn_to_sign_up && (!everybody_came || room)) {
            return self.sign_up(clerk);
        }
        let wanted = self.acts.signed_up / PEOPLE_PER_ORGANIZATION + 1;
        if (self.organizations.len() as u64) < wanted.min(self.most_people) {
            return self.found(clerk);
        }
        match self.dice.random_range(0..100) {
            0..55 => self.change(clerk),
            55..65 => self.delete(clerk),
            _ => self.join(clerk),
        }
    }

    fn sign_up(&mut self, clerk: &ClerkSim) -> Result<(), Refusal> {
        let number = self.acts.signed_up;
        let first = FIRST[self.dice.random_range(0..FIRST.len())];
        let mut user = json!({
            "email_address": [format!("{}.{number}@post.example", plain(first))],
        });
        // A few sign up with an address alone, some give a number.
        if self.dice.random_ratio(9, 10) {
            user["first_name"] = json!(first);
            user["last_name"] = json!(LAST[self.dice.random_range(0..LAST.len())]);
        }
        if self.dice.random_ratio(1, 5) {
            user["phone_number"] = json!([format!("+1500555{:04}", number % 10_000)]);
        }
        let id = clerk.create_user(user)?;
        self.people.push(id);
        self.acts.signed_up += 1;
        Ok(())
    }

    fn change(&mut self, clerk: &ClerkSim) -> Result<(), Refusal> {
        let id = &self.people[self.dice.random_range(0..self.people.len())];
        let change = match self.dice.random_range(0..3) {
            0 => json!({ "last_name": LAST[self.dice.random_range(0..LAST.len())] }),
            1 => json!({ "username": format!("user{}", self.acts.changed) }),
            _ => {
                let roles = ["user", "admin"];
                json!({ "public_metadata": { "role": roles[self.dice.random_range(0..2)] } })
            }
        };
        clerk.update_user(id, change)?;
        self.acts.changed += 1;
        Ok(())
    }

    fn delete(&mut self, clerk: &ClerkSim) -> Result<(), Refusal> {
        let id = self
            .people
            .swap_remove(self.dice.random_range(0..self.people.len()));
        self.members.remove(&id);
        clerk.delete_user(&id)?;
        self.acts.deleted += 1;
        Ok(())
    }

    fn found(&mut self, clerk: &ClerkSim) -> Result<(), Refusal> {
        let number = self.organizations.len();
        let name = COMPANIES[number % COMPANIES.len()];
        let name = format!("{name} {}", number / COMPANIES.len() + 1);
        // Clerk's own bound of five members would end the demo's traffic early; 0 is none.
        let id =
            clerk.create_organization(json!({ "name": name, "max_allowed_memberships": 0 }))?;
        self.organizations.push(id);
        self.acts.founded += 1;
        Ok(())
    }

    /// A person joins one organization at most, so that there is no doubt which is the oldest.
    fn join(&mut self, clerk: &ClerkSim) -> Result<(), Refusal> {
        let person = self.dice.random_range(0..self.people.len());
        if self.members.contains(&self.people[person]) {
            return self.change(clerk);
        }
        let id = self.people[person].clone();
        let organization = &self.organizations[self.dice.random_range(0..self.organizations.len())];
        clerk.add_member(organization, &id, "org:member")?;
        self.members.insert(id);
        self.acts.memberships += 1;
        Ok(())
    }
}

/// A name as it stands in an address.
fn plain(name: &str) -> String {
    let letters = name.chars().filter(char::is_ascii_alphabetic);
    letters.collect::<String>().to_lowercase()
}

/// The ids that an event is about: the record's own, and that of the user it belongs to.
pub(super) fn ids_of(event: &Value) -> impl Iterator<Item = &str> {
    let data = &event["data"];
    [&data["id"], &data["public_user_data"]["user_id"]]
        .into_iter()
        .filter_map(Value::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::clerk::ClerkOptions;

    #[tokio::test]
    async fn everybody_signs_up_and_the_rest_happens_too() {
        let clerk = ClerkSim::start(ClerkOptions::default()).await.unwrap();
        let mut traffic = Traffic::new(7, 200);
        for _ in 0..200 * ACTS_PER_USER {
            traffic.act(&clerk).unwrap();
        }
        let acts = traffic.acts();
        assert_eq!(acts.total(), 400);
        assert_eq!(acts.signed_up, 200);
        assert_eq!(clerk.user_count() as u64, acts.signed_up - acts.deleted);
        for (what, happened) in [
            ("changed", acts.changed),
            ("deleted", acts.deleted),
            ("founded", acts.founded),
            ("memberships", acts.memberships),
        ] {
            assert!(happened > 3, "{what}: {acts:?}");
        }
        assert_eq!(clerk.fates().sent, 400, "one event for each");
    }

    #[tokio::test]
    async fn an_endless_demo_keeps_its_size() {
        let clerk = ClerkSim::start(ClerkOptions::default()).await.unwrap();
        let mut traffic = Traffic::new(1, 10);
        for _ in 0..2_000 {
            traffic.act(&clerk).unwrap();
        }
        assert!(clerk.user_count() <= 10);
        assert!(
            traffic.acts().signed_up > 50,
            "others come for those who left"
        );
    }

    #[tokio::test]
    async fn one_seed_gives_one_story() {
        let mut stories = Vec::new();
        for _ in 0..2 {
            let clerk = ClerkSim::start(ClerkOptions::default()).await.unwrap();
            let mut traffic = Traffic::new(3, 50);
            for _ in 0..100 {
                traffic.act(&clerk).unwrap();
            }
            // Who signed up in the same millisecond may be listed in either order.
            let mut names: Vec<_> = clerk
                .users()
                .iter()
                .map(|u| u["first_name"].to_string())
                .collect();
            names.sort();
            stories.push((traffic.acts(), names));
        }
        assert_eq!(stories[0], stories[1]);
    }
}

//! In doubt, ask Clerk: what is this record like now?
//!
//! Takes leases whose events are not enough and brings back work that can be written, or an ending.
//! Many users are one request. Knows nothing of Convex. Promises: a record is taken for gone only when
//! Clerk says so about that very id, and nothing is decided while Clerk does not answer.

use std::{collections::HashMap, time::Duration};

use super::{
    Edges, Lease, Shared,
    ending::{Ending, Final, UNPROVED, refused},
    instance::{Absence, absence},
    work::{Question, Work},
};
use crate::{
    clerk::{ClerkError, Lookup, RawRecord},
    model::{Fault, Key, Origin, Table},
};

/// Users in one request; Clerk's own bound.
const USERS_A_REQUEST: usize = crate::clerk::client::MAX_IDS;
/// How long to leave Clerk alone when it does not accept the key.
const KEY_HOLD: Duration = Duration::from_secs(60);

/// What came of the questions.
#[derive(Default)]
pub struct Answers {
    /// To be written.
    pub works: Vec<Work>,
    /// Already decided.
    pub endings: Vec<(Lease, Ending)>,
}

/// True if a failure says nothing about the record that was asked for: Clerk is away, or lets us in no
/// more. Everything else is an answer about this one.
fn is_about_everything(error: &ClerkError) -> bool {
    match error {
        ClerkError::Exchange(_) | ClerkError::Busy { .. } | ClerkError::TooMuch { .. } => true,
        // Organizations that are switched off say nothing about users, and Clerk's own word that one is not found is
        // about that one. A 404 without a code of Clerk's is somebody else's, who answers in Clerk's place.
        ClerkError::Refused { status, code } => {
            let of_record = *status == 404 && !code.starts_with("http_");
            !of_record && code != "organization_not_enabled_in_instance"
        }
        ClerkError::NotFound { .. } | ClerkError::Rejected { .. } | ClerkError::Nonsense { .. } => {
            false
        }
    }
}

fn says_gone(lease: &Lease) -> bool {
    lease.ticket.says.is_some_and(|says| says.standing.deleted)
}

impl Shared {
    /// Asks Clerk about all of these.
    pub(super) async fn fetch(&self, leases: Vec<Lease>) -> Answers {
        let mut answers = Answers::default();
        let mut questions = Vec::new();
        for lease in leases {
            match self.question(lease) {
                Ok(question) => questions.push(question),
                Err(ended) => answers.endings.push(ended),
            }
        }
        let edges = self.edges.load_full();
        let mut users = self.users_at_once(&edges, &questions).await;
        for question in questions {
            let shown = match question.lease.record.table {
                Table::Users => users.remove(&question.lease.record.key),
                _ => None,
            };
            let lookup = match shown {
                Some(record) => Ok(Lookup::Found(record)),
                // Not in a listing proves nothing: ask about the id itself.
                None => self.ask(&edges, &question).await,
            };
            self.answer(edges.clerk_key, question, lookup, &mut answers);
        }
        answers
    }

    /// Looks up several users with one request. What fails here is asked again one by one.
    async fn users_at_once(
        &self,
        edges: &Edges,
        questions: &[Question],
    ) -> HashMap<Key, RawRecord> {
        let users = |question: &&Question| question.lease.record.table == Table::Users;
        let keys: Vec<Key> = questions
            .iter()
            .filter(users)
            .map(|q| q.lease.record.key.clone())
            .collect();
        let mut found = HashMap::new();
        if keys.len() < 2 {
            return found;
        }
        for keys in keys.chunks(USERS_A_REQUEST) {
            let Ok(ticket) = self.clerk.admit() else {
                break;
            };
            match edges.clerk.users_by_id(keys).await {
                Ok(records) => {
                    self.clerk.answered(ticket);
                    found.extend(
                        records
                            .into_iter()
                            .map(|record| (record.key().clone(), record)),
                    );
                }
                Err(error) => {
                    self.clerk.failed(ticket, &error, asked(&error));
                    break;
                }
            }
        }
        found
    }

    async fn ask(&self, edges: &Edges, question: &Question) -> Result<Lookup<RawRecord>, Ending> {
        let parents = &question.parents;
        let ends = parents.organization.as_ref().zip(parents.user.as_ref());
        let key = &question.lease.record.key;
        let table = question.lease.record.table;
        if table == Table::Memberships && ends.is_none() {
            let reason = "Clerk cannot be asked for a membership without its organization and user";
            return Err(refused("cannot_be_fetched", reason.into()));
        }
        let ticket = self.clerk.admit().map_err(Ending::Hold)?;
        let clerk = &edges.clerk;
        let result = match (table, ends) {
            (Table::Memberships, Some((organization, user))) => {
                clerk.get_membership(key, organization, user).await
            }
            (Table::Organizations, _) => clerk.get_organization(key).await,
            _ => clerk.get_user(key).await,
        };
        match result {
            Ok(lookup) => {
                self.clerk.answered(ticket);
                Ok(lookup)
            }
            Err(error) if is_about_everything(&error) => Err(Ending::Hold(self.clerk.failed(
                ticket,
                &error,
                asked(&error),
            ))),
            Err(error) => {
                self.clerk.answered(ticket);
                Err(refused(error.code(), error.to_string()))
            }
        }
    }

    fn answer(
        &self,
        key: [u8; 8],
        question: Question,
        lookup: Result<Lookup<RawRecord>, Ending>,
        answers: &mut Answers,
    ) {
        let Question {
            lease,
            instance,
            arbitrate,
            insist,
            asked,
            happened_ms,
            ..
        } = question;
        match lookup {
            Err(ending) => answers.endings.push((lease, ending)),
            Ok(Lookup::Found(record)) => {
                // A record that an event of ours names exists under this key: they belong together.
                if let Some(instance) = instance {
                    self.prove_instance(&instance);
                    self.prove_key(key);
                }
                match self.fetched(lease, &record, insist, happened_ms) {
                    Ok(work) => answers.works.push(work.on_behalf(asked)),
                    Err(ended) => answers.endings.push(ended),
                }
            }
            Ok(Lookup::Gone(deletion)) => {
                let mentioned = lease.ticket.origin == Origin::Repair;
                let proved = self.is_proved(key);
                let ending = match absence(says_gone(&lease), arbitrate, mentioned, proved) {
                    Absence::Gone => {
                        let work = self.gone(lease, &deletion, happened_ms);
                        return answers.works.push(work.on_behalf(asked));
                    }
                    Absence::Foreign => Ending::Final(Final::Foreign),
                    Absence::Unproved => Ending::Final(Final::Unproved),
                    Absence::Distrusted => {
                        let reason = "Clerk says that it does not exist, but this key has not yet shown any \
                                      record of this instance: check that CLERK_SECRET_KEY belongs to the \
                                      instance whose webhooks arrive";
                        refused(UNPROVED, reason.into())
                    }
                };
                answers.endings.push((lease, ending));
            }
        }
    }
}

/// How long Clerk wants to be left alone after this.
fn asked(error: &ClerkError) -> Option<Duration> {
    match error.fault() {
        Fault::Service { retry_after } => retry_after,
        Fault::Refused => Some(KEY_HOLD),
        Fault::Record | Fault::Ours => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_answer_about_the_record_counts_against_it() {
        let refused = |status, code: &str| ClerkError::Refused {
            status,
            code: code.into(),
        };
        let busy = ClerkError::Busy {
            code: "http_500".into(),
            status: 500,
            retry_after: None,
        };
        for (error, everything) in [
            (busy, true),
            (refused(401, "clerk_key_invalid"), true),
            (refused(403, "authorization_missing_scopes"), true),
            // Clerk does not serve the version that every request names.
            (refused(400, "api_version_invalid"), true),
            // A proxy, or a URL that is not Clerk's API: there is no code of Clerk's.
            (refused(404, "http_404"), true),
            (refused(405, "http_405"), true),
            (refused(403, "organization_not_enabled_in_instance"), false),
            (
                refused(404, "organization_not_found_or_unauthorized"),
                false,
            ),
        ] {
            assert_eq!(is_about_everything(&error), everything, "{error}");
        }
    }
}

//! On whose behalf something is written.
//!
//! For the operations log only: no decision reads it, so that what runs rarely takes the way that is used every
//! day. Pure. Holds ids and names of kinds, never anything about a person.

use std::sync::Arc;

use serde::Serialize;

use super::DeliveryId;

/// See the module's words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Asked {
    /// A delivery from Clerk.
    Delivery {
        /// The sender's id.
        id: DeliveryId,
    },
    /// A stored wish to fetch a record: what a dead letter named, or a membership mentioned.
    Request {
        /// Who had it.
        from: &'static str,
    },
    /// A run, scheduled or asked for.
    Run {
        /// Its kind.
        run: &'static str,
        /// Its id, under which its report is kept.
        id: Arc<str>,
        /// `schedule` or `operator`.
        by: &'static str,
    },
    /// A person, at the operators' door or at a terminal.
    Operator {
        /// As the kernel or a token says.
        who: Arc<str>,
    },
    /// A user who signs in and has no row yet.
    SignIn,
    /// A user's own change of a profile.
    Edit {
        /// Its ids in the outbox; none where it is not one edit's doing.
        #[serde(skip_serializing_if = "is_empty")]
        ids: Arc<[String]>,
    },
    /// The daemon itself.
    Daemon,
}

fn is_empty(ids: &Arc<[String]>) -> bool {
    ids.is_empty()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_says_what_it_is() {
        let id = DeliveryId::parse("msg_1").unwrap();
        let run = Asked::Run {
            run: "sweep",
            id: "0190".into(),
            by: "schedule",
        };
        for (asked, told) in [
            (
                Asked::Delivery { id },
                json!({"kind": "delivery", "id": "msg_1"}),
            ),
            (
                run,
                json!({"kind": "run", "run": "sweep", "id": "0190", "by": "schedule"}),
            ),
            (Asked::SignIn, json!({"kind": "sign_in"})),
            (Asked::Edit { ids: Arc::new([]) }, json!({"kind": "edit"})),
        ] {
            assert_eq!(serde_json::to_value(asked).unwrap(), told);
        }
    }
}

//! Series that begin with 0: a metric of which nothing was ever counted would not be there at all.
//!
//! As many as it takes for each metric to have its type and its labels from the first scrape, and for alarms to see a
//! first increase.

use prometheus_client::metrics::{counter::Counter, family::Family};

use super::{ChangeLabels, ClerkLabels, ConvexLabels, RetryLabels};

/// What nearly every delivery comes to, and every cause of a retry.
pub(super) fn changes(
    changes: &Family<ChangeLabels, Counter>,
    retries: &Family<RetryLabels, Counter>,
) {
    let source = "webhook";
    for table in ["users", "organizations", "memberships"] {
        for outcome in ["created", "updated", "deleted"] {
            drop(changes.get_or_create(&ChangeLabels {
                table,
                outcome,
                source,
            }));
        }
    }
    for cause in ["record", "convex", "clerk"] {
        drop(retries.get_or_create(&RetryLabels { cause }));
    }
}

/// A call to each service.
pub(super) fn calls(clerk: &Family<ClerkLabels, Counter>, convex: &Family<ConvexLabels, Counter>) {
    let (endpoint, function, status) = ("get_user", "apply", 200);
    drop(clerk.get_or_create(&ClerkLabels { endpoint, status }));
    drop(convex.get_or_create(&ConvexLabels { function, status }));
}

//! What is counted of requests from outside.
//!
//! Labels come from closed sets: kinds of events, results, reasons, the two listeners.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};

use super::EnsureLabels;

/// Labels of `webhooks_total`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct WebhookLabels {
    /// The event's type, or `none` where it is not known.
    pub r#type: String,
    /// What was answered and why.
    pub result: &'static str,
}

/// Labels of `connections_refused_total`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RefusedLabels {
    /// Why nobody was let in.
    pub reason: &'static str,
}

/// Labels of `handler_panics_total`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct PanicLabels {
    /// Whose: `public` or `operators`.
    pub listener: &'static str,
}

/// What a request to the webhook paths comes to before its type is known.
const UNTYPED: [&str; 5] = [
    "bad_headers",
    "bad_signature",
    "too_far_off",
    "too_large",
    "rate_limited",
];

/// Begins the series that alarms rest on with 0: what was never there before has no increase.
pub(super) fn begin(webhooks: &Family<WebhookLabels, Counter>) {
    for record in ["user", "organization", "organizationMembership"] {
        for what in ["created", "updated", "deleted"] {
            for result in ["stored", "duplicate", "cannot_store"] {
                let r#type = format!("{record}.{what}");
                drop(webhooks.get_or_create(&WebhookLabels { r#type, result }));
            }
        }
    }
    for result in UNTYPED {
        let r#type = "none".to_owned();
        drop(webhooks.get_or_create(&WebhookLabels { r#type, result }));
    }
}

pub(super) fn register(
    registry: &mut Registry,
    webhooks: &Family<WebhookLabels, Counter>,
    ensure: &Family<EnsureLabels, Counter>,
    refused: &Family<RefusedLabels, Counter>,
    panics: &Family<PanicLabels, Counter>,
) {
    registry.register(
        "webhooks",
        "Webhook requests by type and result",
        webhooks.clone(),
    );
    registry.register("ensure", "Sign-ins by result", ensure.clone());
    registry.register(
        "connections_refused",
        "Peers of the public listener that were not let in",
        refused.clone(),
    );
    registry.register(
        "handler_panics",
        "Requests at which the daemon failed",
        panics.clone(),
    );
}

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

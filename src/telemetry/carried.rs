//! Metrics of what travels from Convex to Clerk: users' own edits, and which row a user has.
//!
//! Labels are words of ours only.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    result: &'static str,
}

/// See the module's words. Cheap to clone.
#[derive(Clone, Debug)]
pub struct CarriedMetrics {
    /// `edits_total{result}`
    edits: Family<Labels, Counter>,
    /// `write_backs_total{result}`
    write_backs: Family<Labels, Counter>,
}

impl CarriedMetrics {
    /// Puts them in the registry.
    pub(super) fn register(registry: &mut Registry) -> CarriedMetrics {
        let edits = Family::default();
        let write_backs = Family::default();
        let help = "Users' own edits by what became of them";
        registry.register("edits", help, edits.clone());
        let help = "Rows that Clerk was told of, by result";
        registry.register("write_backs", help, write_backs.clone());
        CarriedMetrics { edits, write_backs }
    }

    /// Counts an edit that was settled.
    pub fn edit(&self, result: &'static str) {
        self.edits.get_or_create(&Labels { result }).inc();
    }

    /// Counts what became of telling Clerk of a row.
    pub fn write_back(&self, result: &'static str) {
        self.write_backs.get_or_create(&Labels { result }).inc();
    }
}

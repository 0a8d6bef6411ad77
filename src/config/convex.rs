//! The `[convex]` section: which deployment, and how hard it may be used.
//!
//! Knows the bounds that Convex and the contract set; calls nobody.

use std::time::Duration;

use url::Url;

use super::{Secret, reader::Reader};

/// How the daemon reaches Convex.
#[derive(Clone, Debug, PartialEq)]
pub struct Convex {
    /// The origin of the deployment.
    pub url: Url,
    /// A key that may run internal functions.
    pub deploy_key: Secret,
    /// The module that exports the functions.
    pub module: String,
    /// Mutations in flight at once.
    pub concurrency: usize,
    /// Changes in one `apply`.
    pub batch: usize,
    /// Rows in one page of `list`.
    pub page: usize,
    /// How long one call may take.
    pub timeout: Duration,
    /// Accept a production deployment with a development instance of Clerk.
    pub allow_mixed_environments: bool,
}

impl Convex {
    pub(super) fn read(r: &mut Reader) -> Option<Self> {
        let url = r.origin("convex.url", &[]).filter(|url| {
            // HTTP actions have a host of their own, which does not answer /api/query.
            let site = url
                .host_str()
                .is_some_and(|host| host.ends_with(".convex.site"));
            if site {
                r.mistake(
                    "convex.url",
                    "is the address of the HTTP actions",
                    "give the deployment's address, which ends in .convex.cloud",
                );
            }
            !site
        });
        let deploy_key = r.secret("convex.deploy_key").filter(|key| {
            let other = ["sk_", "pk_", "whsec_"]
                .iter()
                .any(|prefix| key.expose().starts_with(prefix));
            if other {
                r.mistake(
                    "convex.deploy_key",
                    "is a key of Clerk",
                    "give a deploy key (Convex dashboard, deployment settings)",
                );
            }
            !other
        });
        let deploy_key = deploy_key.filter(|key| {
            let other = url
                .as_ref()
                .is_some_and(|url| names_another_deployment(url, key));
            if other {
                r.mistake(
                    "convex.deploy_key",
                    "names another deployment than convex.url",
                    "give a deploy key of the deployment that convex.url names",
                );
            }
            !other
        });
        let module = r.text("convex.module").filter(|module| {
            let fine = is_module(module);
            if !fine {
                r.mistake(
                    "convex.module",
                    "is not the name of a module",
                    "give its path below convex/ without the ending, such as clerkSync",
                );
            }
            fine
        });
        let concurrency = r.count("convex.concurrency", 1..=256);
        let batch = r.count("convex.batch", 1..=1_000);
        let page = r.count("convex.page", 1..=4_000);
        let timeout = r.duration(
            "convex.timeout",
            Duration::from_secs(1)..=Duration::from_secs(120),
        );
        let allow_mixed_environments = r.flag("convex.allow_mixed_environments");
        Some(Convex {
            url: url?,
            deploy_key: deploy_key?,
            module: module?,
            concurrency: concurrency?,
            batch: batch?,
            page: page?,
            timeout: timeout?,
            allow_mixed_environments: allow_mixed_environments?,
        })
    }

    /// Whether the key belongs to a production deployment.
    pub fn is_production(&self) -> bool {
        self.deploy_key.expose().starts_with("prod:")
    }
}

/// Whether the deployment in a key (`prod:NAME|…`, `dev:NAME|…`) is not the one that answers at a
/// `NAME.….convex.cloud`. Nothing can be said of other hosts and keys.
fn names_another_deployment(url: &Url, key: &Secret) -> bool {
    let host = url
        .host_str()
        .filter(|host| host.ends_with(".convex.cloud"));
    let at = host.and_then(|host| host.split('.').next());
    let key = key.expose();
    let named = key
        .strip_prefix("prod:")
        .or_else(|| key.strip_prefix("dev:"))
        .and_then(|rest| rest.split_once('|'))
        .map(|(name, _)| name);
    matches!((at, named), (Some(at), Some(named)) if at != named)
}

fn is_module(name: &str) -> bool {
    name.split('/')
        .all(|part| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'))
}

//! The `[listen]` section: the public listener and its bounds.
//!
//! Knows that whatever leaves this machine must be encrypted, by the daemon or by a proxy before it.
//! Binds nothing; certificate and key are read to see whether they can be served.

use std::{
    collections::BTreeSet,
    fs::File,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use ipnet::IpNet;

use super::{layers::unreadable, reader::Reader};
use crate::inbound::{Certificate, TlsFault, TlsFiles};

/// Paths that the listener answers itself.
const OWN_PATHS: [&str; 5] = ["/ensure", "/healthz", "/readyz", "/metrics", "/status"];

/// Webhook paths at most; two names are usual.
const MOST_PATHS: usize = 16;

/// Networks in a list at most.
const MOST_NETWORKS: usize = 256;

/// The public listener.
#[derive(Clone, Debug, PartialEq)]
pub struct Listen {
    /// Address and port; port 0 takes a free one.
    pub address: SocketAddr,
    /// Where deliveries are taken.
    pub webhook_paths: Vec<String>,
    /// Who ends TLS.
    pub tls: Tls,
    /// The largest body, in bytes.
    pub max_body_bytes: usize,
    /// How long reading a body may take.
    pub body_timeout: Duration,
    /// How long reading the headers may take.
    pub header_timeout: Duration,
    /// How long an idle connection is kept.
    pub idle_timeout: Duration,
    /// Connections open at once.
    pub max_connections: usize,
    /// Connections of one peer open at once.
    pub max_connections_per_peer: usize,
    /// Requests a second from all senders; 0 is no limit.
    pub rate_per_second: u32,
    /// Requests a second of one client; 0 is no limit.
    pub rate_per_peer: u32,
    /// Who may connect; empty is everyone.
    pub allow: Vec<IpNet>,
    /// Proxies that are believed about whom they speak for.
    pub trusted_proxies: Vec<IpNet>,
}

/// Who ends TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tls {
    /// Nobody: loopback only.
    Off,
    /// The daemon.
    Own {
        /// The certificate chain, PEM.
        cert: PathBuf,
        /// The private key, PEM.
        key: PathBuf,
    },
    /// A reverse proxy.
    BehindProxy,
}

impl Listen {
    pub(super) fn read(r: &mut Reader) -> Option<Self> {
        let short = Duration::from_millis(100)..=Duration::from_secs(120);
        let address = r.address("listen.address");
        let webhook_paths = r
            .texts("listen.webhook_paths", MOST_PATHS)
            .filter(|paths| check_paths(paths, r));
        let tls = read_tls(r);
        let max_body_bytes = r.count("listen.max_body_bytes", 1_024..=4_000_000);
        let body_timeout = r.duration("listen.body_timeout", short.clone());
        let header_timeout = r.duration("listen.header_timeout", short);
        let idle_timeout = r.duration(
            "listen.idle_timeout",
            Duration::from_secs(1)..=Duration::from_secs(3_600),
        );
        let max_connections = r.count("listen.max_connections", 1..=100_000);
        let max_connections_per_peer = r.count("listen.max_connections_per_peer", 1..=100_000);
        let rate_per_second = r.small("listen.rate_per_second", 0..=1_000_000);
        let rate_per_peer = r.small("listen.rate_per_peer", 0..=1_000_000);
        let allow = r.networks("listen.allow", MOST_NETWORKS);
        let trusted_proxies = r.networks("listen.trusted_proxies", MOST_NETWORKS);
        let (address, tls) = (address?, tls?);
        let (allow, trusted_proxies) = (allow?, trusted_proxies?);
        check_proxies(&tls, &allow, &trusted_proxies, rate_per_peer, r);
        if !address.ip().is_loopback() && tls == Tls::Off {
            r.mistake(
                "listen.address",
                "is reachable from other machines without encryption",
                "set listen.tls_cert and listen.tls_key, or listen.behind_proxy = true, \
                 or listen on 127.0.0.1",
            );
            return None;
        }
        Some(Listen {
            address,
            webhook_paths: webhook_paths?,
            tls,
            max_body_bytes: max_body_bytes?,
            body_timeout: body_timeout?,
            header_timeout: header_timeout?,
            idle_timeout: idle_timeout?,
            max_connections: max_connections?,
            max_connections_per_peer: max_connections_per_peer?,
            rate_per_second: rate_per_second?,
            rate_per_peer: rate_per_peer?,
            allow,
            trusted_proxies,
        })
    }
}

/// Behind a proxy every request has the proxy's address, unless the proxy is asked.
fn check_proxies(
    tls: &Tls,
    allow: &[IpNet],
    trusted: &[IpNet],
    rate_per_peer: Option<u32>,
    r: &mut Reader,
) {
    let behind = *tls == Tls::BehindProxy;
    if !behind && !trusted.is_empty() {
        r.mistake(
            "listen.trusted_proxies",
            "is set, but listen.behind_proxy is not",
            "set listen.behind_proxy = true, or leave the list out",
        );
    }
    let needing = [
        ("listen.allow", !allow.is_empty()),
        (
            "listen.rate_per_peer",
            rate_per_peer.is_some_and(|rate| rate > 0),
        ),
    ];
    for (key, set) in needing {
        if behind && set && trusted.is_empty() {
            r.mistake(
                key,
                "is set, but everyone comes with the address of the proxy",
                "name the proxy in listen.trusted_proxies, and let it set X-Forwarded-For",
            );
        }
    }
}

fn read_tls(r: &mut Reader) -> Option<Tls> {
    let cert = r.optional_path("listen.tls_cert");
    let key = r.optional_path("listen.tls_key");
    let behind_proxy = r.flag("listen.behind_proxy");
    let (key_name, missing) = match (cert?, key?, behind_proxy?) {
        (None, None, false) => return Some(Tls::Off),
        (None, None, true) => return Some(Tls::BehindProxy),
        (Some(_), Some(_), true) => {
            r.mistake(
                "listen.behind_proxy",
                "is set together with listen.tls_cert and listen.tls_key",
                "choose one: the daemon ends TLS, or the proxy does",
            );
            return None;
        }
        (Some(cert), Some(key), false) => {
            let readable = check_readable("listen.tls_cert", &cert, r);
            let readable = check_readable("listen.tls_key", &key, r) && readable;
            return (readable && check_certificate(&cert, &key, r))
                .then_some(Tls::Own { cert, key });
        }
        (Some(_), None, _) => ("listen.tls_cert", "listen.tls_key"),
        (None, Some(_), _) => ("listen.tls_key", "listen.tls_cert"),
    };
    r.mistake(
        key_name,
        format!("is set without {missing}"),
        "set both, or neither",
    );
    None
}

fn check_readable(key: &str, path: &PathBuf, r: &mut Reader) -> bool {
    match File::open(path) {
        Ok(_) => true,
        Err(error) => {
            r.mistake(
                key,
                format!("names a file that cannot be read: {}", unreadable(&error)),
                "name a PEM file that exists and that this user may read",
            );
            false
        }
    }
}

/// What would stop the listener is said with everything else that is wrong.
fn check_certificate(cert: &Path, key: &Path, r: &mut Reader) -> bool {
    let files = TlsFiles {
        cert: cert.to_owned(),
        key: key.to_owned(),
    };
    let (name, problem, remedy) = match Certificate::load(&files) {
        Ok(_) => return true,
        Err(TlsFault::NoCertificate(_)) => (
            "listen.tls_cert",
            "names a file without a certificate in PEM form",
            "name the file with the chain in PEM form, the daemon's own certificate first",
        ),
        Err(TlsFault::NoKey(_)) => (
            "listen.tls_key",
            "names a file without a private key in PEM form",
            "name the file with the key in PEM form, without a passphrase",
        ),
        Err(TlsFault::Mismatch(_)) => (
            "listen.tls_key",
            "does not belong to the certificate of listen.tls_cert, or is of a kind that cannot be served",
            "name the key that this certificate was made for; the daemon's own certificate stands first in its file",
        ),
    };
    r.mistake(name, problem, remedy);
    false
}

fn check_paths(paths: &[String], r: &mut Reader) -> bool {
    let key = "listen.webhook_paths";
    if paths.is_empty() {
        r.mistake(key, "is empty", "give at least one path");
        return false;
    }
    let mut fine = true;
    let mut seen = BTreeSet::new();
    for (index, path) in paths.iter().enumerate() {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-._~/@+,=".contains(c);
        let problem = if !path.starts_with('/') {
            "does not begin with /"
        } else if !path.chars().all(plain) {
            "holds a character that is not plain in a path"
        } else if OWN_PATHS.contains(&path.as_str()) {
            "is taken by the daemon itself"
        } else if !seen.insert(path) {
            "is there twice"
        } else {
            continue;
        };
        fine = false;
        r.mistake(
            key,
            format!("path {} of {} {problem}", index + 1, paths.len()),
            "write a path such as /api/webhooks/clerk",
        );
    }
    fine
}

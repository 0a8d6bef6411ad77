//! Addresses and URLs, read from the merged values.
//!
//! Knows the rule that what leaves this machine is encrypted. Looks no name up.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use url::{Host, Url};

use super::Reader;

impl Reader {
    /// An address with its port; `Some(None)` when it is not set.
    pub fn optional_address(&mut self, key: &str) -> Option<Option<SocketAddr>> {
        let Some(text) = self.optional_text(key)? else {
            return Some(None);
        };
        let parsed = text.parse().ok();
        if parsed.is_none() {
            self.mistake(
                key,
                "must be an IP address and a port",
                "write it like 127.0.0.1:8787 or [::1]:8787; names are not looked up",
            );
        }
        parsed.map(Some)
    }

    /// An address with its port that must be there.
    pub fn address(&mut self, key: &str) -> Option<SocketAddr> {
        match self.optional_address(key)? {
            Some(address) => Some(address),
            None => self.missing(key),
        }
    }

    /// A list of networks such as `10.0.0.0/8`, or of single addresses.
    pub fn networks(&mut self, key: &str, most: usize) -> Option<Vec<IpNet>> {
        let texts = self.texts(key, most)?;
        let network = |text: &String| {
            let one = || text.parse::<IpAddr>().ok().map(IpNet::from);
            text.parse::<IpNet>().ok().or_else(one)
        };
        let networks: Vec<Option<IpNet>> = texts.iter().map(network).collect();
        if let Some(at) = networks.iter().position(Option::is_none) {
            let problem = format!("entry {} of {} is no network", at + 1, texts.len());
            let remedy = "write it like 203.0.113.0/24, 2001:db8::/32 or 203.0.113.7";
            self.mistake(key, problem, remedy);
            return None;
        }
        Some(networks.into_iter().flatten().collect())
    }

    /// The origin of a service: `https://`, or `http://` on a loopback address, and no path other
    /// than one that is in `allowed_paths` and is dropped.
    pub fn origin(&mut self, key: &str, allowed_paths: &[&str]) -> Option<Url> {
        let text = self.text(key)?;
        let Some(mut url) = Url::parse(&text).ok().filter(Url::has_host) else {
            self.mistake(
                key,
                "must be a URL",
                "write it with its scheme, such as https://…",
            );
            return None;
        };
        let problem = if !matches!(url.scheme(), "http" | "https") {
            Some(("must begin with https://", "write the URL with https://"))
        } else if url.scheme() == "http" && !is_loopback(&url) {
            Some((
                "is http://, which is accepted for loopback addresses only",
                "write https://, or an address such as http://127.0.0.1:…",
            ))
        } else if !url.username().is_empty() || url.password().is_some() {
            Some((
                "holds a user name or password",
                "leave them out; keys have settings of their own",
            ))
        } else if url.query().is_some() || url.fragment().is_some() {
            Some((
                "holds a query or fragment",
                "end the URL after host and port",
            ))
        } else if !["", "/"].contains(&url.path())
            && !allowed_paths.contains(&url.path().trim_end_matches('/'))
        {
            Some(("has a path", "end the URL after host and port"))
        } else {
            None
        };
        if let Some((problem, remedy)) = problem {
            self.mistake(key, problem, remedy);
            return None;
        }
        url.set_path("/");
        Some(url)
    }
}

/// Whether a URL leads to this machine.
pub(in crate::config) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

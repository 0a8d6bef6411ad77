//! Targets that people configure, at which nobody of ours answers: only what is out in the world is called.
//!
//! A URL that was harmless when it was read may lead inside later, since its name may resolve to another address by
//! then. So what is judged is the address to which a connection is about to be made, and an address that stands in
//! the URL itself, in whatever spelling. Redirects are followed by nobody, and no proxy is asked to go there instead.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

/// True for an address that belongs to somebody on the internet: not to this machine, not to its network, and to
/// nothing that is reserved, translated or tunnelled.
pub fn is_outside(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => is_outside_v4(address),
        IpAddr::V6(address) => is_outside_v6(address),
    }
}

/// By the registry of special addresses (RFC 6890, as IANA keeps it).
fn is_outside_v4(address: Ipv4Addr) -> bool {
    const INSIDE: [(u32, u32); 14] = [
        (0x0000_0000, 8),
        (0x0a00_0000, 8),
        (0x6440_0000, 10),
        (0x7f00_0000, 8),
        (0xa9fe_0000, 16),
        (0xac10_0000, 12),
        (0xc000_0000, 24),
        (0xc000_0200, 24),
        (0xc058_6300, 24),
        (0xc0a8_0000, 16),
        (0xc612_0000, 15),
        (0xc633_6400, 24),
        (0xcb00_7100, 24),
        // Multicast, and what is reserved behind it.
        (0xe000_0000, 3),
    ];
    let bits = address.to_bits();
    INSIDE
        .iter()
        .all(|(net, length)| (bits ^ net) >> (32 - length) != 0)
}

/// Global unicast, without what carries another address in it or is for examples.
fn is_outside_v6(address: Ipv6Addr) -> bool {
    const GLOBAL: (u128, u32) = (0x2000 << 112, 3);
    const INSIDE: [(u128, u32); 4] = [
        // Protocols' own, with Teredo.
        (0x2001 << 112, 23),
        (0x2001_0db8 << 96, 32),
        // 6to4.
        (0x2002 << 112, 16),
        (0x3fff << 112, 20),
    ];
    let bits = address.to_bits();
    let within = |(net, length): &(u128, u32)| (bits ^ net) >> (128 - length) == 0;
    within(&GLOBAL) && !INSIDE.iter().any(within)
}

/// True if a URL may be called as far as it tells itself: encrypted, without a name to log in by, and with no address
/// that lies inside.
pub(super) fn may_be_called(url: &Url) -> bool {
    let named = match url.host() {
        Some(Host::Ipv4(address)) => is_outside_v4(address),
        Some(Host::Ipv6(address)) => is_outside(address.into()),
        Some(Host::Domain(name)) => !name.is_empty(),
        None => false,
    };
    named && url.scheme() == "https" && url.username().is_empty() && url.password().is_none()
}

/// Resolves names to addresses that are outside, and to no others.
#[derive(Clone, Copy, Debug)]
pub(super) struct Abroad;

impl Resolve for Abroad {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let outside: Vec<SocketAddr> = found.filter(|one| is_outside(one.ip())).collect();
            if outside.is_empty() {
                return Err("the name leads to no address that is outside".into());
            }
            let addresses: Addrs = Box::new(outside.into_iter());
            Ok(addresses)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
        time::Duration,
    };

    use reqwest::{Method, header::HeaderMap};
    use tokio::net::TcpListener;

    use super::*;
    use crate::outbound::{Dialer, ExchangeError, OnRequest, Request};

    #[test]
    fn what_belongs_to_nobody_on_the_internet_is_inside() {
        for address in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "10.255.255.255",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.254",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.0.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "3fff::1",
            "fc00::1",
            "fd12:3456::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!is_outside(address.parse().unwrap()), "{address}");
        }
        for address in [
            "1.1.1.1",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "169.253.255.255",
            "172.15.255.255",
            "172.32.0.0",
            "192.167.255.255",
            "223.255.255.255",
            "::ffff:1.1.1.1",
            "2606:4700:4700::1111",
            "2a00:1450::1",
        ] {
            assert!(is_outside(address.parse().unwrap()), "{address}");
        }
    }

    #[tokio::test]
    async fn nobody_inside_is_called_however_the_address_is_spelt() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let came = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&came);
        let heard = tokio::spawn(async move {
            while listener.accept().await.is_ok() {
                counted.fetch_add(1, Ordering::Relaxed);
            }
        });
        let dialer = Dialer::default().abroad();
        let nobody: OnRequest = Arc::new(|_, _, _| {});
        for url in [
            "https://127.0.0.1:PORT/",
            "https://127.1:PORT/",
            "https://0x7f000001:PORT/",
            "https://2130706433:PORT/",
            "https://017700000001:PORT/",
            "https://0:PORT/",
            "https://[::1]:PORT/",
            "https://[::ffff:127.0.0.1]:PORT/",
            "https://[::ffff:7f00:1]:PORT/",
            // Only when it is resolved does a name show where it leads.
            "https://localhost:PORT/",
            "https://LOCALHOST.:PORT/",
            "https://169.254.169.254/latest/meta-data",
            "https://somebody:secret@1.1.1.1/",
            "http://1.1.1.1/",
        ] {
            let url = url.replace("PORT", &port.to_string());
            let request = Request {
                name: "test",
                method: Method::GET,
                url: url.parse().unwrap(),
                headers: HeaderMap::new(),
                body: None,
                timeout: Duration::from_secs(20),
                max_bytes: 100,
            };
            let refused = dialer.exchange(request, &nobody).await.unwrap_err();
            let unreachable = matches!(refused, ExchangeError::Unreachable(_));
            assert!(unreachable, "{url}: {refused:?}");
        }
        assert_eq!(came.load(Ordering::Relaxed), 0);
        heard.abort();
    }
}

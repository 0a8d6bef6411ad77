//! Addresses: who is let in, who is counted, and which hop of a chain is the client.

use axum::http::HeaderValue;

use super::*;

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// As the listener names who connects.
fn at(text: &str) -> Peer {
    Peer::Address(ip(text).to_canonical())
}

fn peers(rules: Rules) -> Arc<Peers> {
    Peers::new(rules, Metrics::default())
}

fn forwarded(values: &[&str]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for value in values {
        headers.append(FORWARDED_FOR, HeaderValue::from_str(value).unwrap());
    }
    headers
}

#[test]
fn a_peer_has_so_many_connections_and_gets_a_place_back_when_one_ends() {
    let peers = peers(Rules {
        max_connections: 2,
        trusted_proxies: vec![net("10.0.0.0/8")],
        ..Rules::default()
    });
    let first = peers.admit(&at("192.0.2.1"));
    let second = peers.admit(&at("::ffff:192.0.2.1"));
    assert!(first.is_some() && second.is_some());
    assert!(peers.admit(&at("192.0.2.1")).is_none(), "the third");
    assert!(peers.admit(&at("192.0.2.2")).is_some(), "somebody else");
    drop(first);
    assert!(peers.admit(&at("192.0.2.1")).is_some(), "one has ended");
    drop(second);
    assert!(
        peers.open.lock().unwrap().is_empty(),
        "nobody is remembered"
    );
    // Neither this machine nor a proxy is counted.
    let many = |address| {
        (0..9)
            .map(|_| peers.admit(&at(address)))
            .collect::<Vec<_>>()
    };
    assert!(many("127.0.0.1").iter().all(Option::is_some));
    assert!(many("10.1.2.3").iter().all(Option::is_some));
    // One customer of IPv6 is one, whatever they call themselves.
    let (a, b) = (
        peers.admit(&at("2001:db8::1")),
        peers.admit(&at("2001:db8::2")),
    );
    assert!(a.is_some() && b.is_some() && peers.admit(&at("2001:db8::3")).is_none());
    assert!(peers.admit(&at("2001:db8:0:1::1")).is_some());
    let refused = "connections_refused_total{reason=\"too_many\"} 2";
    assert!(peers.metrics.render().contains(refused));
}

#[test]
fn only_who_is_on_the_list_connects_if_there_is_one() {
    let everyone = peers(Rules {
        max_connections: 9,
        ..Rules::default()
    });
    assert!(everyone.admit(&at("203.0.113.9")).is_some());
    let listed = peers(Rules {
        allow: vec![net("203.0.113.0/24"), net("2001:db8::/32")],
        trusted_proxies: vec![net("10.0.0.5/32")],
        max_connections: 9,
        ..Rules::default()
    });
    for (address, let_in) in [
        ("203.0.113.9", true),
        ("::ffff:203.0.113.9", true),
        ("203.0.114.1", false),
        ("2001:db8::9", true),
        ("2001:db9::9", false),
        ("127.0.0.1", true),
        ("10.0.0.5", true),
        ("10.0.0.6", false),
    ] {
        assert_eq!(listed.admit(&at(address)).is_some(), let_in, "{address}");
    }
}

#[test]
fn the_client_is_the_rightmost_hop_that_is_no_proxy_and_only_proxies_are_believed() {
    let peers = peers(Rules {
        trusted_proxies: vec![net("10.0.0.0/8"), net("2001:db8::/64")],
        ..Rules::default()
    });
    let proxy = ip("10.0.0.5");
    for (chain, client) in [
        (&["192.0.2.7"][..], Some("192.0.2.7")),
        (&["1.1.1.1, 192.0.2.7"], Some("192.0.2.7")),
        (&["1.1.1.1, 192.0.2.7, 10.9.9.9"], Some("192.0.2.7")),
        (&["1.1.1.1", "192.0.2.7"], Some("192.0.2.7")),
        (&["192.0.2.7:4711"], Some("192.0.2.7")),
        (&["[2001:db9::7]:4711"], Some("2001:db9::7")),
        (&["[2001:db9::7]"], Some("2001:db9::7")),
        (&["::ffff:192.0.2.7"], Some("192.0.2.7")),
        (&["10.0.0.6, 10.0.0.7"], Some("10.0.0.6")),
        (&["192.0.2.7, unknown"], None),
        (&["unknown, 192.0.2.7"], Some("192.0.2.7")),
        (&[""], None),
        (&[], None),
    ] {
        let found = peers.client(proxy, &forwarded(chain));
        assert_eq!(found, client.map(ip), "{chain:?}");
    }
    let long = vec!["10.0.0.6"; MAX_HOPS + 1].join(",");
    assert_eq!(peers.client(proxy, &forwarded(&[&long])), None);
    let stranger = ip("192.0.2.66");
    let lie = forwarded(&["127.0.0.1"]);
    assert_eq!(peers.client(stranger, &lie), Some(stranger));
}

#[test]
fn one_client_that_is_too_fast_slows_nobody_else_down() {
    let peers = peers(Rules {
        rate_per_second: 2,
        ..Rules::default()
    });
    let fast = (0..20).filter(|_| peers.too_fast(ip("192.0.2.1"))).count();
    assert!(fast > 10, "{fast} of 20 at once");
    assert!(!peers.too_fast(ip("192.0.2.2")));
    for n in 0..=u32::try_from(MAX_CLIENTS).unwrap() {
        peers.too_fast(IpAddr::from(n.to_be_bytes()));
    }
    let limiter = peers.limiter.as_ref().unwrap();
    assert!(limiter.len() <= MAX_CLIENTS + 3, "{}", limiter.len());
}

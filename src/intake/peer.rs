//! Who is at the other end of a connection, and whether they may come in.
//!
//! Knows addresses only: who may connect, how many connections one peer may have, how many requests a
//! second one client may make, and which proxies say the truth about whom they speak for.
//! `X-Forwarded-For` is read from those proxies only, from the right, up to the first address that is
//! none of theirs: everything left of it is the client's own invention. IPv6 clients count by their /64,
//! which is what one customer has.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    num::NonZeroU32,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderMap, Method, StatusCode},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use ipnet::IpNet;

use crate::{inbound::Peer, telemetry::Metrics};

/// Where proxies write whom they speak for.
const FORWARDED_FOR: &str = "x-forwarded-for";
/// Clients whose rate is remembered before those that have been quiet are forgotten.
const MAX_CLIENTS: usize = 10_000;
/// Of a longer list nothing is believed: no sensible chain has so many proxies.
const MAX_HOPS: usize = 32;

/// Who may come in.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// Whoever may connect, beside this machine; empty: everyone.
    pub allow: Vec<IpNet>,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Connections of one peer at once; neither this machine nor a trusted proxy is counted.
    pub max_connections: usize,
    /// Requests a second of one client; 0: no bound.
    pub rate_per_second: u32,
}

/// Keeps the rules.
pub struct Peers {
    rules: Rules,
    open: Mutex<HashMap<IpAddr, usize>>,
    limiter: Option<DefaultKeyedRateLimiter<IpAddr>>,
    metrics: Metrics,
}

/// A request carries this whose client makes too many: what to answer is its path's to say.
#[derive(Clone, Copy, Debug)]
pub(super) struct TooFast;

/// A connection that was let in; dropped when it ends.
pub struct Place {
    peers: Arc<Peers>,
    counted: Option<IpAddr>,
}

impl Peers {
    /// Nobody is connected yet.
    pub fn new(rules: Rules, metrics: Metrics) -> Arc<Peers> {
        let limiter = NonZeroU32::new(rules.rate_per_second)
            .map(|rate| RateLimiter::keyed(Quota::per_second(rate)));
        Arc::new(Peers {
            rules,
            open: Mutex::default(),
            limiter,
            metrics,
        })
    }

    /// These routes, for those who may ask, as fast as they may.
    pub fn guard(self: &Arc<Self>, router: Router) -> Router {
        router.layer(middleware::from_fn_with_state(Arc::clone(self), gate))
    }

    /// Lets a connection in, or does not.
    pub fn admit(self: &Arc<Self>, peer: &Peer) -> Option<Place> {
        let Peer::Address(peer) = *peer else {
            return None;
        };
        let proxy = self.is_proxy(peer);
        if !proxy && !self.allows(peer) {
            self.metrics.not_let_in("not_allowed");
            return None;
        }
        let exempt = proxy || peer.is_loopback();
        let counted = (!exempt).then(|| customer(peer));
        if let Some(key) = counted {
            let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            let connections = open.entry(key).or_default();
            if *connections >= self.rules.max_connections {
                drop(open);
                self.metrics.not_let_in("too_many");
                return None;
            }
            *connections += 1;
        }
        Some(Place {
            peers: Arc::clone(self),
            counted,
        })
    }

    fn is_proxy(&self, address: IpAddr) -> bool {
        holds(&self.rules.trusted_proxies, address)
    }

    fn allows(&self, address: IpAddr) -> bool {
        let allow = &self.rules.allow;
        allow.is_empty() || address.is_loopback() || holds(allow, address)
    }

    /// Whom a request is from. `None`: a trusted proxy does not say, or says nonsense.
    fn client(&self, peer: IpAddr, headers: &HeaderMap) -> Option<IpAddr> {
        if !self.is_proxy(peer) {
            return Some(peer);
        }
        let mut hops = Vec::new();
        for value in headers.get_all(FORWARDED_FOR) {
            hops.extend(value.to_str().ok()?.split(',').map(str::trim));
            if hops.len() > MAX_HOPS {
                return None;
            }
        }
        let mut nearest = None;
        for hop in hops.into_iter().rev() {
            let address = address_of(hop)?;
            nearest = Some(address);
            if !self.is_proxy(address) {
                break;
            }
        }
        nearest
    }

    /// True if this client makes too many requests.
    fn too_fast(&self, client: IpAddr) -> bool {
        let Some(limiter) = &self.limiter else {
            return false;
        };
        if limiter.len() > MAX_CLIENTS {
            limiter.retain_recent();
        }
        limiter.check_key(&customer(client)).is_err()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(key) = self.counted else { return };
        let mut open = self
            .peers
            .open
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(connections) = open.get_mut(&key) {
            *connections -= 1;
            if *connections == 0 {
                open.remove(&key);
            }
        }
    }
}

/// Before every route: whom a proxy speaks for, and how fast they are.
async fn gate(State(peers): State<Arc<Peers>>, mut request: Request, next: Next) -> Response {
    // Requests that came over no connection of ours are a test's own.
    let Some(Peer::Address(peer)) = request.extensions().get::<Peer>().copied() else {
        return next.run(request).await;
    };
    let client = peers.client(peer, request.headers());
    // A proxy's own question about health is about nobody.
    let about_nobody = client.is_none() && request.method() == Method::GET;
    if !peers.rules.allow.is_empty()
        && !about_nobody
        && !client.is_some_and(|client| peers.allows(client))
    {
        peers.metrics.not_let_in("not_allowed");
        return (StatusCode::FORBIDDEN, "not allowed\n").into_response();
    }
    if request.method() == Method::POST && peers.too_fast(client.unwrap_or(peer)) {
        request.extensions_mut().insert(TooFast);
    }
    next.run(request).await
}

fn holds(nets: &[IpNet], address: IpAddr) -> bool {
    nets.iter().any(|net| net.contains(&address))
}

/// What counts as one: an IPv4 address, or the network that one IPv6 customer has.
fn customer(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => {
            let network = u128::from(v6) >> 64 << 64;
            Ipv6Addr::from(network).into()
        }
    }
}

/// An address as proxies write it: alone, in brackets, or with a port.
fn address_of(hop: &str) -> Option<IpAddr> {
    let bare = hop
        .strip_prefix('[')
        .and_then(|rest| rest.split_once(']'))
        .map_or(hop, |(inside, _)| inside);
    let parsed = bare.parse::<IpAddr>().ok();
    let with_port = || {
        hop.parse::<std::net::SocketAddr>()
            .ok()
            .map(|both| both.ip())
    };
    Some(parsed.or_else(with_port)?.to_canonical())
}

#[cfg(test)]
mod tests;

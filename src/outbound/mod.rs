//! One bounded HTTP exchange with a service, for the edges that make them.
//!
//! Knows nothing of Clerk or Convex. Promises: an exchange ends within its time and holds at most its
//! number of bytes (counted after decompression), follows no redirect (a key sent to another host is a
//! key given away), and no error repeats a header, an address or a body. Connections and root
//! certificates, which take megabytes, are made on first use and shared by all clones of a [`Dialer`].

use std::{
    fmt,
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::Bytes;
use reqwest::{
    Client, Method, Response,
    header::{AGE, DATE, HeaderMap, HeaderValue},
    redirect::Policy,
};
use tokio::time::Instant;
use url::{Host, Url};

use self::{
    abroad::Abroad,
    buffers::{Buffer, Buffers},
};
use crate::{
    model::Fault,
    twin::{self, Twin},
};

pub mod abroad;
mod buffers;
mod retry_after;

/// Who is told of every exchange: its name, the status (0 when there was no answer) and the bytes that
/// came back. For metrics and for what a run cost.
pub type OnRequest = Arc<dyn Fn(&'static str, u16, usize) + Send + Sync>;

/// Who is told of the time in an answer: the service, its `Date` in seconds since the epoch, and how long the
/// exchange had taken when it came.
pub type OnDate = Arc<dyn Fn(&'static str, i64, Duration) + Send + Sync>;

/// To find out that a host does not answer. Well below the time of any whole exchange.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Idle connections a host: as many as Convex calls run at once by default, and a few for Clerk.
const MAX_IDLE_PER_HOST: usize = 8;
/// Before most servers' own limit, so that a request rarely meets a closing connection.
const IDLE_TIMEOUT: Duration = Duration::from_secs(50);

/// Makes connections when they are first needed.
#[derive(Clone)]
pub struct Dialer {
    clients: Arc<Clients>,
    service: &'static str,
    on_date: Option<OnDate>,
    buffers: Option<Buffers>,
}

struct Clients {
    user_agent: String,
    /// True if only what is out in the world is called; see [`abroad`].
    abroad: bool,
    /// By [`Route::index`].
    built: [OnceLock<Client>; 4],
}

impl Default for Dialer {
    fn default() -> Self {
        let clients = Clients {
            user_agent: concat!("clerk-convex-sync/", env!("CARGO_PKG_VERSION")).into(),
            abroad: false,
            built: Default::default(),
        };
        Dialer {
            clients: Arc::new(clients),
            service: "a service",
            on_date: None,
            buffers: None,
        }
    }
}

impl fmt::Debug for Dialer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Dialer")
    }
}

/// What distinguishes the clients: loopback never goes through a proxy, and plain HTTP (loopback only,
/// by the configuration's rule) needs no root certificates.
#[derive(Clone, Copy)]
struct Route {
    secure: bool,
    loopback: bool,
}

impl Route {
    fn to(url: &Url) -> Route {
        Route {
            secure: url.scheme() != "http",
            loopback: is_loopback(url),
        }
    }

    fn index(self) -> usize {
        usize::from(self.secure) + 2 * usize::from(self.loopback)
    }

    fn build(self, clients: &Clients) -> reqwest::Result<Client> {
        let mut builder = Client::builder()
            .user_agent(&clients.user_agent)
            .redirect(Policy::none())
            .referer(false)
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_max_idle_per_host(MAX_IDLE_PER_HOST)
            .pool_idle_timeout(IDLE_TIMEOUT);
        if twin::broken(Twin::FollowRedirects) {
            builder = builder.redirect(Policy::limited(3));
        }
        if twin::broken(Twin::AnyCertificate) {
            builder = builder.tls_danger_accept_invalid_certs(true);
        }
        if self.loopback || clients.abroad {
            builder = builder.no_proxy();
        }
        if clients.abroad {
            builder = builder.https_only(true).dns_resolver(Arc::new(Abroad));
        }
        if !self.secure {
            builder = builder.tls_certs_only([]).http1_only();
        }
        builder.build()
    }
}

/// What is asked.
#[derive(Debug)]
pub struct Request {
    /// The name that [`OnRequest`] hears.
    pub name: &'static str,
    /// GET, POST, PATCH.
    pub method: Method,
    /// Where.
    pub url: Url,
    /// With secrets marked sensitive.
    pub headers: HeaderMap,
    /// The body, if there is one.
    pub body: Option<Bytes>,
    /// The longest the whole exchange may take, answer included.
    pub timeout: Duration,
    /// The largest answer that is read, in bytes after decompression.
    pub max_bytes: usize,
}

/// What came back, whatever its status.
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// `Retry-After`, bounded.
    pub retry_after: Option<Duration>,
    /// The whole body.
    pub body: Bytes,
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reply({}, {} bytes)", self.status, self.body.len())
    }
}

/// Why there is no whole answer. No variant holds anything that was sent or received.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExchangeError {
    /// No connection: name, network, port or TLS.
    #[error("no connection could be made ({0})")]
    Unreachable(&'static str),
    /// The time was over.
    #[error("no whole answer came within {} ms", .0.as_millis())]
    TimedOut(Duration),
    /// The connection broke, or what came was not HTTP.
    #[error("the connection broke before the whole answer was there")]
    Interrupted,
    /// The answer is larger than any sensible one.
    #[error("the answer is larger than {0} bytes")]
    TooLarge(usize),
    /// The request, or the client for it, could not be built.
    #[error("the request could not be built; check URL, key and the system's root certificates")]
    Unbuildable,
}

impl ExchangeError {
    /// A short name for metrics and logs.
    pub const fn code(&self) -> &'static str {
        match self {
            ExchangeError::Unreachable(_) => "unreachable",
            ExchangeError::TimedOut(_) => "timeout",
            ExchangeError::Interrupted => "interrupted",
            ExchangeError::TooLarge(_) => "answer_too_large",
            ExchangeError::Unbuildable => "unbuildable",
        }
    }

    /// The service's, except for a request that cannot even be built.
    pub const fn fault(&self) -> Fault {
        match self {
            ExchangeError::Unbuildable => Fault::Ours,
            _ => Fault::Service { retry_after: None },
        }
    }
}

impl Dialer {
    /// The same, telling of the times in the answers.
    pub fn telling(self, on_date: OnDate) -> Dialer {
        let on_date = Some(on_date);
        Dialer { on_date, ..self }
    }

    /// For targets that people configure: connections of its own, and only to addresses that are out in the world,
    /// by TLS and through no proxy. Anything else ends as [`ExchangeError::Unreachable`] before anybody hears of it.
    pub fn abroad(&self) -> Dialer {
        let clients = Clients {
            user_agent: self.clients.user_agent.clone(),
            abroad: true,
            built: Default::default(),
        };
        Dialer {
            clients: Arc::new(clients),
            ..self.clone()
        }
    }

    /// The same connections, for talking to this service.
    pub fn to(&self, service: &'static str) -> Dialer {
        Dialer {
            service,
            ..self.clone()
        }
    }

    /// The same connections, for a run that reads one large answer after another: the buffers are kept as long as
    /// this dialer and its clones.
    pub fn keeping_buffers(&self) -> Dialer {
        Dialer {
            buffers: Some(Buffers::default()),
            ..self.clone()
        }
    }

    /// Sends one request and reads the whole answer.
    pub async fn exchange(
        &self,
        request: Request,
        on_request: &OnRequest,
    ) -> Result<Reply, ExchangeError> {
        let name = request.name;
        let result = self.attempt(request).await;
        match &result {
            Ok(reply) => on_request(name, reply.status, reply.body.len()),
            Err(_) => on_request(name, 0, 0),
        }
        result
    }

    async fn attempt(&self, request: Request) -> Result<Reply, ExchangeError> {
        let (timeout, max_bytes) = (request.timeout, request.max_bytes);
        if self.clients.abroad && !abroad::may_be_called(&request.url) {
            return Err(ExchangeError::Unreachable("it is not out in the world"));
        }
        let mut builder = self
            .client(Route::to(&request.url))?
            .request(request.method, request.url)
            .headers(request.headers)
            .timeout(timeout);
        if let Some(body) = request.body {
            builder = builder.body(body);
        }
        let named = |error: reqwest::Error| name_error(&error, timeout);
        let asked = Instant::now();
        let response = builder.send().await.map_err(named)?;
        // What came out of a cache has the time at which it went in.
        let fresh = !response.headers().contains_key(AGE);
        let date = retry_after::seconds(response.headers(), DATE).filter(|_| fresh);
        if let (Some(tell), Some(date_s)) = (&self.on_date, date) {
            tell(self.service, date_s, asked.elapsed());
        }
        let status = response.status().as_u16();
        let retry_after = retry_after::read(response.headers());
        let body = read_body(response, self.buffers.as_ref(), max_bytes, timeout).await?;
        Ok(Reply {
            status,
            retry_after,
            body,
        })
    }

    fn client(&self, route: Route) -> Result<&Client, ExchangeError> {
        let slot = &self.clients.built[route.index()];
        if let Some(client) = slot.get() {
            return Ok(client);
        }
        let client = route
            .build(&self.clients)
            .map_err(|_| ExchangeError::Unbuildable)?;
        // Of two callers that build at once, the first one's client is kept.
        Ok(slot.get_or_init(|| client))
    }
}

async fn read_body(
    mut response: Response,
    buffers: Option<&Buffers>,
    max_bytes: usize,
    timeout: Duration,
) -> Result<Bytes, ExchangeError> {
    /// Answers that announce less are no pages, and are not worth a buffer that is kept.
    const SMALL: u64 = 64 << 10;
    let announced = response.content_length();
    if announced.is_some_and(|bytes| bytes > max_bytes as u64) {
        return Err(ExchangeError::TooLarge(max_bytes));
    }
    let large = announced.is_none_or(|bytes| bytes >= SMALL);
    let mut body = match buffers.filter(|_| large) {
        Some(buffers) => buffers.take(),
        None => Buffer::once(announced),
    };
    while let Some(chunk) = response
        .chunk()
        .await
        .map_err(|error| name_error(&error, timeout))?
    {
        if body.len() + chunk.len() > max_bytes {
            return Err(ExchangeError::TooLarge(max_bytes));
        }
        body.extend(&chunk);
    }
    Ok(body.freeze())
}

fn name_error(error: &reqwest::Error, timeout: Duration) -> ExchangeError {
    if error.is_timeout() && !error.is_connect() {
        ExchangeError::TimedOut(timeout)
    } else if error.is_connect() {
        ExchangeError::Unreachable(if error.is_timeout() {
            "no answer to the connection attempt"
        } else {
            "name, network, port or certificate"
        })
    } else if error.is_builder() {
        ExchangeError::Unbuildable
    } else {
        ExchangeError::Interrupted
    }
}

/// True if this URL leads to this machine, which no proxy does.
pub(crate) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// A header value that holds a secret: never shown by Debug.
pub(crate) fn secret_header(text: &str) -> Result<HeaderValue, ExchangeError> {
    let mut value = HeaderValue::from_str(text).map_err(|_| ExchangeError::Unbuildable)?;
    value.set_sensitive(true);
    Ok(value)
}

/// A service's error code as metrics and logs may carry it: short and without surprises, since it may
/// come from whoever answered.
pub(crate) fn clean_code(code: &str) -> String {
    const MAX_CHARS: usize = 64;
    let fine = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    let clean: String = code.chars().filter(fine).take(MAX_CHARS).collect();
    if clean.is_empty() {
        "unnamed".into()
    } else {
        clean
    }
}

/// `base` with further path segments, whether or not it ends in a slash.
pub(crate) fn below(base: &Url, segments: &[&str]) -> Result<Url, ExchangeError> {
    let mut url = base.clone();
    url.path_segments_mut()
        .map_err(|()| ExchangeError::Unbuildable)?
        .pop_if_empty()
        .extend(segments);
    Ok(url)
}

#[cfg(test)]
pub(crate) mod scripted;
#[cfg(test)]
mod tests;

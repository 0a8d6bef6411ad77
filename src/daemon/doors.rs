//! Every port and socket, bound before anything runs, with its bounds and its rules.
//!
//! Knows addresses and files, not what answers there. Promises: either all doors are open or none is,
//! and what could not be bound is named; connections never take the descriptors that the disk needs.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    sync::Arc,
};

use rustix::process::{Resource, getrlimit};

use super::StartError;
use crate::{
    admin::{self, Caller, Readers, Scope, Tokens},
    apply::Shared,
    config::{self, Config, Reading, Tls},
    inbound::{Bounds, Fault, Listener, OnFault, TlsFiles},
    intake::Rules,
};

/// File descriptors that connections to the public listener leave to the journal, the state, calls to both services
/// and the operators' door.
pub const OTHER_FILES: usize = 512;

/// What is bound, with the addresses that were given out.
pub struct Doors {
    pub listener: Listener,
    pub public: SocketAddr,
    pub socket: Listener,
    pub tcp: Option<Listener>,
}

impl Doors {
    /// Binds the public listener, unless it was handed over, the operators' socket and, if there is one, their
    /// TCP address.
    pub async fn open(config: &Config, handed: Option<TcpListener>) -> Result<Doors, StartError> {
        let listener = listen(config, handed).await?;
        let public = listener
            .address()
            .map_err(|source| cannot_listen(&config.listen.address, source))?;
        let socket = admin::bind_socket(&config.admin.socket, &readers(&config.admin))
            .await
            .map_err(|source| cannot_listen(&config.admin.socket.display(), source))?;
        let tcp = match config.admin.address {
            Some(address) => Some(
                Listener::bind(address, None)
                    .await
                    .map_err(|source| cannot_listen(&address, source))?,
            ),
            None => None,
        };
        Ok(Doors {
            listener,
            public,
            socket,
            tcp,
        })
    }

    /// The operators' TCP address, if there is one.
    pub fn admin_addr(&self) -> Option<SocketAddr> {
        self.tcp.as_ref().and_then(|tcp| tcp.address().ok())
    }
}

/// Who may look over the socket.
pub fn readers(section: &config::Admin) -> Readers {
    let mut readers = Readers::default();
    for reader in &section.readers {
        match reader {
            Reading::User(id) => readers.uids.push(*id),
            Reading::Group(id) => readers.gids.push(*id),
        }
    }
    readers
}

/// Which token opens what.
pub fn tokens(section: &config::Admin) -> Tokens {
    let mut tokens = Tokens::default();
    for (name, token, scope) in [
        ("admin.token", &section.token, Scope::Approve),
        (
            "admin.operate_token",
            &section.operate_token,
            Scope::Operate,
        ),
        ("admin.read_token", &section.read_token, Scope::Read),
    ] {
        if let Some(token) = token {
            tokens.add(token, Caller::new(name, scope));
        }
    }
    tokens
}

/// Deadlines and caps of the public listener, within what this process may open.
pub fn bounds(section: &config::Listen) -> Bounds {
    let files = getrlimit(Resource::Nofile).current;
    let places = places(section.max_connections, files);
    if places < section.max_connections {
        tracing::warn!(
            places,
            "this process may open too few files for listen.max_connections; raise its limit (LimitNOFILE)"
        );
    }
    Bounds {
        header_timeout: section.header_timeout,
        idle_timeout: section.idle_timeout,
        max_connections: places,
    }
}

/// How many connections there may be if the process may open so many files; `None`: any number.
fn places(wanted: usize, files: Option<u64>) -> usize {
    let Some(files) = files else { return wanted };
    let files = usize::try_from(files).unwrap_or(usize::MAX);
    // With very few, each half gets its half.
    let room = files.saturating_sub(OTHER_FILES).max(files / 2).max(1);
    wanted.min(room)
}

/// Who may come to the public listener.
pub fn rules(section: &config::Listen) -> Rules {
    Rules {
        allow: section.allow.clone(),
        trusted_proxies: section.trusted_proxies.clone(),
        max_connections: section.max_connections_per_peer,
        rate_per_second: section.rate_per_peer,
    }
}

/// Counts what goes wrong with a listener, and tells of it.
pub fn on_fault(shared: &Arc<Shared>, listener: &'static str) -> OnFault {
    let shared = Arc::clone(shared);
    Arc::new(move |fault| {
        let now_ms = shared.clock.now_ms();
        match fault {
            Fault::Panicked => {
                shared.metrics.panicked(listener);
                let message = format!(
                    "a request to the {listener} listener made the daemon fail and was answered 500; the log has \
                     the place in the code: please report it"
                );
                shared.alerts.raise("handler_panicked", message, now_ms);
            }
            Fault::OutOfFiles(error) => {
                let message = format!(
                    "connections to the {listener} listener cannot be accepted ({error}): allow the process \
                     to open more files (LimitNOFILE)"
                );
                shared.alerts.raise("out_of_files", message, now_ms);
            }
            Fault::HasFiles => shared.alerts.clear("out_of_files"),
        }
    })
}

async fn listen(config: &Config, handed: Option<TcpListener>) -> Result<Listener, StartError> {
    let tls = match &config.listen.tls {
        Tls::Own { cert, key } => Some(TlsFiles {
            cert: cert.clone(),
            key: key.clone(),
        }),
        Tls::Off | Tls::BehindProxy => None,
    };
    if let Some(socket) = handed {
        return take(socket, &config.listen, tls.as_ref());
    }
    Listener::bind(config.listen.address, tls.as_ref())
        .await
        .map_err(|source| cannot_listen(&config.listen.address, source))
}

/// The rule for `listen.address` holds for what is handed over as well.
fn take(
    socket: TcpListener,
    section: &config::Listen,
    tls: Option<&TlsFiles>,
) -> Result<Listener, StartError> {
    let address = socket.local_addr().map_err(StartError::Handed)?;
    if !address.ip().is_loopback() && section.tls == Tls::Off {
        let open = format!(
            "{address} is reachable from other machines without encryption; set listen.tls_cert and \
             listen.tls_key, or listen.behind_proxy = true, or let the socket unit listen on 127.0.0.1"
        );
        return Err(StartError::Handed(io::Error::other(open)));
    }
    Listener::of(socket, tls).map_err(|source| cannot_listen(&address, source))
}

fn cannot_listen(on: &dyn std::fmt::Display, source: io::Error) -> StartError {
    StartError::Listen {
        on: on.to_string(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_descriptors_to_the_disk() {
        for (wanted, files, places_there) in [
            (8192, None, 8192),
            (8192, Some(16_384), 8192),
            (8192, Some(8192), 7680),
            (8192, Some(1024), 512),
            (8192, Some(256), 128),
            (100, Some(1024), 100),
            (8192, Some(1), 1),
        ] {
            assert_eq!(places(wanted, files), places_there, "{wanted} {files:?}");
        }
    }
}

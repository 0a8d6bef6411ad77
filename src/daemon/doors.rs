//! Every port and socket, bound before anything runs.
//!
//! Knows addresses and files, not what answers there. Promises: either all doors are open or none is,
//! and what could not be bound is named.

use std::{io, net::SocketAddr};

use tokio::net::{TcpListener, UnixListener};

use super::StartError;
use crate::{
    admin::{self, Caller, Readers, Scope, Tokens},
    config::{self, Config, Reading, Tls},
    intake::{Listener, TlsFiles},
};

/// What is bound, with the addresses that were given out.
pub struct Doors {
    pub listener: Listener,
    pub public: SocketAddr,
    pub socket: UnixListener,
    pub tcp: Option<TcpListener>,
}

impl Doors {
    /// Binds the public listener, the operators' socket and, if there is one, their TCP address.
    pub async fn open(config: &Config) -> Result<Doors, StartError> {
        let listener = listen(config).await?;
        let public = listener
            .address()
            .map_err(|source| cannot_listen(&config.listen.address, source))?;
        let socket = admin::bind_socket(&config.admin.socket, &readers(&config.admin))
            .await
            .map_err(|source| cannot_listen(&config.admin.socket.display(), source))?;
        let tcp = match config.admin.address {
            Some(address) => Some(
                TcpListener::bind(address)
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
        self.tcp.as_ref().and_then(|tcp| tcp.local_addr().ok())
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

async fn listen(config: &Config) -> Result<Listener, StartError> {
    let tls = match &config.listen.tls {
        Tls::Own { cert, key } => Some(TlsFiles {
            cert: cert.clone(),
            key: key.clone(),
        }),
        Tls::Off | Tls::BehindProxy => None,
    };
    Listener::bind(config.listen.address, tls.as_ref())
        .await
        .map_err(|source| cannot_listen(&config.listen.address, source))
}

fn cannot_listen(on: &dyn std::fmt::Display, source: io::Error) -> StartError {
    StartError::Listen {
        on: on.to_string(),
        source,
    }
}

//! The `[admin]` section: how operators reach the daemon.
//!
//! The socket's own permissions guard it; the TCP listener asks for a token.

use std::{net::SocketAddr, path::PathBuf};

use super::{Secret, reader::Reader};

/// The longest path of a Unix socket on Linux, in bytes (`sun_path` less its final zero).
const LONGEST_SOCKET_PATH: usize = 107;

/// The shortest token that cannot be guessed in practice.
const SHORTEST_TOKEN: usize = 16;

/// The operators' listener.
#[derive(Clone, Debug, PartialEq)]
pub struct Admin {
    /// The Unix socket; by default `admin.sock` in the state directory.
    pub socket: PathBuf,
    /// A TCP listener, if one is wanted.
    pub address: Option<SocketAddr>,
    /// The bearer token of the TCP listener; there is one whenever `address` is.
    pub token: Option<Secret>,
}

impl Admin {
    pub(super) fn read(r: &mut Reader) -> Option<Self> {
        let socket = r.optional_path("admin.socket");
        let state_dir = r.optional_path("state.dir");
        let address = r.optional_address("admin.address");
        let token = r.optional_secret("admin.token");
        let socket = match socket? {
            Some(socket) => socket,
            None => state_dir??.join("admin.sock"),
        };
        if socket.as_os_str().len() > LONGEST_SOCKET_PATH {
            r.mistake(
                "admin.socket",
                format!(
                    "is longer than the {LONGEST_SOCKET_PATH} bytes that a socket's path may have"
                ),
                "set admin.socket to a short path, such as one below /run",
            );
            return None;
        }
        let (address, token) = (address?, token?);
        if address.is_some() && token.is_none() {
            r.mistake(
                "admin.address",
                "is set, but admin.token is not",
                "set admin.token, or leave the address out and use the socket",
            );
            return None;
        }
        if let Some(token) = &token
            && token.expose().len() < SHORTEST_TOKEN
        {
            r.mistake(
                "admin.token",
                format!("has fewer than {SHORTEST_TOKEN} characters"),
                "make one with `openssl rand -hex 32`",
            );
            return None;
        }
        if address.is_some_and(|address| !address.ip().is_loopback()) {
            r.warn(
                "`admin.address` is not loopback, and the admin listener does not encrypt: \
                    whoever can listen on the way learns the token",
            );
        }
        Some(Admin {
            socket,
            address,
            token,
        })
    }
}

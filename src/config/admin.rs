//! The `[admin]` section: how operators reach the daemon.
//!
//! The socket is guarded by who connects; the TCP listener asks for a token, and there are three, which open
//! more or less.

use std::{net::SocketAddr, path::PathBuf};

use super::{Secret, reader::Reader};

/// The longest path of a Unix socket on Linux, in bytes (`sun_path` less its final zero).
const LONGEST_SOCKET_PATH: usize = 107;

/// The shortest token that cannot be guessed in practice.
const SHORTEST_TOKEN: usize = 16;

/// Users and groups in a list at most.
const MOST_READERS: usize = 64;

/// The operators' listener.
#[derive(Clone, Debug, PartialEq)]
pub struct Admin {
    /// The Unix socket; by default `admin.sock` in the state directory.
    pub socket: PathBuf,
    /// A TCP listener, if one is wanted.
    pub address: Option<SocketAddr>,
    /// The bearer token for everything. There is one of the three whenever `address` is.
    pub token: Option<Secret>,
    /// The bearer token for everything but approving deletions.
    pub operate_token: Option<Secret>,
    /// The bearer token for looking.
    pub read_token: Option<Secret>,
    /// Who may look, over the socket.
    pub readers: Vec<Reading>,
}

/// Somebody on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// A user id.
    User(u32),
    /// A group id.
    Group(u32),
}

impl Admin {
    pub(super) fn read(r: &mut Reader) -> Option<Self> {
        let socket = r.optional_path("admin.socket");
        let state_dir = r.optional_path("state.dir");
        let address = r.optional_address("admin.address");
        let token = r.optional_secret("admin.token");
        let operate_token = r.optional_secret("admin.operate_token");
        let read_token = r.optional_secret("admin.read_token");
        let readers = read_readers(r);
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
        let (operate_token, read_token) = (operate_token?, read_token?);
        let tokens = [
            ("admin.token", &token),
            ("admin.operate_token", &operate_token),
            ("admin.read_token", &read_token),
        ];
        if address.is_some() && tokens.iter().all(|(_, token)| token.is_none()) {
            r.mistake(
                "admin.address",
                "is set, but none of admin.token, admin.operate_token and admin.read_token is",
                "set admin.token, or leave the address out and use the socket",
            );
            return None;
        }
        check_tokens(&tokens, r)?;
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
            operate_token,
            read_token,
            readers: readers?,
        })
    }
}

fn check_tokens(tokens: &[(&str, &Option<Secret>)], r: &mut Reader) -> Option<()> {
    for (at, (key, token)) in tokens.iter().enumerate() {
        let Some(token) = token else { continue };
        if token.expose().len() < SHORTEST_TOKEN {
            let problem = format!("has fewer than {SHORTEST_TOKEN} characters");
            r.mistake(key, problem, "make one with `openssl rand -hex 32`");
            return None;
        }
        let earlier = tokens[..at].iter();
        if let Some((other, _)) = earlier
            .clone()
            .find(|(_, other)| other.as_ref() == Some(token))
        {
            let problem = format!("is the same as {other}, which opens more");
            r.mistake(key, problem, "make another with `openssl rand -hex 32`");
            return None;
        }
    }
    Some(())
}

fn read_readers(r: &mut Reader) -> Option<Vec<Reading>> {
    let texts = r.texts("admin.readers", MOST_READERS)?;
    let one = |text: &String| match text.split_once(':')? {
        ("uid", id) => Some(Reading::User(id.parse().ok()?)),
        ("gid", id) => Some(Reading::Group(id.parse().ok()?)),
        _ => None,
    };
    let readers: Vec<Option<Reading>> = texts.iter().map(one).collect();
    if let Some(at) = readers.iter().position(Option::is_none) {
        let problem = format!("entry {} of {} is nobody", at + 1, texts.len());
        let remedy = "write uid:1000 or gid:1000; names are not looked up";
        r.mistake("admin.readers", problem, remedy);
        return None;
    }
    Some(readers.into_iter().flatten().collect())
}

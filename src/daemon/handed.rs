//! A listening socket that the service manager holds and hands over: socket activation, as of sd_listen_fds(3).
//!
//! Connections that come while no daemon runs wait in that socket, so a restart refuses nobody. Knows the protocol
//! and what a usable socket is; who may be reached by it is looked at in `doors`. Promises that what was meant
//! for another process is left alone.

use std::{io, net::TcpListener};

use listenfd::ListenFd;
use rustix::net::sockopt::socket_acceptconn;

use crate::config::Env;

/// The socket for the public listener, if this process was handed one.
///
/// Takes `LISTEN_FDS` and `LISTEN_PID` out of the environment of the process: to be called before there are threads.
///
/// # Errors
/// What was handed over is no listening TCP socket, or there is more than one.
pub fn handed_over(env: &Env) -> io::Result<Option<TcpListener>> {
    // Without a number, or with that of another process, they were left behind by somebody else.
    if env.variable("LISTEN_PID") != Some(std::process::id().to_string().as_str()) {
        return Ok(None);
    }
    let mut handed = ListenFd::from_env();
    if handed.len() > 1 {
        let several = format!(
            "the service manager hands over {} sockets, and there is one public listener",
            handed.len()
        );
        return Err(io::Error::new(io::ErrorKind::InvalidInput, several));
    }
    let Some(socket) = handed.take_tcp_listener(0)? else {
        return Ok(None);
    };
    if !socket_acceptconn(&socket)? {
        let silent = "it does not listen; the socket unit needs Accept=no";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, silent));
    }
    socket.set_nonblocking(true)?;
    Ok(Some(socket))
}

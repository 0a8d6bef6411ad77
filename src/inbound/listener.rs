//! What is bound: a TCP address, with or without a certificate, or a Unix socket.

use std::{
    io,
    net::{self, SocketAddr},
    os::unix,
};

use tokio::{
    net::{TcpListener, UnixListener},
    runtime::Handle,
};

use super::{Certificate, Peer, TlsFiles};

/// What is bound, not yet served.
pub struct Listener {
    bound: Bound,
    tls: Option<Certificate>,
}

enum Bound {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// An accepted connection, of no runtime yet.
pub(super) enum Socket {
    Tcp(net::TcpStream),
    Unix(unix::net::UnixStream),
}

impl Listener {
    /// Binds; reads the certificate first, so that a wrong one stops the start.
    pub async fn bind(address: SocketAddr, tls: Option<&TlsFiles>) -> io::Result<Self> {
        let tls = tls.map(Certificate::load).transpose()?;
        let tcp = TcpListener::bind(address).await?;
        Ok(Listener {
            bound: Bound::Tcp(tcp),
            tls,
        })
    }

    /// A TCP socket that listens already and does not block.
    pub fn of(socket: net::TcpListener, tls: Option<&TlsFiles>) -> io::Result<Self> {
        let tls = tls.map(Certificate::load).transpose()?;
        let tcp = TcpListener::from_std(socket)?;
        Ok(Listener {
            bound: Bound::Tcp(tcp),
            tls,
        })
    }

    /// A Unix socket that is bound already.
    pub fn unix(socket: UnixListener) -> Self {
        Listener {
            bound: Bound::Unix(socket),
            tls: None,
        }
    }

    /// Has this runtime wait for who comes, instead of the one on which it was bound.
    ///
    /// # Errors
    /// The system lacks the memory.
    pub fn moved_to(self, runtime: &Handle) -> io::Result<Self> {
        let _entered = runtime.enter();
        let bound = match self.bound {
            Bound::Tcp(tcp) => Bound::Tcp(TcpListener::from_std(tcp.into_std()?)?),
            Bound::Unix(unix) => Bound::Unix(UnixListener::from_std(unix.into_std()?)?),
        };
        Ok(Listener { bound, ..self })
    }

    /// The address that was bound, with its port.
    ///
    /// # Errors
    /// A Unix socket has none.
    pub fn address(&self) -> io::Result<SocketAddr> {
        match &self.bound {
            Bound::Tcp(tcp) => tcp.local_addr(),
            Bound::Unix(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// The certificate, if the daemon ends TLS.
    pub fn certificate(&self) -> Option<&Certificate> {
        self.tls.as_ref()
    }

    /// The next who comes.
    pub(super) async fn accept(&self) -> io::Result<(Socket, Peer)> {
        match &self.bound {
            Bound::Tcp(tcp) => {
                let (socket, address) = tcp.accept().await?;
                let peer = Peer::Address(address.ip().to_canonical());
                Ok((Socket::Tcp(socket.into_std()?), peer))
            }
            Bound::Unix(unix) => {
                let (socket, _) = unix.accept().await?;
                let peer = Peer::Process(socket.peer_cred().ok());
                Ok((Socket::Unix(socket.into_std()?), peer))
            }
        }
    }
}

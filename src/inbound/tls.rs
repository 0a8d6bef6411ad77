//! The certificate of the public listener, which can be read again while it is served.
//!
//! A certificate is renewed every few weeks and nobody wants a restart for it. Files that hold nonsense,
//! or a key that is not the certificate's, change nothing: connections go on with what was read last.

use std::{io, path::PathBuf, sync::Arc};

use arc_swap::ArcSwap;
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use tokio_rustls::TlsAcceptor;

/// Where the certificate and its key lie.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// PEM, leaf first.
    pub cert: PathBuf,
    /// PEM.
    pub key: PathBuf,
}

/// The certificate in use. Clones share it.
#[derive(Clone)]
pub struct Certificate {
    files: TlsFiles,
    current: Arc<ArcSwap<ServerConfig>>,
}

/// A certificate that was read and found sound, not yet in use.
pub struct Renewed {
    current: Arc<ArcSwap<ServerConfig>>,
    config: Arc<ServerConfig>,
}

impl Certificate {
    /// Reads both files.
    ///
    /// # Errors
    /// A file that cannot be read or holds no PEM, or a key that does not belong to the certificate.
    pub fn load(files: &TlsFiles) -> io::Result<Certificate> {
        let config = read(files)?;
        Ok(Certificate {
            files: files.clone(),
            current: Arc::new(ArcSwap::new(config)),
        })
    }

    /// Reads both files again; nothing changes before `Renewed::put_in_place`.
    ///
    /// # Errors
    /// As for [`Certificate::load`].
    pub fn renew(&self) -> io::Result<Renewed> {
        Ok(Renewed {
            current: Arc::clone(&self.current),
            config: read(&self.files)?,
        })
    }

    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.current.load_full())
    }
}

impl Renewed {
    /// New connections get it; those that are open keep the old one.
    pub fn put_in_place(self) {
        self.current.store(self.config);
    }
}

fn read(files: &TlsFiles) -> io::Result<Arc<ServerConfig>> {
    let bad = |what: &str, path: &PathBuf| {
        let message = format!("{} holds no {what} in PEM form", path.display());
        io::Error::new(io::ErrorKind::InvalidData, message)
    };
    let chain: Result<Vec<_>, _> = CertificateDer::pem_file_iter(&files.cert)
        .map_err(|_| bad("certificate", &files.cert))?
        .collect();
    let chain = chain.map_err(|_| bad("certificate", &files.cert))?;
    let key =
        PrivateKeyDer::from_pem_file(&files.key).map_err(|_| bad("private key", &files.key))?;
    let mut config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

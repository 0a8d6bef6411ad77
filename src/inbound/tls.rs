//! The certificate of the public listener, which can be read again while it is served.
//!
//! A certificate is renewed every few weeks and nobody wants a restart for it. Files that hold nonsense,
//! or a key that is not the certificate's, change nothing: connections go on with what was read last.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

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

/// Why a certificate cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum TlsFault {
    /// Of the file with the chain.
    #[error("{} holds no certificate in PEM form", .0.display())]
    NoCertificate(PathBuf),
    /// Of the file with the key.
    #[error("{} holds no private key in PEM form", .0.display())]
    NoKey(PathBuf),
    /// Each is sound, and they do not go together.
    #[error("the private key is not that of the certificate ({0})")]
    Mismatch(rustls::Error),
}

impl From<TlsFault> for io::Error {
    fn from(fault: TlsFault) -> Self {
        io::Error::new(io::ErrorKind::InvalidData, fault)
    }
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
    pub fn load(files: &TlsFiles) -> Result<Certificate, TlsFault> {
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
    pub fn renew(&self) -> Result<Renewed, TlsFault> {
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

fn read(files: &TlsFiles) -> Result<Arc<ServerConfig>, TlsFault> {
    let chain = chain(&files.cert).ok_or_else(|| TlsFault::NoCertificate(files.cert.clone()))?;
    let key =
        PrivateKeyDer::from_pem_file(&files.key).map_err(|_| TlsFault::NoKey(files.key.clone()))?;
    let mut config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(TlsFault::Mismatch)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// At least one certificate, and nothing that is none.
fn chain(file: &Path) -> Option<Vec<CertificateDer<'static>>> {
    let pem = CertificateDer::pem_file_iter(file).ok()?;
    let chain: Vec<_> = pem.collect::<Result<_, _>>().ok()?;
    (!chain.is_empty()).then_some(chain)
}

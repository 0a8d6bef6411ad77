//! G35: a service that cannot prove who it is hears nothing, least of all a key.
//!
//! Certificates are made here, under an authority that the built binary is told to trust (`SSL_CERT_FILE`), so
//! that each case fails for its own reason. The good case shows that the others could have heard something.

use std::{
    io::Write,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd,
};
use tempfile::NamedTempFile;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::aws_lc_rs::default_provider,
        pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    },
};

use super::{say, seed};
use crate::process::System;

type Authority = CertifiedIssuer<'static, KeyPair>;

/// Who answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Case {
    Good,
    Expired,
    NotYetValid,
    WrongHost,
    SelfSigned,
    OtherAuthority,
    Tls11,
    Tls10,
    NoTls,
}

const CASES: [Case; 9] = [
    Case::Good,
    Case::Expired,
    Case::NotYetValid,
    Case::WrongHost,
    Case::SelfSigned,
    Case::OtherAuthority,
    Case::Tls11,
    Case::Tls10,
    Case::NoTls,
];

/// What a listener has met.
#[derive(Default)]
struct Met {
    connections: AtomicUsize,
    /// Bytes that came through the TLS, or around it.
    bytes: AtomicUsize,
    keys: AtomicUsize,
}

fn authority(name: &str) -> Authority {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("an authority")
}

fn acceptor(case: Case, trusted: &Authority) -> TlsAcceptor {
    let host = match case {
        Case::WrongHost => "somewhere.example",
        _ => "localhost",
    };
    let mut params = CertificateParams::new(vec![host.to_owned()]).expect("a name");
    match case {
        Case::Expired => params.not_after = date_time_ymd(2020, 1, 1),
        Case::NotYetValid => params.not_before = date_time_ymd(2090, 1, 1),
        _ => {}
    }
    let key = KeyPair::generate().expect("a key");
    let certificate = match case {
        Case::SelfSigned => params.self_signed(&key),
        Case::OtherAuthority => params.signed_by(&key, &authority("Somebody Else")),
        _ => params.signed_by(&key, trusted),
    };
    let chain = vec![certificate.expect("a certificate").der().clone()];
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(chain, key);
    TlsAcceptor::from(Arc::new(config.expect("a configuration")))
}

impl Met {
    fn hears(&self, bytes: &[u8]) {
        self.bytes.fetch_add(bytes.len(), Ordering::Relaxed);
        let text = String::from_utf8_lossy(bytes).to_ascii_lowercase();
        let keys = text.matches("authorization:").count();
        self.keys.fetch_add(keys, Ordering::Relaxed);
    }
}

/// Reads one request and refuses it.
async fn listen(stream: &mut (impl AsyncReadExt + AsyncWriteExt + Unpin), met: &Met) {
    let mut bytes = [0; 8192];
    if let Ok(read) = stream.read(&mut bytes).await {
        met.hears(&bytes[..read]);
    }
    let refusal = b"HTTP/1.1 400 X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    let _ = stream.write_all(refusal).await;
    let _ = stream.shutdown().await;
}

/// Offers an old version of TLS, and counts what comes beside an alert.
async fn old_tls(mut stream: TcpStream, minor: u8, met: &Met) {
    let mut hello = [0; 8192];
    let _ = stream.read(&mut hello).await;
    // A ServerHello: version, random, no session, TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA, no compression.
    let body = [&[3, minor][..], &[7; 32], &[0, 0xc0, 0x13, 0]].concat();
    let length = body.len() as u8;
    let head = [22, 3, minor, 0, length + 4, 2, 0, 0, length];
    let _ = stream.write_all(&[&head[..], &body].concat()).await;
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest).await;
    // An alert is a record of type 21 and two bytes.
    if rest.first() != Some(&21) || rest.len() > 7 {
        met.hears(&rest);
    }
}

/// A service of this kind; its address.
async fn serve(case: Case, trusted: &Authority, met: Arc<Met>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let acceptor = acceptor(case, trusted);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (acceptor, met) = (acceptor.clone(), Arc::clone(&met));
            met.connections.fetch_add(1, Ordering::Relaxed);
            tokio::spawn(async move {
                match case {
                    Case::Tls11 => old_tls(stream, 2, &met).await,
                    Case::Tls10 => old_tls(stream, 1, &met).await,
                    Case::NoTls => {
                        let mut hello = vec![0; 8192];
                        let read = stream.read(&mut hello).await.unwrap_or(0);
                        // The beginning of a handshake is all that may come.
                        if hello[0] != 22 {
                            met.hears(&hello[..read]);
                        }
                        listen(&mut stream, &met).await;
                    }
                    _ => {
                        if let Ok(mut stream) = acceptor.accept(stream).await {
                            listen(&mut stream, &met).await;
                        }
                    }
                }
            });
        }
    });
    format!("https://localhost:{port}")
}

/// Asks a service of this kind by this command, as both services or as the one that this variable names.
async fn ask(
    case: Case,
    command: &'static [&'static str],
    variables: &'static [&'static str],
    (trusted, roots): (Arc<Authority>, String),
    twin: &str,
) -> (Case, usize, Arc<Met>) {
    let met = Arc::<Met>::default();
    let url = serve(case, &trusted, Arc::clone(&met)).await;
    let mut system = System::prepared(&[]).await;
    system.set("SSL_CERT_FILE", &roots);
    system.set("CCS_TWIN", twin);
    for variable in variables {
        system.set(variable, &url);
    }
    let output = system.run(command).await;
    let said = format!("{case:?} {variables:?}: {output:?}");
    assert_ne!(output.status.code(), Some(0), "{said}");
    assert!(!said.contains("panicked"), "{said}");
    (case, variables.len(), met)
}

/// The keys that were sent to who has no certificate that holds.
#[cfg(feature = "twins")]
pub async fn heard_from_behind_a_bad_certificate(twin: &str) -> usize {
    let trusted = Arc::new(authority("The Test's Authority"));
    let mut roots = NamedTempFile::new().expect("a file");
    roots.write_all(trusted.pem().as_bytes()).expect("written");
    let known = (trusted, roots.path().display().to_string());
    let (_, _, met) = ask(
        Case::SelfSigned,
        &["audit"],
        &["CLERK_API_URL"],
        known,
        twin,
    )
    .await;
    met.keys.load(Ordering::Relaxed)
}

#[tokio::test(flavor = "multi_thread")]
async fn g35_who_cannot_prove_to_be_the_service_hears_nothing() {
    let seed = seed();
    let trusted = Arc::new(authority("The Test's Authority"));
    let mut roots = NamedTempFile::new().expect("a file");
    roots.write_all(trusted.pem().as_bytes()).expect("written");
    let path = roots.path().display().to_string();
    let mut asked = JoinSet::new();
    let known = || (Arc::clone(&trusted), path.clone());
    for case in CASES {
        // Two clients that have nothing in common: the one that checks, and the one that works.
        asked.spawn(ask(
            case,
            &["check", "--online"],
            &["CLERK_API_URL", "CONVEX_URL"],
            known(),
            "",
        ));
        if [Case::Good, Case::Expired, Case::WrongHost, Case::Tls11].contains(&case) {
            asked.spawn(ask(case, &["audit"], &["CLERK_API_URL"], known(), ""));
            asked.spawn(ask(case, &["audit"], &["CONVEX_URL"], known(), ""));
        }
    }
    let mut refused = 0;
    for (case, services, met) in asked.join_all().await {
        let connections = met.connections.load(Ordering::Relaxed);
        let (bytes, keys) = (
            met.bytes.load(Ordering::Relaxed),
            met.keys.load(Ordering::Relaxed),
        );
        assert!(
            connections >= services,
            "{case:?}: only {connections} attempts"
        );
        if case == Case::Good {
            assert!(keys >= services, "{keys}: the good one hears each");
        } else {
            assert_eq!((bytes, keys), (0, 0), "{case:?}");
            refused += connections;
        }
    }
    say(
        "G35",
        seed,
        format!("{refused} connections refused, 0 bytes of any request on the wire"),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn g35_without_tls_only_this_machine_is_asked() {
    for (variable, key) in [
        ("CLERK_API_URL", "clerk.api_url"),
        ("CONVEX_URL", "convex.url"),
    ] {
        for url in [
            "http://api.example.com",
            "http://192.0.2.1",
            "http://localhost.example.com",
        ] {
            let system = System::prepared(&[(variable, url)]).await;
            let output = system.run(&["run"]).await;
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{url}: {said}");
            assert!(said.contains(key) && said.contains("https"), "{said}");
        }
    }
}

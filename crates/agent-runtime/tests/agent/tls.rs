//! The storage mounts behind mutual TLS.

use std::path::Path;
use std::sync::Arc;

use agent_runtime::envd::{Options, routers, tls};
use contract::names::RUNTIME_SERVER_NAME;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;

use crate::support::soon;

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut params = CertificateParams::new(vec![]).expect("valid");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("signed")
}

/// A certificate for `name` and its key, as PEM.
fn issue(authority: &Authority, name: &str) -> (String, String) {
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec![name.to_owned()]).expect("valid");
    (params.signed_by(&key, authority).expect("signed").pem(), key.serialize_pem())
}

fn directory(authority: &Authority) -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    let (certificate, key) = issue(authority, RUNTIME_SERVER_NAME);
    for (name, text) in [("ca.crt", authority.pem()), ("tls.crt", certificate), ("tls.key", key)] {
        std::fs::write(directory.path().join(name), text).expect("written");
    }
    directory
}

fn client(authority: &Authority, identity: Option<&Authority>) -> TlsConnector {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(authority.der().clone()).expect("a root");
    let builder =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("known");
    let builder = builder.with_root_certificates(roots);
    let config = match identity {
        None => builder.with_no_client_auth(),
        Some(issuer) => {
            let (certificate, key) = issue(issuer, "manager");
            let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).expect("pem");
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("pem");
            builder.with_client_auth_cert(vec![certificate], key).expect("usable")
        }
    };
    TlsConnector::from(Arc::new(config))
}

/// Starts the server and asks it for `path`: the answer's status line, or nothing when the connection was refused.
async fn ask(authority: &Authority, client: &TlsConnector, path: &str) -> Option<String> {
    let place = directory(authority);
    let acceptor = tls::acceptor(place.path()).expect("usable");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let server = tokio::spawn(tls::serve(listener, acceptor, routers(Options::default()).1));
    let exchange = async {
        let stream = TcpStream::connect(address).await.ok()?;
        let name = ServerName::try_from(RUNTIME_SERVER_NAME).expect("a name");
        let mut stream = client.connect(name, stream).await.ok()?;
        let head = format!("POST {path} HTTP/1.1\r\nHost: {RUNTIME_SERVER_NAME}\r\n");
        let rest = "Content-Type: application/json\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}";
        stream.write_all(format!("{head}{rest}").as_bytes()).await.ok()?;
        let mut answer = Vec::new();
        // The server closes without a farewell when it refuses the client.
        let _ = stream.read_to_end(&mut answer).await;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        answer.lines().next().map(ToOwned::to_owned)
    };
    let answer = soon("the answer", exchange).await;
    server.abort();
    answer
}

#[tokio::test]
async fn a_client_of_the_same_authority_is_served() {
    let authority = authority();
    let client = client(&authority, Some(&authority));
    let answer = ask(&authority, &client, "/v1/storage/mounts").await;
    assert_eq!(answer.as_deref(), Some("HTTP/1.1 400 Bad Request"));
    let elsewhere = ask(&authority, &client, "/process.Process/List").await;
    assert_eq!(elsewhere.as_deref(), Some("HTTP/1.1 501 Not Implemented"), "only storage");
}

#[tokio::test]
async fn strangers_are_refused() {
    let (right, other) = (authority(), authority());
    for identity in [None, Some(&other)] {
        let stranger = client(&right, identity);
        assert_eq!(ask(&right, &stranger, "/v1/storage/mounts").await, None);
    }
}

#[test]
fn a_missing_file_is_named() {
    let problem = tls::acceptor(Path::new("/no/such/directory")).err().expect("refused");
    assert_eq!(problem.to_string(), "cannot read /no/such/directory/ca.crt");
}

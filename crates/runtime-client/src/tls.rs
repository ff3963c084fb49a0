//! Connections to runtimes that serve TLS: dialled by pod address, checked against one fixed server name, with our own
//! certificate (`storage.md` §3.4).

use std::fmt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use contract::names::RUNTIME_SERVER_NAME;
use futures::future::BoxFuture;
use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// PEM texts for mutual TLS with agent-runtime.
#[derive(Clone)]
pub struct RuntimeCertificates {
    /// Certificates of the authority that signs runtimes (`ca.crt`).
    pub authority: String,
    /// Our certificate chain (`client.crt`).
    pub certificate: String,
    /// Its private key (`client.key`).
    pub key: String,
}

impl RuntimeCertificates {
    /// Reads `ca.crt`, `client.crt` and `client.key` of `folder`.
    ///
    /// # Errors
    /// The file that can't be read.
    pub fn read(folder: &Path) -> Result<Self, RuntimeSetupError> {
        let read = |name: &str| {
            let path = folder.join(name);
            std::fs::read_to_string(&path).map_err(|source| RuntimeSetupError::Read { path, source })
        };
        Ok(Self { authority: read("ca.crt")?, certificate: read("client.crt")?, key: read("client.key")? })
    }
}

impl fmt::Debug for RuntimeCertificates {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("RuntimeCertificates([redacted])")
    }
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Certificates that can't be used. The texts of keys are not in it.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeSetupError {
    /// A file can't be read.
    #[error("cannot read {path}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// One of the PEM texts holds nothing of its kind.
    #[error("{file} holds no usable PEM block")]
    Pem {
        /// Which of the three files.
        file: &'static str,
    },
    /// Certificate and key don't fit, or the authority's certificate is no authority.
    #[error("the certificates do not fit together")]
    Tls(#[from] rustls::Error),
}

/// Makes TLS connections; the address comes from the URI, the name to check is fixed.
#[derive(Clone)]
pub(crate) struct TlsConnector {
    tcp: HttpConnector,
    tls: tokio_rustls::TlsConnector,
}

impl fmt::Debug for TlsConnector {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("TlsConnector")
    }
}

impl TlsConnector {
    pub(crate) fn new(
        mut tcp: HttpConnector,
        certificates: &RuntimeCertificates,
    ) -> Result<Self, RuntimeSetupError> {
        tcp.enforce_http(false);
        let mut roots = RootCertStore::empty();
        for certificate in chain(&certificates.authority, "ca.crt")? {
            roots.add(certificate)?;
        }
        let chain = chain(&certificates.certificate, "client.crt")?;
        let key = PrivateKeyDer::from_pem_slice(certificates.key.as_bytes())
            .map_err(|_| RuntimeSetupError::Pem { file: "client.key" })?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)?;
        Ok(Self { tcp, tls: tokio_rustls::TlsConnector::from(Arc::new(config)) })
    }
}

fn chain(pem: &str, file: &'static str) -> Result<Vec<CertificateDer<'static>>, RuntimeSetupError> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    certificates.ok().filter(|chain| !chain.is_empty()).ok_or(RuntimeSetupError::Pem { file })
}

impl tower::Service<Uri> for TlsConnector {
    type Response = RuntimeStream;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<RuntimeStream, BoxError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        tower::Service::poll_ready(&mut self.tcp, context).map_err(Into::into)
    }

    fn call(&mut self, address: Uri) -> Self::Future {
        let connecting = tower::Service::call(&mut self.tcp, address);
        let tls = self.tls.clone();
        Box::pin(async move {
            let tcp = connecting.await?.into_inner();
            let name = ServerName::try_from(RUNTIME_SERVER_NAME)?;
            Ok(RuntimeStream(TokioIo::new(tls.connect(name, tcp).await?)))
        })
    }
}

/// One TLS connection to a runtime.
#[derive(Debug)]
pub(crate) struct RuntimeStream(TokioIo<TlsStream<TcpStream>>);

impl Connection for RuntimeStream {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Read for RuntimeStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl Write for RuntimeStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::Method;
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
    use rstest::rstest;
    use rustls::ServerConfig;
    use rustls::server::WebPkiClientVerifier;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;
    use crate::{CallError, Endpoint, RuntimeClient};

    const LIMIT: Duration = Duration::from_secs(10);

    fn authority() -> CertifiedIssuer<'static, KeyPair> {
        let mut parameters = CertificateParams::new(Vec::new()).expect("parameters");
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        CertifiedIssuer::self_signed(parameters, KeyPair::generate().expect("a key")).expect("an authority")
    }

    /// Certificate and key, PEM, for one name.
    fn signed(authority: &CertifiedIssuer<'static, KeyPair>, name: &str) -> (String, String) {
        let key = KeyPair::generate().expect("a key");
        let parameters = CertificateParams::new(vec![name.to_owned()]).expect("parameters");
        let certificate = parameters.signed_by(&key, authority).expect("signed");
        (certificate.pem(), key.serialize_pem())
    }

    /// A runtime under `name` that wants a certificate of `authority`; it answers one request and gives it back.
    async fn runtime(
        authority: &CertifiedIssuer<'static, KeyPair>,
        name: &str,
    ) -> (u16, tokio::task::JoinHandle<Option<String>>) {
        let (certificate, key) = signed(authority, name);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(authority.der().clone()).expect("an authority");
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_client_cert_verifier(verifier.build().expect("a verifier"))
            .with_single_cert(
                chain(&certificate, "server").expect("a certificate"),
                PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("a key"),
            )
            .expect("a server");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let serving = tokio::spawn(async move {
            let (tcp, _) = listener.accept().await.ok()?;
            let mut tls = tokio_rustls::TlsAcceptor::from(Arc::new(config)).accept(tcp).await.ok()?;
            let mut request = Vec::new();
            while !request.ends_with(b"{}") {
                request.push(tls.read_u8().await.ok()?);
            }
            tls.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.ok()?;
            String::from_utf8(request).ok()
        });
        (port, serving)
    }

    async fn call(client: &RuntimeClient, port: u16) -> Result<http::StatusCode, CallError> {
        let endpoint = Endpoint { base: format!("https://127.0.0.1:{port}"), tls: true };
        let call = client.call(Method::POST, &endpoint, "/init", Some("token-1"), b"{}".to_vec(), LIMIT);
        call.await.map(|answer| answer.status)
    }

    fn client(
        authority: &CertifiedIssuer<'static, KeyPair>,
        signer: &CertifiedIssuer<'static, KeyPair>,
    ) -> RuntimeClient {
        let (certificate, key) = signed(signer, "manager");
        let certificates = RuntimeCertificates { authority: authority.pem(), certificate, key };
        RuntimeClient::new(Some(&certificates)).expect("certificates that fit")
    }

    #[tokio::test]
    async fn both_sides_show_their_certificates_and_the_name_is_fixed() {
        let authority = authority();
        let (port, serving) = runtime(&authority, RUNTIME_SERVER_NAME).await;
        assert_eq!(call(&client(&authority, &authority), port).await.expect("an answer"), 204);
        let request = serving.await.expect("no panic").expect("a request").to_ascii_lowercase();
        assert!(request.contains(&format!("host: {RUNTIME_SERVER_NAME}\r\n")), "{request}");
        assert!(request.contains("x-access-token: token-1\r\n"), "{request}");
    }

    #[tokio::test]
    async fn a_runtime_under_another_name_is_not_talked_to() {
        let authority = authority();
        let (port, serving) = runtime(&authority, "127.0.0.1").await;
        assert!(call(&client(&authority, &authority), port).await.is_err());
        assert_eq!(serving.await.expect("no panic"), None);
    }

    #[tokio::test]
    async fn a_runtime_that_does_not_know_this_manager_gets_nothing_done() {
        let (theirs, ours) = (authority(), authority());
        let (port, serving) = runtime(&theirs, RUNTIME_SERVER_NAME).await;
        assert!(call(&client(&theirs, &ours), port).await.is_err());
        assert_eq!(serving.await.expect("no panic"), None);
    }

    #[rstest]
    #[case("", "client.crt", "key")]
    #[case("no PEM at all", "no PEM at all", "no PEM at all")]
    fn files_that_hold_no_certificate_are_named(
        #[case] authority: &str,
        #[case] certificate: &str,
        #[case] key: &str,
    ) {
        let certificates = RuntimeCertificates {
            authority: authority.to_owned(),
            certificate: certificate.to_owned(),
            key: key.to_owned(),
        };
        let error = RuntimeClient::new(Some(&certificates)).expect_err("refused");
        assert!(matches!(error, RuntimeSetupError::Pem { file: "ca.crt" }), "{error}");
    }
}

//! Connections to runtimes that serve TLS: dialled by pod address, checked against one fixed server name, with this
//! manager's own certificate (`storage.md` §3.4).

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

use crate::options::RuntimeCertificates;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Certificates that can't be used. The texts of keys are not in it.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeSetupError {
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

impl std::fmt::Debug for TlsConnector {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
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

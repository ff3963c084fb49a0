//! How the server proves who it is, and its clients who they are: made anew by each server, kept in memory only.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rcgen::{CertificateParams, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::tokens::Signer;

/// Why the server can't serve over TLS.
#[derive(Clone, Debug, thiserror::Error)]
pub enum IdentityError {
    /// The self-signed certificate could not be made.
    #[error("could not make the API server's certificate")]
    Certificate(#[source] rcgen::Error),
    /// The certificate could not be used for TLS.
    #[error("could not set up TLS for the API server")]
    Tls(#[source] rustls::Error),
}

struct Certificate {
    pem: String,
    config: Arc<ServerConfig>,
}

/// The certificate and the token of one server, and what signs the tokens of its service accounts.
pub(crate) struct Identity {
    certificate: Result<Certificate, IdentityError>,
    token: String,
    pub(crate) signer: Signer,
}

impl fmt::Debug for Identity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Identity").finish_non_exhaustive()
    }
}

impl Default for Identity {
    fn default() -> Self {
        Self {
            certificate: make(),
            token: uuid::Uuid::new_v4().simple().to_string(),
            signer: Signer::default(),
        }
    }
}

/// Names under which the server may be reached.
const NAMES: [&str; 4] = ["localhost", "127.0.0.1", "::1", "kubernetes.default.svc"];

impl Identity {
    pub(crate) fn token(&self) -> &str {
        &self.token
    }

    /// Whether an `Authorization` header carries the token. The comparison takes the same time wherever they differ.
    pub(crate) fn accepts(&self, authorization: &str) -> bool {
        let Some(given) = authorization.strip_prefix("Bearer ") else { return false };
        let difference =
            given.bytes().zip(self.token.bytes()).fold(0, |sum, (left, right)| sum | (left ^ right));
        given.len() == self.token.len() && difference == 0
    }

    pub(crate) fn tls(&self) -> Result<Arc<ServerConfig>, IdentityError> {
        Ok(Arc::clone(&self.certificate()?.config))
    }

    fn certificate(&self) -> Result<&Certificate, IdentityError> {
        self.certificate.as_ref().map_err(Clone::clone)
    }

    /// What clients know the server by (PEM): its own certificate, which nobody else signed.
    pub(crate) fn root_certificate(&self) -> Option<&str> {
        self.certificate.as_ref().ok().map(|certificate| certificate.pem.as_str())
    }

    /// A kubeconfig for a client that reaches the server at `url`.
    pub(crate) fn kubeconfig(&self, url: &str) -> Result<String, IdentityError> {
        let authority = BASE64_STANDARD.encode(&self.certificate()?.pem);
        // The certificate names the usual local addresses; for another one the client is told which name to expect.
        let tls_name =
            if NAMES.iter().any(|name| url.contains(name)) { "" } else { "\n    tls-server-name: localhost" };
        Ok(format!(
            "apiVersion: v1\nkind: Config\nclusters:\n- name: mountlab\n  cluster:\n    server: {url}{tls_name}\n    \
             certificate-authority-data: {authority}\nusers:\n- name: mountlab\n  user:\n    token: {token}\n\
             contexts:\n- name: mountlab\n  context:\n    cluster: mountlab\n    user: mountlab\n    \
             namespace: default\ncurrent-context: mountlab\n",
            token = self.token,
        ))
    }
}

fn make() -> Result<Certificate, IdentityError> {
    let names: Vec<String> = NAMES.iter().map(ToString::to_string).collect();
    let key = KeyPair::generate().map_err(IdentityError::Certificate)?;
    let parameters = CertificateParams::new(names).map_err(IdentityError::Certificate)?;
    let certificate = parameters.self_signed(&key).map_err(IdentityError::Certificate)?;
    let chain = vec![CertificateDer::from(certificate.der().to_vec())];
    let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, private))
        .map_err(IdentityError::Tls)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Certificate { pem: certificate.pem(), config: Arc::new(config) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_token_opens_the_door() {
        let identity = Identity::default();
        let token = identity.token().to_owned();
        assert!(identity.accepts(&format!("Bearer {token}")));
        assert!(!identity.accepts(&token));
        assert!(!identity.accepts(&format!("Bearer {}", &token[1..])));
        assert!(!identity.accepts(&format!("Bearer {token}x")));
        assert!(!identity.accepts("Bearer "));
    }

    #[test]
    fn the_identity_shows_no_secret() {
        let identity = Identity::default();
        assert!(!format!("{identity:?}").contains(identity.token()));
    }
}

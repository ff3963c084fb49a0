//! Signing and reading service account tokens: JSON Web Tokens under a key that only this server has.

use std::fmt;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ring::hmac;
use serde_json::Value;

/// A cluster signs with a public key, so that others can check its tokens; nobody but this server checks these.
const HEADER: &str = r#"{"alg":"HS256","typ":"JWT"}"#;

/// The key under which the tokens of one server are signed: made with the server, kept in memory only.
pub(crate) struct Signer(hmac::Key);

impl Default for Signer {
    fn default() -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, &rand::random::<[u8; 32]>()))
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Signer")
    }
}

impl Signer {
    /// A token that says `claims`. It is a secret.
    pub(crate) fn sign(&self, claims: &Value) -> String {
        let encode = |text: &str| BASE64_URL_SAFE_NO_PAD.encode(text);
        let signed = format!("{}.{}", encode(HEADER), encode(&claims.to_string()));
        let signature = hmac::sign(&self.0, signed.as_bytes());
        format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
    }

    /// What a token says; nothing when this server did not sign it. Whether it is still valid is not looked at.
    pub(crate) fn read(&self, token: &str) -> Option<Value> {
        let (signed, signature) = token.rsplit_once('.')?;
        let signature = BASE64_URL_SAFE_NO_PAD.decode(signature).ok()?;
        // Takes the same time wherever the signatures differ. The header is signed too, so it needs no look.
        hmac::verify(&self.0, signed.as_bytes(), &signature).ok()?;
        let (_, claims) = signed.split_once('.')?;
        serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(claims).ok()?).ok()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_this_server_signed_is_read() {
        let signer = Signer::default();
        let claims = json!({"sub": "system:serviceaccount:default:default"});
        let token = signer.sign(&claims);
        assert_eq!(signer.read(&token), Some(claims));
        assert_eq!(Signer::default().read(&token), None, "another server's key");
        let (head, signature) = token.rsplit_once('.').expect("three parts");
        let (header, _) = head.split_once('.').expect("three parts");
        let other = BASE64_URL_SAFE_NO_PAD.encode(r#"{"sub":"system:serviceaccount:default:other"}"#);
        for forged in
            [format!("{header}.{other}.{signature}"), format!("{head}."), head.to_owned(), String::new()]
        {
            assert_eq!(signer.read(&forged), None, "{forged}");
        }
    }
}

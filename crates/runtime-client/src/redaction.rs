//! Texts that come out of a sandbox, before a user or a log sees them (`storage.md` §10).

use contract::resolve::ResolvedMount;
use journal::secrecy::{Concealer, REDACTED, SHORTEST};

/// The longest reason that is passed on, in characters.
const LONGEST: usize = 2000;

/// Takes the values of the mounts' Secrets, in every encoding, and everything that looks like a key's assignment out
/// of texts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Redaction {
    concealer: Concealer,
    short: Vec<String>,
}

impl Redaction {
    pub(crate) fn of(mounts: &[ResolvedMount], token: Option<&str>) -> Self {
        let mut redaction = Self::default();
        for value in mounts.iter().flat_map(|mount| mount.request.secrets.values()) {
            redaction.hide(value);
            redaction.hide(value.trim());
        }
        if let Some(token) = token {
            redaction.hide(token);
        }
        redaction
    }

    fn hide(&mut self, value: &str) {
        if value.len() >= SHORTEST {
            self.concealer.add(value);
        } else if !value.is_empty() {
            self.short.push(value.to_owned());
        }
    }

    /// `text` without secrets, cut to a readable length.
    pub(crate) fn clean(&self, text: &str) -> String {
        let concealed = self.concealer.conceal_text(text);
        let words: Vec<String> = concealed.split(' ').map(|word| self.clean_word(word)).collect();
        let mut clean: String = words.join(" ").chars().take(LONGEST).collect();
        if clean.len() < concealed.len() && clean.chars().count() == LONGEST {
            clean.push('…');
        }
        clean
    }

    /// A short secret is hidden only where it stands alone as a word, or its letters would be taken out of every text.
    fn clean_word(&self, word: &str) -> String {
        if let Some((name, _)) = word.split_once('=')
            && ["access_key", "accesskey", "akid", "aksecret", "secret"]
                .iter()
                .any(|key| name.to_ascii_lowercase().contains(key))
        {
            return format!("{name}={REDACTED}");
        }
        let bare = word.trim_matches(|character: char| !character.is_alphanumeric());
        if self.short.iter().any(|secret| secret == bare) {
            word.replace(bare, REDACTED)
        } else {
            word.to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use base64::Engine as _;
    use base64::prelude::BASE64_STANDARD;
    use csi_api::NodePublishVolumeRequest;
    use rstest::rstest;

    use super::*;

    const SECRET: &str = "AKSECRET-0123456789";

    fn redaction() -> Redaction {
        let secrets = [("akId", "id-7"), ("akSecret", SECRET)];
        let secrets: BTreeMap<_, _> = secrets.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        let request = NodePublishVolumeRequest { secrets, ..NodePublishVolumeRequest::default() };
        let mount = ResolvedMount { driver: "oss".into(), request, mount_path: "/data".into() };
        Redaction::of(&[mount], Some("token-0123456789"))
    }

    #[rstest]
    #[case("failed with AKSECRET-0123456789 as key")]
    #[case("x-access-token: token-0123456789")]
    #[case("passwd_file has \"id-7\"")]
    #[case("-o access_key_id=whatever,ro")]
    #[case("AccessKeySecret=whatever")]
    fn secrets_are_taken_out(#[case] text: &str) {
        let clean = redaction().clean(text);
        for secret in [SECRET, "token-0123456789", "id-7", "whatever"] {
            assert!(!clean.contains(secret), "{clean}");
        }
        assert!(clean.contains(REDACTED), "{clean}");
    }

    #[rstest]
    #[case("")]
    #[case("x")]
    #[case("xy")]
    fn base64_does_not_help(#[case] padding: &str) {
        let encoded = BASE64_STANDARD.encode(format!("{padding}{SECRET}tail"));
        let clean = redaction().clean(&format!("exec --config {encoded} failed"));
        assert!(
            journal::secrecy::encodings(SECRET).iter().all(|encoding| !clean.contains(encoding)),
            "{clean}"
        );
    }

    #[test]
    fn other_texts_stay_as_they_are() {
        let text = "Invalid Credentials: the AccessKey of bucket demo-id-70 is wrong (path=/data)";
        assert_eq!(redaction().clean(text), text);
    }
}

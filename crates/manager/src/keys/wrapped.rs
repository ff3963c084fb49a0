//! The wrapped form of an API key (`e2b-api.md` §5.3): older SDKs only take `e2b_` and lowercase hex.

use sha2::{Digest as _, Sha256};

const PREFIX: &str = "e2b_6f6b616701";
const DOMAIN: &[u8] = b"openkruise-agents/e2b-key-compat/v1";
const LENGTH_DIGITS: usize = 8;
const CHECKSUM_BYTES: usize = 8;

/// `raw` in the wrapped form.
pub fn wrap(raw: &str) -> String {
    format!("{PREFIX}{:08x}{}{}", raw.len(), hex::encode(raw), checksum(raw.as_bytes()))
}

/// The key inside `text`; `text` itself when it isn't a wrapped key in shape, length and checksum.
pub fn unwrap(text: &str) -> String {
    unwrapped(text).unwrap_or_else(|| text.to_owned())
}

fn unwrapped(text: &str) -> Option<String> {
    let rest = text.strip_prefix(PREFIX)?;
    if rest.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return None;
    }
    let length = usize::from_str_radix(rest.get(..LENGTH_DIGITS)?, 16).ok()?;
    let payload = rest.get(LENGTH_DIGITS..)?;
    let end = length.checked_mul(2)?;
    let raw = hex::decode(payload.get(..end)?).ok()?;
    if payload.get(end..)? != checksum(&raw) {
        return None;
    }
    String::from_utf8(raw).ok()
}

fn checksum(raw: &[u8]) -> String {
    let digest = Sha256::new().chain_update(DOMAIN).chain_update(raw).finalize();
    hex::encode(&digest[..CHECKSUM_BYTES])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("some-key", "e2b_6f6b61670100000008736f6d652d6b6579e62071c260c234eb")]
    #[case("admin-987654321", "e2b_6f6b6167010000000f61646d696e2d393837363534333231633752d5d325a4ab")]
    fn the_contract_s_vectors(#[case] raw: &str, #[case] wrapped: &str) {
        assert_eq!(wrap(raw), wrapped);
        assert_eq!(unwrap(wrapped), raw);
    }

    #[rstest]
    #[case("some-key")]
    #[case("e2b_0123456789abcdef")]
    #[case("e2b_6f6b61670100000008736f6d652d6b6579e62071c260c234ec")] // checksum off by one
    #[case("e2b_6f6b61670100000009736f6d652d6b6579e62071c260c234eb")] // length off by one
    #[case("e2b_6f6b61670100000008736f6d652d6b6579e62071c260c234eb00")] // trailing bytes
    #[case("e2b_6f6b616701ffffffff")]
    #[case("")]
    fn anything_else_is_a_plain_key(#[case] text: &str) {
        assert_eq!(unwrap(text), text);
    }

    proptest! {
        #[test]
        fn wrapping_is_undone(raw in ".{0,80}") {
            prop_assert_eq!(unwrap(&wrap(&raw)), raw);
        }

        #[test]
        fn unwrapping_never_panics(text in "(e2b_6f6b616701)?\\PC{0,60}") {
            let _ = unwrap(&text);
        }
    }
}

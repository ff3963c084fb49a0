//! Which texts give a secret away, and how to take them out (`storage.md` §10).

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE_NO_PAD};
use serde_json::Value;

use crate::Draft;

/// What stands in the place of a secret.
pub const REDACTED: &str = "[redacted]";

/// Secrets of fewer bytes are not searched for: they would match by chance.
pub const SHORTEST: usize = 6;

/// Every text whose presence gives `secret` away: the value itself and its base64 at all three byte alignments, in
/// both alphabets, without the characters that depend on the neighbouring bytes.
pub fn encodings(secret: &str) -> Vec<String> {
    let mut encodings = vec![secret.to_owned()];
    for engine in [&BASE64_STANDARD_NO_PAD, &BASE64_URL_SAFE_NO_PAD] {
        for shift in 0..3_usize {
            let mut bytes = vec![0; shift];
            bytes.extend_from_slice(secret.as_bytes());
            let text = engine.encode(&bytes);
            let first = (shift * 8).div_ceil(6);
            let last = bytes.len() * 8 / 6;
            if let Some(core) = text.get(first..last) {
                encodings.push(core.to_owned());
            }
        }
    }
    encodings.sort();
    encodings.dedup();
    encodings
}

/// Replaces known secrets in texts.
#[derive(Clone, Debug, Default)]
pub struct Concealer {
    needles: Vec<String>,
}

impl Concealer {
    /// Also replaces `secret`, unless it is shorter than [`SHORTEST`].
    pub fn add(&mut self, secret: &str) {
        if secret.len() < SHORTEST {
            return;
        }
        self.needles.extend(encodings(secret));
        self.needles.sort_by_key(|needle| std::cmp::Reverse(needle.len()));
        self.needles.dedup();
    }

    /// `text` with every known secret replaced by [`REDACTED`].
    pub fn conceal_text(&self, text: &str) -> String {
        let mut clean = text.to_owned();
        for needle in &self.needles {
            if clean.contains(needle) {
                clean = clean.replace(needle, REDACTED);
            }
        }
        clean
    }

    pub(crate) fn conceal(&self, draft: Draft) -> Draft {
        if self.needles.is_empty() {
            return draft;
        }
        Draft {
            source: draft.source,
            kind: self.conceal_text(&draft.kind),
            subject: self.conceal_text(&draft.subject),
            body: self.conceal_value(draft.body),
        }
    }

    /// `value` with every known secret replaced, in keys as well.
    pub fn conceal_value(&self, value: Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.conceal_text(&text)),
            Value::Array(items) => items.into_iter().map(|item| self.conceal_value(item)).collect(),
            Value::Object(members) => members
                .into_iter()
                .map(|(key, value)| (self.conceal_text(&key), self.conceal_value(value)))
                .collect(),
            other => other,
        }
    }
}

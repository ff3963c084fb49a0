//! Which texts give a secret away, and how to take them out (`storage.md` §10).

use std::sync::OnceLock;

use aho_corasick::{AhoCorasick, MatchKind};
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

/// The kind of an entry of source `lab` which says that something gave a guarded secret away: the journal writes one
/// behind every entry that showed one, and whoever reads a pod's log one for a line that does. Its subject says where.
pub const SHOWN: &str = "secret-shown";

/// Fields whose value is a secret although the product keeps it in an object's annotations
/// (`kubernetes.md` §2): whoever sees one conceals it.
const TOKEN_FIELDS: &[&str] = &["agents.kruise.io/runtime-access-token"];

/// Longer needles are not put into the automaton: it has a state for each of their bytes.
const LONGEST_TOGETHER: usize = 1024;

/// Replaces known secrets in texts.
#[derive(Clone, Debug, Default)]
pub struct Concealer {
    needles: Vec<Needle>,
    /// Those that are too long for the automaton, which are looked for one by one.
    long: Vec<Needle>,
    /// Looks for all of them at once; made when it is first needed after a needle was added. Nothing in it when
    /// there are more needles than an automaton can hold.
    searcher: OnceLock<Option<AhoCorasick>>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
struct Needle {
    text: String,
    /// Whether showing it is a fault, and not only to be concealed.
    is_guarded: bool,
}

impl Concealer {
    /// Also replaces `secret`, unless it is shorter than [`SHORTEST`].
    pub fn add(&mut self, secret: &str) {
        self.insert(secret, false);
    }

    /// Also replaces `secret`, of which [`Concealer::gives_away`] speaks from now on.
    pub fn guard(&mut self, secret: &str) {
        self.insert(secret, true);
    }

    fn insert(&mut self, secret: &str, is_guarded: bool) {
        if secret.len() < SHORTEST {
            return;
        }
        for text in encodings(secret) {
            let is_long = text.len() > LONGEST_TOGETHER;
            let needles = if is_long { &mut self.long } else { &mut self.needles };
            if let Some(known) = needles.iter_mut().find(|needle| needle.text == text) {
                known.is_guarded |= is_guarded;
            } else {
                needles.push(Needle { text, is_guarded });
                if !is_long {
                    self.searcher.take();
                }
            }
        }
    }

    /// Conceals what stands in fields that hold a token, wherever in `value` they are.
    pub(crate) fn learn(&mut self, value: &Value) {
        match value {
            Value::Array(items) => items.iter().for_each(|item| self.learn(item)),
            Value::Object(members) => {
                for (key, value) in members {
                    if let Value::String(token) = value
                        && TOKEN_FIELDS.contains(&key.as_str())
                        && token != REDACTED
                    {
                        self.add(token);
                    }
                    self.learn(value);
                }
            }
            _ => {}
        }
    }

    fn searcher(&self) -> Option<&AhoCorasick> {
        let build = || {
            let texts = self.needles.iter().map(|needle| &needle.text);
            AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(texts).ok()
        };
        self.searcher.get_or_init(build).as_ref()
    }

    /// Whether `text` shows a guarded secret.
    pub fn gives_away(&self, text: &str) -> bool {
        self.needles.iter().chain(&self.long).any(|needle| needle.is_guarded && text.contains(&needle.text))
    }

    /// `text` with every known secret replaced by [`REDACTED`].
    pub fn conceal_text(&self, text: &str) -> String {
        self.noting(text, &mut false)
    }

    /// The same; notes whether a guarded one was replaced.
    fn noting(&self, text: &str, shown: &mut bool) -> String {
        if let Some(needle) = self.long.iter().find(|needle| text.contains(&needle.text)) {
            *shown |= needle.is_guarded;
            return self.noting(&text.replace(&needle.text, REDACTED), shown);
        }
        // Rather nothing than a secret.
        let Some(searcher) = self.searcher() else { return REDACTED.to_owned() };
        if !searcher.is_match(text) {
            return text.to_owned();
        }
        let mut clean = String::with_capacity(text.len());
        searcher.replace_all_with(text, &mut clean, |found, _, clean| {
            *shown |= self.needles.get(found.pattern().as_usize()).is_none_or(|needle| needle.is_guarded);
            clean.push_str(REDACTED);
            true
        });
        clean
    }

    /// The draft without secrets, and whether it had a guarded one in it.
    pub(crate) fn conceal(&self, draft: Draft) -> (Draft, bool) {
        let mut shown = false;
        if self.needles.is_empty() && self.long.is_empty() {
            return (draft, shown);
        }
        let draft = Draft {
            source: draft.source,
            kind: self.noting(&draft.kind, &mut shown),
            subject: self.noting(&draft.subject, &mut shown),
            body: self.noting_in(draft.body, &mut shown),
        };
        (draft, shown)
    }

    /// `value` with every known secret replaced, in keys as well.
    pub fn conceal_value(&self, value: Value) -> Value {
        self.noting_in(value, &mut false)
    }

    fn noting_in(&self, value: Value, shown: &mut bool) -> Value {
        match value {
            Value::String(text) => Value::String(self.noting(&text, shown)),
            Value::Array(items) => items.into_iter().map(|item| self.noting_in(item, shown)).collect(),
            Value::Object(members) => members
                .into_iter()
                .map(|(key, value)| (self.noting(&key, shown), self.noting_in(value, shown)))
                .collect(),
            other => other,
        }
    }
}

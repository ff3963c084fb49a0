//! The query of `GET /v2/sandboxes` (`e2b-api.md` §4.4): filters, order and cursor.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jiff::Timestamp;

use super::percent::{form_decode, percent_decode, query_pairs};
use crate::error::ApiError;

/// The largest page, and the size of one that isn't asked for.
const PAGE: usize = 100;

/// Prefixes of keys that belong to the system and are no user metadata.
const RESERVED: [&str; 2] = ["e2b.agents.kruise.io/", "agents.kruise.io/"];

/// What the caller wants listed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ListQuery {
    pub(crate) running: bool,
    pub(crate) paused: bool,
    pub(crate) limit: usize,
    pub(crate) after: Option<Cursor>,
    pub(crate) metadata: BTreeMap<String, String>,
    pub(crate) descending: bool,
    pub(crate) started_after: Option<Timestamp>,
    pub(crate) template: Option<String>,
}

impl Default for ListQuery {
    fn default() -> Self {
        Self {
            running: true,
            paused: true,
            limit: PAGE,
            after: None,
            metadata: BTreeMap::new(),
            descending: false,
            started_after: None,
            template: None,
        }
    }
}

/// The place in the order (start time, then id) behind which the next page begins.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Cursor {
    pub(crate) started: Timestamp,
    pub(crate) id: String,
}

impl Cursor {
    /// The opaque token for `nextToken`.
    pub(crate) fn encode(&self) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(format!("{}|{}", self.started, self.id))
    }

    fn decode(token: &str) -> Option<Self> {
        let text = String::from_utf8(BASE64_URL_SAFE_NO_PAD.decode(token).ok()?).ok()?;
        let (started, id) = text.split_once('|')?;
        Some(Self { started: started.parse().ok()?, id: id.to_owned() })
    }
}

impl ListQuery {
    /// Reads the query; parameters it doesn't know are ignored.
    pub(crate) fn parse(query: &str) -> Result<Self, ApiError> {
        let mut parsed = Self::default();
        for (key, value) in query_pairs(query) {
            parsed.take(&key, &value)?;
        }
        Ok(parsed)
    }

    /// Reads only where a page of something else than sandboxes begins and how long it is.
    pub(crate) fn parse_page(query: &str) -> Result<Self, ApiError> {
        let mut parsed = Self::default();
        for (key, value) in query_pairs(query).filter(|(key, _)| key == "limit" || key == "nextToken") {
            parsed.take(&key, &value)?;
        }
        Ok(parsed)
    }

    fn take(&mut self, key: &str, value: &str) -> Result<(), ApiError> {
        let bad =
            |expected: &str| ApiError::bad_request(format!("query parameter {key:?}: expected {expected}"));
        match key {
            "state" => self.take_states(value).ok_or_else(|| bad("running, paused or both with a comma"))?,
            "limit" => {
                let limit = value.parse().ok().filter(|limit| (1..=PAGE).contains(limit));
                self.limit = limit.ok_or_else(|| bad("a number from 1 to 100"))?;
            }
            "nextToken" if !value.is_empty() => {
                self.after = Some(Cursor::decode(value).ok_or_else(|| bad("a token from x-next-token"))?);
            }
            "metadata" => self.metadata = metadata_filter(value)?,
            "order" => {
                self.descending = match value {
                    "asc" => false,
                    "desc" => true,
                    _ => return Err(bad("asc or desc")),
                }
            }
            "startedAfter" => self.started_after = Some(value.parse().map_err(|_| bad("an RFC 3339 time"))?),
            "template" if !value.is_empty() => self.template = Some(value.to_owned()),
            _ => {}
        }
        Ok(())
    }

    fn take_states(&mut self, value: &str) -> Option<()> {
        (self.running, self.paused) = (false, false);
        for word in value.split(',') {
            match word.trim() {
                "running" => self.running = true,
                "paused" => self.paused = true,
                _ => return None,
            }
        }
        Some(())
    }
}

/// The pairs that a sandbox's metadata must hold. The query as a whole is decoded already; each side is form-encoded
/// and, inside that, percent-encoded once more by the SDK.
fn metadata_filter(value: &str) -> Result<BTreeMap<String, String>, ApiError> {
    let mut filter = BTreeMap::new();
    for pair in value.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let key = percent_decode(&form_decode(key));
        if RESERVED.iter().any(|prefix| key.starts_with(prefix)) {
            return Err(ApiError::bad_request(format!("metadata filter: key {key:?} has a reserved prefix")));
        }
        filter.insert(key, percent_decode(&form_decode(value)));
    }
    Ok(filter)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::python("metadata=a%252520b%252Fc%3Dx%252520y%252526z%25253D%2525C3%2525A9")]
    #[case::javascript("metadata=a%252520b%25252Fc%3Dx%252520y%252526z%25253D%2525C3%2525A9")]
    fn the_contract_s_metadata_vector(#[case] query: &str) {
        let parsed = ListQuery::parse(query).expect("parses");
        assert_eq!(parsed.metadata, BTreeMap::from([("a b/c".to_owned(), "x y&z=é".to_owned())]));
    }

    #[rstest]
    #[case("metadata=user%3Dada%26team%3Done", &[("user", "ada"), ("team", "one")])]
    #[case("metadata=share%3D100%25", &[("share", "100%")])]
    #[case("metadata=flag", &[("flag", "")])]
    fn single_encoded_filters_keep_working(#[case] query: &str, #[case] pairs: &[(&str, &str)]) {
        let expected = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        assert_eq!(ListQuery::parse(query).expect("parses").metadata, expected);
    }

    #[rstest]
    #[case("", true, true)]
    #[case("state=running", true, false)]
    #[case("state=paused", false, true)]
    #[case("state=running%2Cpaused", true, true)]
    fn states(#[case] query: &str, #[case] running: bool, #[case] paused: bool) {
        let parsed = ListQuery::parse(query).expect("parses");
        assert_eq!((parsed.running, parsed.paused), (running, paused));
    }

    #[rstest]
    #[case("state=dead")]
    #[case("state=")]
    #[case("limit=0")]
    #[case("limit=101")]
    #[case("limit=ten")]
    #[case("nextToken=%21")]
    #[case("order=newest")]
    #[case("startedAfter=yesterday")]
    #[case("metadata=agents.kruise.io%252Fowner%3Dx")]
    fn bad_values_are_400(#[case] query: &str) {
        let error = ListQuery::parse(query).expect_err("refused");
        assert_eq!(error.status, http::StatusCode::BAD_REQUEST);
    }

    #[test]
    fn unknown_parameters_are_ignored() {
        assert_eq!(ListQuery::parse("teamID=x&unknown"), Ok(ListQuery::default()));
    }

    proptest! {
        #[test]
        fn a_cursor_survives_its_token(seconds in 0_i64..4_000_000_000, id in "[a-z0-9-]{1,40}") {
            let cursor = Cursor { started: Timestamp::from_second(seconds).expect("in range"), id };
            prop_assert_eq!(Cursor::decode(&cursor.encode()), Some(cursor));
        }
    }
}

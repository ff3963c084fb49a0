//! What protobuf's JSON accepts beyond the plain form: numbers as text, enums as numbers, both alphabets of base64.
//! Absent, null and default are the same: [`without_nulls`] removes nulls before a message is read.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::de::{Deserialize as _, DeserializeOwned, Deserializer, Error as _};
use serde_json::Value;

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Reads the message `text`; an empty text is the empty message.
pub(crate) fn message<T: DeserializeOwned>(text: &[u8]) -> Result<T, serde_json::Error> {
    let members = if text.is_empty() { serde_json::Map::new() } else { serde_json::from_slice(text)? };
    serde_json::from_value(without_nulls(Value::Object(members)))
}

fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(members) => members
            .into_iter()
            .filter(|(_, member)| !member.is_null())
            .map(|(name, member)| (name, without_nulls(member)))
            .collect(),
        Value::Array(items) => items.into_iter().map(without_nulls).collect(),
        other => other,
    }
}

fn read_number<E: serde::de::Error>(value: &Value) -> Result<u32, E> {
    let number = match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    };
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked to be a whole u32 before"
    )]
    number
        .filter(|number| number.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(number))
        .map(|number| number as u32)
        .ok_or_else(|| E::custom("want a whole number from 0 to 4294967295"))
}

/// A `uint32`, also as text.
pub(crate) fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    read_number(&Value::deserialize(deserializer)?)
}

/// A `uint32` that may be absent, also as text.
pub(crate) fn optional_number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    number(deserializer).map(Some)
}

/// An enum: its name, or its number as text.
pub(crate) fn enumeration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    match Value::deserialize(deserializer)? {
        Value::String(name) => Ok(name),
        Value::Number(number) => Ok(number.to_string()),
        _ => Err(D::Error::custom("want the name or the number of an enum value")),
    }
}

/// `bytes` that may be absent, in base64.
pub(crate) fn bytes_base64<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<u8>>, D::Error> {
    let text = String::deserialize(deserializer)?.replace('-', "+").replace('_', "/");
    BASE64.decode(text).map(Some).map_err(|_| D::Error::custom("want bytes in base64"))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Default, Deserialize, PartialEq)]
    #[serde(default)]
    struct Message {
        #[serde(deserialize_with = "number")]
        count: u32,
        #[serde(deserialize_with = "optional_number")]
        pid: Option<u32>,
        #[serde(deserialize_with = "enumeration")]
        signal: String,
        #[serde(deserialize_with = "bytes_base64")]
        stdin: Option<Vec<u8>>,
    }

    #[rstest]
    #[case::nothing("", Message::default())]
    #[case::nulls(r#"{"count": null, "pid": null, "stdin": null}"#, Message::default())]
    #[case::numbers(r#"{"count": 3, "pid": 4}"#, Message { count: 3, pid: Some(4), ..Message::default() })]
    #[case::texts(r#"{"count": "3", "pid": "4.0"}"#, Message { count: 3, pid: Some(4), ..Message::default() })]
    #[case::a_name(r#"{"signal": "SIGNAL_SIGKILL"}"#, Message { signal: "SIGNAL_SIGKILL".into(), ..Message::default() })]
    #[case::a_number(r#"{"signal": 9}"#, Message { signal: "9".into(), ..Message::default() })]
    #[case::bytes(r#"{"stdin": "+/8="}"#, Message { stdin: Some(vec![0xfb, 0xff]), ..Message::default() })]
    #[case::url_bytes(r#"{"stdin": "-_8"}"#, Message { stdin: Some(vec![0xfb, 0xff]), ..Message::default() })]
    #[case::unknown(r#"{"tomorrow": {"x": [null]}}"#, Message::default())]
    fn accepted(#[case] text: &str, #[case] expected: Message) {
        assert_eq!(message::<Message>(text.as_bytes()).expect("accepted"), expected);
    }

    #[rstest]
    #[case::a_fraction(r#"{"count": 1.5}"#)]
    #[case::negative(r#"{"count": -1}"#)]
    #[case::too_large(r#"{"count": 4294967296}"#)]
    #[case::no_number(r#"{"count": "x"}"#)]
    #[case::no_bytes(r#"{"stdin": "*"}"#)]
    #[case::no_object("[1]")]
    #[case::no_json("{")]
    fn refused(#[case] text: &str) {
        message::<Message>(text.as_bytes()).expect_err("refused");
    }
}

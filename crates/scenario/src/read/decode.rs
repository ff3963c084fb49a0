//! From a [`Node`] tree to typed values: a serde format whose errors say where, and what the nearest name is.

use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{
    self, DeserializeSeed, EnumAccess, IntoDeserializer, MapAccess, SeqAccess, VariantAccess, Visitor,
};
use serde::{Deserialize, forward_to_deserialize_any};
use serde_json::Value;

use super::nearest::nearest;
use super::node::{Member, Node, Place, Shape};

/// Reads `node` as a `T`.
///
/// # Errors
/// [`DecodeError`] with the innermost place that doesn't fit.
pub(crate) fn decode<'de, T: Deserialize<'de>>(node: &'de Node) -> Result<T, DecodeError> {
    T::deserialize(Reader(node))
}

/// What doesn't fit, and where.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct DecodeError {
    pub(crate) message: String,
    pub(crate) help: Option<String>,
    pub(crate) place: Option<Place>,
}

impl DecodeError {
    fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), help: None, place: None }
    }

    fn at(mut self, place: Place) -> Self {
        self.place.get_or_insert(place);
        self
    }

    fn unknown(what: &str, name: &str, known: &'static [&'static str]) -> Self {
        Self {
            message: format!("unknown {what} `{name}`"),
            help: Some(suggestion(name, known.iter().copied())),
            place: None,
        }
    }
}

/// The nearest of `known`, and all of them where they are few.
pub(crate) fn suggestion<'a>(name: &str, known: impl Iterator<Item = &'a str> + Clone) -> String {
    let all = known.clone().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    match nearest(name, known) {
        Some(near) => format!("did you mean `{near}`? known here: {all}"),
        None if all.is_empty() => "nothing is known here".to_owned(),
        None => format!("known here: {all}"),
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl std::error::Error for DecodeError {}

impl de::Error for DecodeError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(message.to_string())
    }

    fn invalid_type(unexpected: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::new(format!("expected {}, this is {unexpected}", plain(&expected.to_string())))
    }

    fn invalid_value(unexpected: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::new(format!("expected {}, this is {unexpected}", plain(&expected.to_string())))
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        Self::unknown("field", field, expected)
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        Self::unknown("value", variant, expected)
    }

    fn missing_field(field: &'static str) -> Self {
        Self::new(format!("field `{field}` is missing"))
    }
}

/// What serde calls by the names of Rust, in words of the file.
fn plain(expected: &str) -> &str {
    match expected {
        "u64" | "u32" | "u16" | "usize" => "a whole number",
        "i64" | "i32" => "an integer",
        "a string" => "a text",
        other if other.starts_with("struct ") || other == "a map" => "a mapping",
        "a sequence" => "a list",
        other => other,
    }
}

struct Reader<'de>(&'de Node);

impl<'de> Reader<'de> {
    fn scalar<V: Visitor<'de>>(value: &'de Value, visitor: V) -> Result<V::Value, DecodeError> {
        match value {
            Value::String(text) => visitor.visit_borrowed_str(text),
            Value::Bool(truth) => visitor.visit_bool(*truth),
            Value::Number(number) => match (number.as_u64(), number.as_i64(), number.as_f64()) {
                (Some(number), _, _) => visitor.visit_u64(number),
                (_, Some(number), _) => visitor.visit_i64(number),
                (_, _, number) => visitor.visit_f64(number.unwrap_or(f64::NAN)),
            },
            _ => visitor.visit_unit(),
        }
    }
}

impl<'de> de::Deserializer<'de> for Reader<'de> {
    type Error = DecodeError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match &self.0.shape {
            Shape::Scalar(value) => Self::scalar(value, visitor),
            Shape::Items(items) => visitor.visit_seq(Items(items.iter())),
            Shape::Members(members) => visitor.visit_map(Members { rest: members.iter(), value: None }),
        }
        .map_err(|error| error.at(self.0.place))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match &self.0.shape {
            Shape::Scalar(Value::Null) => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        let place = self.0.place;
        visitor.visit_newtype_struct(self).map_err(|error| error.at(place))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        match &self.0.shape {
            Shape::Scalar(Value::String(text)) => {
                visitor.visit_enum(IntoDeserializer::<DecodeError>::into_deserializer(text.as_str()))
            }
            Shape::Members(members) => match members.as_slice() {
                [member] => visitor.visit_enum(Variant(member)),
                _ => Err(DecodeError::new(format!("expected one key, these are {}", members.len()))),
            },
            _ => Err(DecodeError::new("expected a name or a mapping with one key")),
        }
        .map_err(|error| error.at(self.0.place))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct
        seq tuple tuple_struct map struct identifier ignored_any
    }
}

struct Items<'de>(std::slice::Iter<'de, Node>);

impl<'de> SeqAccess<'de> for Items<'de> {
    type Error = DecodeError;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, DecodeError> {
        self.0.next().map(|node| seed.deserialize(Reader(node))).transpose()
    }
}

struct Members<'de> {
    rest: std::slice::Iter<'de, Member>,
    value: Option<&'de Node>,
}

impl<'de> MapAccess<'de> for Members<'de> {
    type Error = DecodeError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, DecodeError> {
        let Some(member) = self.rest.next() else { return Ok(None) };
        self.value = Some(&member.node);
        let key: StrDeserializer<'_, DecodeError> = member.key.as_str().into_deserializer();
        seed.deserialize(key).map(Some).map_err(|error| error.at(member.place))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, DecodeError> {
        let node =
            self.value.take().ok_or_else(|| DecodeError::new("a value was asked for before its key"))?;
        seed.deserialize(Reader(node))
    }
}

struct Variant<'de>(&'de Member);

impl<'de> EnumAccess<'de> for Variant<'de> {
    type Error = DecodeError;
    type Variant = Reader<'de>;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Reader<'de>), DecodeError> {
        let key: StrDeserializer<'_, DecodeError> = self.0.key.as_str().into_deserializer();
        let variant = seed.deserialize(key).map_err(|error| error.at(self.0.place))?;
        Ok((variant, Reader(&self.0.node)))
    }
}

impl<'de> VariantAccess<'de> for Reader<'de> {
    type Error = DecodeError;

    fn unit_variant(self) -> Result<(), DecodeError> {
        Err(DecodeError::new("this value takes nothing").at(self.0.place))
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, DecodeError> {
        seed.deserialize(self)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _length: usize, visitor: V) -> Result<V::Value, DecodeError> {
        de::Deserializer::deserialize_any(self, visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        de::Deserializer::deserialize_any(self, visitor)
    }
}

//! A YAML document as a tree that knows where each part stands in its file.

use std::fmt;

use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Number, Value};

/// Where something stands: bytes from the file's start.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Place {
    /// The first byte.
    pub start: usize,
    /// How many bytes; 0 where only the start is known.
    pub length: usize,
}

/// A part of a document.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Where it stands.
    pub place: Place,
    /// What it is.
    pub shape: Shape,
}

/// What a [`Node`] holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Shape {
    /// Nothing, a truth value, a number or a text.
    Scalar(Value),
    /// A sequence.
    Items(Vec<Node>),
    /// A mapping, in the order of the file.
    Members(Vec<Member>),
}

/// One pair of a mapping.
#[derive(Clone, Debug, PartialEq)]
pub struct Member {
    /// The key.
    pub key: String,
    /// Where the key stands.
    pub place: Place,
    /// The value.
    pub node: Node,
}

/// One step from a node to a part of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Segment {
    /// The member of this key.
    Key(String),
    /// The item at this position, from 0.
    Index(usize),
}

impl From<&str> for Segment {
    fn from(key: &str) -> Self {
        Self::Key(key.to_owned())
    }
}

impl From<usize> for Segment {
    fn from(index: usize) -> Self {
        Self::Index(index)
    }
}

impl Node {
    /// The member of this key, if this is a mapping that has it.
    pub fn member(&self, key: &str) -> Option<&Member> {
        match &self.shape {
            Shape::Members(members) => members.iter().find(|member| member.key == key),
            _ => None,
        }
    }

    /// Where the part at `path` stands, or the nearest part above it that is there.
    pub fn locate(&self, path: &[Segment]) -> Place {
        self.descend(path).place
    }

    /// The part at `path`, or the nearest part above it that is there.
    fn descend(&self, path: &[Segment]) -> &Self {
        let mut node = self;
        for segment in path {
            let next = match (segment, &node.shape) {
                (Segment::Key(key), Shape::Members(_)) => node.member(key).map(|member| &member.node),
                (Segment::Index(index), Shape::Items(items)) => items.get(*index),
                _ => None,
            };
            match next {
                Some(next) => node = next,
                None => return node,
            }
        }
        node
    }

    /// Where the key of a member of the mapping at `path` stands; the mapping's place if it has no such member.
    pub fn locate_key(&self, path: &[Segment], key: &str) -> Place {
        let node = self.descend(path);
        node.member(key).map_or(node.place, |member| member.place)
    }

    /// The tree without places.
    pub fn to_value(&self) -> Value {
        match &self.shape {
            Shape::Scalar(value) => value.clone(),
            Shape::Items(items) => items.iter().map(Self::to_value).collect(),
            Shape::Members(members) => Value::Object(
                members
                    .iter()
                    .map(|member| (member.key.clone(), member.node.to_value()))
                    .collect::<Map<_, _>>(),
            ),
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = serde_saphyr::Spanned::<Shape>::deserialize(deserializer)?;
        Ok(Self { place: place(spanned.referenced), shape: spanned.value })
    }
}

fn place(location: serde_saphyr::Location) -> Place {
    let span = location.span();
    Place {
        start: usize::try_from(span.byte_offset().unwrap_or_default()).unwrap_or_default(),
        length: usize::try_from(span.byte_len().unwrap_or_default()).unwrap_or_default(),
    }
}

impl<'de> Deserialize<'de> for Shape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ShapeVisitor)
    }
}

struct ShapeVisitor;

impl<'de> Visitor<'de> for ShapeVisitor {
    type Value = Shape;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Shape, E> {
        Ok(Shape::Scalar(Value::Null))
    }

    fn visit_none<E>(self) -> Result<Shape, E> {
        Ok(Shape::Scalar(Value::Null))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Shape, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Shape, E> {
        Ok(Shape::Scalar(Value::Bool(value)))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Shape, E> {
        Ok(Shape::Scalar(Value::Number(value.into())))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Shape, E> {
        Ok(Shape::Scalar(Value::Number(value.into())))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Shape, E> {
        Ok(Shape::Scalar(Number::from_f64(value).map_or(Value::Null, Value::Number)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Shape, E> {
        Ok(Shape::Scalar(Value::String(value.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Shape, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element::<Node>()? {
            items.push(item);
        }
        Ok(Shape::Items(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Shape, A::Error> {
        let mut members = Vec::new();
        while let Some((key, node)) = access.next_entry::<serde_saphyr::Spanned<String>, Node>()? {
            members.push(Member { place: place(key.referenced), key: key.value, node });
        }
        Ok(Shape::Members(members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_know_where_they_stand() {
        let text = "# head\nname: x\nsteps:\n  - run: {in: sbx, n: 0x10}\n    expect: \"é\"\n  - null\n";
        let node: Node = serde_saphyr::from_str(text).expect("YAML");
        let at = |path: &[Segment]| {
            let place = node.locate(path);
            text[place.start..].chars().take(4).collect::<String>()
        };
        assert_eq!(at(&["name".into()]), "x\nst");
        assert_eq!(at(&["steps".into(), 0.into(), "run".into(), "in".into()]), "sbx,");
        assert_eq!(at(&["steps".into(), 0.into(), "expect".into()]), "\"é\"\n");
        assert_eq!(at(&["steps".into(), 1.into(), "no".into()]), "null");
        assert_eq!(node.member("steps").map(|member| member.place.start), text.find("steps"));
        assert_eq!(
            node.to_value(),
            serde_json::json!({"name": "x", "steps": [{"run": {"in": "sbx", "n": 16}, "expect": "é"}, null]})
        );
    }
}

//! Reading the few objects that `kubectl` sends as protobuf: those of `kubectl create KIND` and `kubectl auth`.
//!
//! Everything else that `kubectl` sends is JSON. An answer is always JSON, which these clients take too. The field
//! numbers are those of the `generated.proto` files of `k8s.io/api`.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::state::seconds;

/// Before every object.
const MAGIC: &[u8] = b"k8s\0";

/// How a field is written.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Text,
    Flag,
    Number,
    Time,
    Message(&'static [Field]),
    TextMap,
    BytesMap,
    Texts,
    Messages(&'static [Field]),
}

/// Number, name and kind of a field.
type Field = (u64, &'static str, Kind);

const OWNER: &[Field] = &[
    (1, "kind", Kind::Text),
    (3, "name", Kind::Text),
    (4, "uid", Kind::Text),
    (5, "apiVersion", Kind::Text),
    (6, "controller", Kind::Flag),
    (7, "blockOwnerDeletion", Kind::Flag),
];
const METADATA: &[Field] = &[
    (1, "name", Kind::Text),
    (2, "generateName", Kind::Text),
    (3, "namespace", Kind::Text),
    (4, "selfLink", Kind::Text),
    (5, "uid", Kind::Text),
    (6, "resourceVersion", Kind::Text),
    (7, "generation", Kind::Number),
    (8, "creationTimestamp", Kind::Time),
    (11, "labels", Kind::TextMap),
    (12, "annotations", Kind::TextMap),
    (13, "ownerReferences", Kind::Messages(OWNER)),
    (14, "finalizers", Kind::Texts),
];
const REFERENCE: &[Field] = &[(1, "name", Kind::Text)];
const ACCESS: &[Field] = &[
    (1, "namespace", Kind::Text),
    (2, "verb", Kind::Text),
    (3, "group", Kind::Text),
    (4, "version", Kind::Text),
    (5, "resource", Kind::Text),
    (6, "subresource", Kind::Text),
    (7, "name", Kind::Text),
];
const ACCESS_REVIEW: &[Field] = &[
    (1, "resourceAttributes", Kind::Message(ACCESS)),
    (2, "nonResourceAttributes", Kind::Message(&[(1, "path", Kind::Text), (2, "verb", Kind::Text)])),
];
const BOUND_OBJECT: &[Field] = &[
    (1, "kind", Kind::Text),
    (2, "apiVersion", Kind::Text),
    (3, "name", Kind::Text),
    (4, "uid", Kind::Text),
];
const TOKEN: &[Field] = &[
    (1, "audiences", Kind::Texts),
    (3, "boundObjectRef", Kind::Message(BOUND_OBJECT)),
    (4, "expirationSeconds", Kind::Number),
];

/// The fields of each kind that is read.
const KINDS: [(&str, &[Field]); 8] = [
    (
        "Namespace",
        &[
            (1, "metadata", Kind::Message(METADATA)),
            (2, "spec", Kind::Message(&[(1, "finalizers", Kind::Texts)])),
            (3, "status", Kind::Message(&[(1, "phase", Kind::Text)])),
        ],
    ),
    (
        "Secret",
        &[
            (1, "metadata", Kind::Message(METADATA)),
            (2, "data", Kind::BytesMap),
            (3, "type", Kind::Text),
            (4, "stringData", Kind::TextMap),
            (5, "immutable", Kind::Flag),
        ],
    ),
    (
        "ConfigMap",
        &[
            (1, "metadata", Kind::Message(METADATA)),
            (2, "data", Kind::TextMap),
            (3, "binaryData", Kind::BytesMap),
            (4, "immutable", Kind::Flag),
        ],
    ),
    (
        "ServiceAccount",
        &[
            (1, "metadata", Kind::Message(METADATA)),
            (3, "imagePullSecrets", Kind::Messages(REFERENCE)),
            (4, "automountServiceAccountToken", Kind::Flag),
        ],
    ),
    (
        "TokenRequest",
        &[
            (1, "metadata", Kind::Message(METADATA)),
            (2, "spec", Kind::Message(TOKEN)),
            (3, "status", IGNORED),
        ],
    ),
    (
        "SelfSubjectAccessReview",
        &[
            (1, "metadata", Kind::Message(METADATA)),
            (2, "spec", Kind::Message(ACCESS_REVIEW)),
            (3, "status", IGNORED),
        ],
    ),
    (
        "SelfSubjectRulesReview",
        &[
            (1, "metadata", Kind::Message(METADATA)),
            (2, "spec", Kind::Message(&[(1, "namespace", Kind::Text)])),
            (3, "status", IGNORED),
        ],
    ),
    ("SelfSubjectReview", &[(1, "metadata", Kind::Message(METADATA)), (2, "status", IGNORED)]),
];
/// The status of a review is the server's to write.
const IGNORED: Kind = Kind::Message(&[]);

/// Reads an object; an error says what can't be read.
pub(super) fn read(body: &[u8]) -> Result<Value, String> {
    let body = body.strip_prefix(MAGIC).ok_or("the protobuf body does not begin as Kubernetes objects do")?;
    let (mut api_version, mut kind, mut raw) = (String::new(), String::new(), &[][..]);
    each_field(body, |number, wire| {
        match (number, wire) {
            (1, Wire::Bytes(of)) => each_field(of, |number, wire| {
                match (number, wire) {
                    (1, Wire::Bytes(text)) => api_version = string(text)?,
                    (2, Wire::Bytes(text)) => kind = string(text)?,
                    _ => {}
                }
                Ok(())
            })?,
            (2, Wire::Bytes(object)) => raw = object,
            _ => {}
        }
        Ok(())
    })?;
    let fields =
        KINDS.iter().find(|(name, _)| *name == kind).map(|(_, fields)| *fields).ok_or_else(|| {
            format!(
                "a {kind} in protobuf can't be read here; send it as JSON or YAML (kubectl create --filename)"
            )
        })?;
    let mut object = message(raw, fields)?;
    object["apiVersion"] = api_version.into();
    object["kind"] = kind.into();
    Ok(object)
}

#[derive(Clone, Copy)]
enum Wire<'b> {
    Number(u64),
    Bytes(&'b [u8]),
}

fn each_field<'b>(
    mut body: &'b [u8],
    mut found: impl FnMut(u64, Wire<'b>) -> Result<(), String>,
) -> Result<(), String> {
    while !body.is_empty() {
        let key = varint(&mut body)?;
        let wire = match key & 7 {
            0 => Wire::Number(varint(&mut body)?),
            2 => {
                let length = usize::try_from(varint(&mut body)?).unwrap_or(usize::MAX);
                let (bytes, rest) = body.split_at_checked(length).ok_or("the protobuf body is cut off")?;
                body = rest;
                Wire::Bytes(bytes)
            }
            other => {
                return Err(format!("protobuf wire type {other} is not expected in a Kubernetes object"));
            }
        };
        found(key >> 3, wire)?;
    }
    Ok(())
}

fn varint(body: &mut &[u8]) -> Result<u64, String> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let (first, rest) = body.split_first().ok_or("the protobuf body is cut off")?;
        *body = rest;
        number |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err("a protobuf number is too long".into())
}

fn string(bytes: &[u8]) -> Result<String, String> {
    String::from_utf8(bytes.to_vec()).map_err(|error| format!("a protobuf text is not UTF-8: {error}"))
}

fn message(body: &[u8], fields: &[Field]) -> Result<Value, String> {
    let mut members = Map::new();
    each_field(body, |number, wire| {
        let Some((_, name, kind)) = fields.iter().find(|(known, _, _)| *known == number) else {
            // A message whose fields are all unknown here is one that is not looked at.
            return if fields.is_empty() {
                Ok(())
            } else {
                Err(format!("protobuf field {number} is not known here"))
            };
        };
        let value = scalar(*kind, wire)?;
        match kind {
            Kind::TextMap | Kind::BytesMap => {
                let map = members.entry(*name).or_insert_with(|| Value::Object(Map::new()));
                if let (Some(map), Value::Object(entry)) = (map.as_object_mut(), value) {
                    map.extend(entry);
                }
            }
            Kind::Texts | Kind::Messages(_) => {
                let list = members.entry(*name).or_insert_with(|| Value::Array(Vec::new()));
                if let Some(list) = list.as_array_mut() {
                    list.push(value);
                }
            }
            // Go writes every text, also the empty one that stands for none.
            _ if value == "" || value.is_null() => {}
            _ => {
                members.insert((*name).to_owned(), value);
            }
        }
        Ok(())
    })?;
    Ok(members.into())
}

fn scalar(kind: Kind, wire: Wire<'_>) -> Result<Value, String> {
    Ok(match (kind, wire) {
        (Kind::Text | Kind::Texts, Wire::Bytes(text)) => string(text)?.into(),
        (Kind::Flag, Wire::Number(flag)) => (flag != 0).into(),
        (Kind::Number, Wire::Number(number)) => number.cast_signed().into(),
        (Kind::Time, Wire::Bytes(time)) => instant(time)?,
        (Kind::Message(fields) | Kind::Messages(fields), Wire::Bytes(body)) => message(body, fields)?,
        (Kind::TextMap | Kind::BytesMap, Wire::Bytes(entry)) => map_entry(kind, entry)?,
        _ => return Err("a protobuf field has another wire type than its kind".into()),
    })
}

fn map_entry(kind: Kind, entry: &[u8]) -> Result<Value, String> {
    let (mut key, mut value) = (String::new(), Value::from(""));
    each_field(entry, |number, wire| {
        match (number, wire) {
            (1, Wire::Bytes(text)) => key = string(text)?,
            (2, Wire::Bytes(bytes)) if matches!(kind, Kind::BytesMap) => {
                value = BASE64_STANDARD.encode(bytes).into();
            }
            (2, Wire::Bytes(text)) => value = string(text)?.into(),
            _ => {}
        }
        Ok(())
    })?;
    Ok([(key, value)].into_iter().collect::<Map<_, _>>().into())
}

fn instant(body: &[u8]) -> Result<Value, String> {
    let mut when = 0_i64;
    each_field(body, |number, wire| {
        if let (1, Wire::Number(number)) = (number, wire) {
            when = number.cast_signed();
        }
        Ok(())
    })?;
    // The zero time of Go is far in the past and means none.
    Ok(match Timestamp::from_second(when) {
        Ok(instant) if when > 0 => seconds(instant).into(),
        _ => Value::Null,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        let length = u8::try_from(bytes.len()).expect("a short sample");
        [&[number << 3 | 2, length], bytes].concat()
    }

    fn object(kind: &str, raw: &[u8]) -> Vec<u8> {
        let kind = [field(1, b"v1"), field(2, kind.as_bytes())].concat();
        [MAGIC, &field(1, &kind), &field(2, raw)].concat()
    }

    #[test]
    fn a_secret_is_read() {
        let label = [field(1, b"a"), field(2, b"b")].concat();
        let metadata = [field(1, b"s"), field(2, b""), field(8, &[]), field(11, &label)].concat();
        let entry = [field(1, b"key"), field(2, b"value")].concat();
        let raw = [field(1, &metadata), field(2, &entry), field(3, b"Opaque"), vec![5 << 3, 1]].concat();
        assert_eq!(
            read(&object("Secret", &raw)),
            Ok(json!({
                "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "labels": {"a": "b"}},
                "data": {"key": "dmFsdWU="}, "type": "Opaque", "immutable": true,
            }))
        );
    }

    #[test]
    fn what_is_not_known_is_refused_and_not_dropped() {
        assert!(read(&object("Deployment", &[])).expect_err("not read").contains("--filename"));
        assert!(read(&object("ConfigMap", &field(9, b"x"))).expect_err("not known").contains("field 9"));
    }

    proptest! {
        #[test]
        fn no_body_breaks_the_reader(raw in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = read(&object("Secret", &raw[..raw.len().min(100)]));
            let _ = read(&raw);
        }
    }
}

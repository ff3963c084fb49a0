//! The few XML documents that S3 answers with, as a tree. White space is kept: keys may begin or end with it.

use quick_xml::Reader;
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::Event;

use super::S3Error;

/// One element: its name without prefix, its text, and the elements in it.
#[derive(Debug, Default)]
pub(super) struct Element {
    pub(super) name: String,
    pub(super) text: String,
    pub(super) children: Vec<Element>,
}

impl Element {
    /// Every child with this name.
    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Element> {
        self.children.iter().filter(move |child| child.name == name)
    }

    /// The text of the first child with this name.
    pub(super) fn text_of(&self, name: &str) -> Option<&str> {
        self.children.iter().find(|child| child.name == name).map(|child| child.text.as_str())
    }
}

/// Reads `document`, the answer to `operation`.
pub(super) fn parse(operation: &'static str, document: &[u8]) -> Result<Element, S3Error> {
    let malformed = |reason: String| S3Error::Malformed { operation, reason };
    let mut reader = Reader::from_reader(document);
    let mut open = vec![Element::default()];
    loop {
        let event = reader.read_event().map_err(|error| malformed(error.to_string()))?;
        let Some(current) = open.last_mut() else { return Err(malformed("unbalanced elements".into())) };
        match event {
            Event::Start(start) => {
                let name = String::from_utf8_lossy(start.local_name().as_ref()).into_owned();
                open.push(Element { name, ..Element::default() });
            }
            Event::Empty(empty) => {
                let name = String::from_utf8_lossy(empty.local_name().as_ref()).into_owned();
                current.children.push(Element { name, ..Element::default() });
            }
            Event::Text(text) => {
                current.text.push_str(&text.decode().map_err(|error| malformed(error.to_string()))?);
            }
            Event::CData(text) => current.text.push_str(&String::from_utf8_lossy(&text)),
            Event::GeneralRef(reference) => {
                let character = reference.resolve_char_ref().map_err(|error| malformed(error.to_string()))?;
                if let Some(character) = character {
                    current.text.push(character);
                } else {
                    let name = String::from_utf8_lossy(&reference).into_owned();
                    let text = resolve_predefined_entity(&name)
                        .ok_or_else(|| malformed(format!("unknown entity {name:?}")))?;
                    current.text.push_str(text);
                }
            }
            Event::End(_) => {
                let done = open.pop().unwrap_or_default();
                let Some(parent) = open.last_mut() else {
                    return Err(malformed("unbalanced elements".into()));
                };
                parent.children.push(done);
            }
            Event::Eof => break,
            _ => {}
        }
    }
    match (open.len(), open.pop().map(|mut root| root.children.pop())) {
        (1, Some(Some(document))) => Ok(document),
        _ => Err(malformed("no complete document".into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_out_as_they_are() {
        let document = parse(
            "ListObjectsV2",
            b"<?xml version=\"1.0\"?><R xmlns='x'><C><K> a &amp; &#252; </K></C><C><K/></C></R>",
        )
        .expect("a document");
        let keys: Vec<_> = document.all("C").filter_map(|child| child.text_of("K")).collect();
        assert_eq!(keys, [" a & ü ", ""]);
    }

    #[test]
    fn half_a_document_is_an_error() {
        assert!(parse("ListObjectsV2", b"<R><C>").is_err());
        assert!(parse("ListObjectsV2", b"").is_err());
        assert!(parse("ListObjectsV2", b"hello").is_err());
    }
}

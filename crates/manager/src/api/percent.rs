//! Percent-decoding that keeps what it can't decode, as hand-written queries need it (`e2b-api.md` §4.4).

/// Decodes `%XX`; an invalid escape stays as it is, and bytes that aren't UTF-8 become U+FFFD.
pub(crate) fn percent_decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut position = 0;
    while let Some(&byte) = bytes.get(position) {
        if let (b'%', Some(value)) = (byte, escaped(bytes, position)) {
            decoded.push(value);
            position += 3;
        } else {
            decoded.push(byte);
            position += 1;
        }
    }
    String::from_utf8(decoded).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

/// Decodes one side of a form pair: `+` is a space, then [`percent_decode`].
pub(crate) fn form_decode(text: &str) -> String {
    percent_decode(&text.replace('+', " "))
}

/// The decoded pairs of a query string, in order.
pub(crate) fn query_pairs(query: &str) -> impl Iterator<Item = (String, String)> + '_ {
    query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (form_decode(key), form_decode(value))
    })
}

fn escaped(bytes: &[u8], position: usize) -> Option<u8> {
    let digit = |offset: usize| char::from(*bytes.get(position + offset)?).to_digit(16);
    u8::try_from(digit(1)? * 16 + digit(2)?).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("a%20b", "a b")]
    #[case("100%", "100%")]
    #[case("%zz%4", "%zz%4")]
    #[case("%C3%A9", "é")]
    #[case("a+b", "a+b")]
    fn decodes_what_is_an_escape(#[case] text: &str, #[case] decoded: &str) {
        assert_eq!(percent_decode(text), decoded);
    }

    proptest! {
        #[test]
        fn never_panics(text in "\\PC*") {
            let _ = percent_decode(&text);
            let _ = query_pairs(&text).count();
        }
    }
}

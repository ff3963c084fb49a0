//! One dialect of YAML for everything: version 1.2, so `y`, `yes` and `on` are texts.

use serde::de::DeserializeOwned;

/// Every document of a text.
pub(crate) fn documents<T: DeserializeOwned>(text: &str) -> Result<Vec<T>, serde_saphyr::Error> {
    serde_saphyr::from_multiple_with_options(text, serde_saphyr::options! { strict_booleans: true })
}

/// What the parser says, in one line and without the place, which messages have already.
pub(crate) fn words(error: &serde_saphyr::Error) -> String {
    let words = error.without_snippet().render();
    let first = words.lines().next().unwrap_or_default();
    // The parser advises its caller here, not the file's author.
    let first = first.split(", set DuplicateKeyPolicy").next().unwrap_or(first);
    first.split(" at line ").next().unwrap_or(first).to_owned()
}

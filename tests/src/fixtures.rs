//! The files of the repository that tests use.

use std::path::{Path, PathBuf};

/// The repository's root folder.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package lies in the repository").to_owned()
}

/// The text of a file below `fixtures/`, with every placeholder of `values` filled in.
pub fn fixture(name: &str, values: &[(&str, &str)]) -> String {
    let path = repository().join("fixtures").join(name);
    let text =
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("read {}: {error}", path.display()));
    values.iter().fold(text, |text, (placeholder, value)| {
        assert!(text.contains(placeholder), "{name} has no placeholder {placeholder}");
        text.replace(placeholder, value)
    })
}

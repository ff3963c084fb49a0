//! Media types of files by their names, as ossfs has them from `/etc/mime.types`: who reads an object over HTTP gets
//! it as what it is.

use super::attributes::FILE_CONTENT;

/// The media type of a file called `name`.
pub(super) fn of(name: &str) -> &'static str {
    mime_guess::from_path(name).first_raw().unwrap_or(FILE_CONTENT)
}

/// The media type that an object called `name` is saved with, if it has been `known` so far. One that somebody chose
/// is kept.
pub(super) fn saved<'a>(known: &'a str, name: &str) -> &'a str {
    if matches!(known, "" | FILE_CONTENT) { of(name) } else { known }
}

/// The media type of an object of type `known` after its rename, or nothing if that stays as it is.
pub(super) fn renamed(known: &str, from: &str, to: &str) -> Option<&'static str> {
    let chosen = !matches!(known, "" | FILE_CONTENT) && known != of(from);
    (!chosen && of(to) != known && !(known.is_empty() && of(to) == FILE_CONTENT)).then(|| of(to))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("a.html", "text/html")]
    #[case("archive.tar.gz", "application/gzip")]
    #[case("PHOTO.JPG", "image/jpeg")]
    #[case("Makefile", FILE_CONTENT)]
    #[case(".html", FILE_CONTENT)]
    fn types(#[case] name: &str, #[case] expected: &str) {
        assert_eq!(of(name), expected);
    }

    #[rstest]
    #[case::atomic_save(FILE_CONTENT, "page.html.tmp", "page.html", Some("text/html"))]
    #[case::away("text/html", "page.html", "page.bak", Some(FILE_CONTENT))]
    #[case::same("text/html", "a.html", "b.html", None)]
    #[case::plain(FILE_CONTENT, "a", "b", None)]
    #[case::none("", "a", "b", None)]
    #[case::chosen("video/special", "a.html", "b.txt", None)]
    fn renames(#[case] known: &str, #[case] from: &str, #[case] to: &str, #[case] expected: Option<&str>) {
        assert_eq!(renamed(known, from, to), expected);
    }

    #[test]
    fn a_chosen_type_is_kept_and_none_is_guessed() {
        assert_eq!(saved("video/special", "a.html"), "video/special");
        assert_eq!(saved(FILE_CONTENT, "a.html"), "text/html");
        assert_eq!(saved("", "a"), FILE_CONTENT);
    }
}

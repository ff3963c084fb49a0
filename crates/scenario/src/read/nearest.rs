//! The known name that a misspelt one most likely means.

/// The nearest of `known` to `name`, if one is near enough to be meant.
pub(crate) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let folded = name.to_lowercase();
    known
        .map(|candidate| (strsim::damerau_levenshtein(&folded, &candidate.to_lowercase()), candidate))
        .filter(|(distance, candidate)| *distance <= candidate.chars().count().max(3) / 3)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rstest::rstest]
    #[case("stdotu", Some("stdout"))]
    #[case("exit_code", Some("exitCode"))]
    #[case("STDOUT", Some("stdout"))]
    #[case("colour", None)]
    #[case("", None)]
    fn only_near_names_are_offered(#[case] name: &str, #[case] expected: Option<&str>) {
        assert_eq!(nearest(name, ["stdout", "stderr", "exitCode"].into_iter()), expected);
    }
}

//! Which users and groups exist here.
//!
//! A lab of an ordinary user's may live in a user namespace in which only root exists. Files that belonged to
//! somebody else there could be read by everybody and written by nobody, so defaults that name such an owner are
//! dropped; what a volume asks for itself stays.

use std::fs;

use crate::oss::FuseOption;

/// Without the default owners that don't exist in this process's user namespace.
pub(crate) fn without_strangers(mut defaults: Vec<FuseOption>) -> Vec<FuseOption> {
    let read = |file: &str| fs::read_to_string(file).unwrap_or_default();
    let (users, groups) = (read("/proc/self/uid_map"), read("/proc/self/gid_map"));
    defaults.retain(|option| match option.name.as_str() {
        "uid" => exists(&users, option),
        "gid" => exists(&groups, option),
        _ => true,
    });
    defaults
}

/// Whether `map`, the text of a `uid_map` or `gid_map`, has the number that `option` names. An unreadable map has
/// everybody; a value that is no number is left to whoever reads the option.
fn exists(map: &str, option: &FuseOption) -> bool {
    let Some(id) = option.value.as_ref().and_then(|value| value.parse::<u64>().ok()) else { return true };
    let mut ranges = map.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let first = words.next()?.parse::<u64>().ok()?;
        let length = words.nth(1)?.parse::<u64>().ok()?;
        Some(first..first.saturating_add(length))
    });
    map.trim().is_empty() || ranges.any(|range| range.contains(&id))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::machine("         0          0 4294967295\n", "1000", true)]
    #[case::only_root("0 54321 1\n", "1000", false)]
    #[case::root_itself("0 54321 1\n", "0", true)]
    #[case::ranges("0 1001 1\n1 100000 65536\n", "1000", true)]
    #[case::past_the_range("0 1001 1\n1 100000 999\n", "1000", false)]
    #[case::unreadable("", "1000", true)]
    #[case::no_number("0 54321 1\n", "user", true)]
    fn owners(#[case] map: &str, #[case] value: &str, #[case] expected: bool) {
        let option = FuseOption { name: "uid".into(), value: Some(value.into()) };
        assert_eq!(exists(map, &option), expected);
    }
}

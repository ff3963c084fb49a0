//! One page of a bucket's listing: prefix, delimiter, where to go on.

use std::collections::BTreeMap;
use std::ops::Bound;

/// What to list.
#[derive(Clone, Debug, Default)]
pub(crate) struct Query {
    /// Only keys that start with this.
    pub(crate) prefix: String,
    /// Keys that have this after the prefix are rolled up into one common prefix; empty means none are.
    pub(crate) delimiter: String,
    /// Only what sorts after this.
    pub(crate) after: String,
    /// How many keys and common prefixes at most.
    pub(crate) limit: usize,
}

/// One line of a listing.
#[derive(Debug, PartialEq)]
pub(crate) enum Item<'map, V> {
    /// A key and what it stands for.
    Key(&'map str, &'map V),
    /// A common prefix of one or more keys.
    Prefix(&'map str),
}

impl<V> Item<'_, V> {
    /// What the listing goes on after, once this was its last line.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Key(name, _) | Self::Prefix(name) => name,
        }
    }
}

/// A page of a listing.
#[derive(Debug)]
pub(crate) struct Page<'map, V> {
    /// The lines, in the order of their bytes.
    pub(crate) items: Vec<Item<'map, V>>,
    /// Whether there are more.
    pub(crate) truncated: bool,
}

/// The page of `keys` that `query` asks for.
pub(crate) fn list<'map, V>(keys: &'map BTreeMap<String, V>, query: &Query) -> Page<'map, V> {
    let mut page = Page { items: Vec::new(), truncated: false };
    let mut start = start(query);
    while let Some((key, value)) = keys.range::<str, _>((as_str(&start), Bound::Unbounded)).next() {
        if !key.starts_with(&query.prefix) {
            break;
        }
        if page.items.len() == query.limit {
            page.truncated = query.limit > 0;
            break;
        }
        if let Some(common) = common_prefix(key, query) {
            page.items.push(Item::Prefix(common));
            let Some(next) = successor(common) else { break };
            start = Bound::Included(next);
        } else {
            page.items.push(Item::Key(key, value));
            start = Bound::Excluded(key.clone());
        }
    }
    page
}

fn as_str(bound: &Bound<String>) -> Bound<&str> {
    bound.as_ref().map(String::as_str)
}

/// Where the first line can be: after `after`, and past everything below it when it is itself a common prefix.
fn start(query: &Query) -> Bound<String> {
    let first_of_prefix = || Bound::Included(query.prefix.clone());
    if query.after < query.prefix {
        return first_of_prefix();
    }
    match common_prefix(&query.after, query) {
        Some(common) if common == query.after => {
            successor(common).map_or_else(|| Bound::Excluded(query.after.clone()), Bound::Included)
        }
        _ if query.after.is_empty() => first_of_prefix(),
        _ => Bound::Excluded(query.after.clone()),
    }
}

/// The part of `key` up to and with the first delimiter after the prefix.
fn common_prefix<'key>(key: &'key str, query: &Query) -> Option<&'key str> {
    if query.delimiter.is_empty() {
        return None;
    }
    let rest = key.strip_prefix(query.prefix.as_str())?;
    let position = rest.find(&query.delimiter)?;
    key.get(..query.prefix.len() + position + query.delimiter.len())
}

/// The smallest text that sorts after every text starting with `prefix`; nothing when there is none.
fn successor(prefix: &str) -> Option<String> {
    let mut characters: Vec<char> = prefix.chars().collect();
    while let Some(last) = characters.pop() {
        // the code points between 0xD7FF and 0xE000 are no characters
        let next = if last == '\u{D7FF}' { Some('\u{E000}') } else { char::from_u32(u32::from(last) + 1) };
        if let Some(next) = next {
            characters.push(next);
            return Some(characters.into_iter().collect());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    fn names(keys: &[&str], query: &Query) -> (Vec<String>, bool) {
        let map: BTreeMap<String, u8> = keys.iter().map(|key| ((*key).to_owned(), 0)).collect();
        let page = list(&map, query);
        (page.items.iter().map(|item| item.name().to_owned()).collect(), page.truncated)
    }

    #[rstest]
    #[case::everything("", "", "", &["a", "b/c", "b/d", "b/e/f", "c/", "é"])]
    #[case::top_level("", "/", "", &["a", "b/", "c/", "é"])]
    #[case::folder("b/", "/", "", &["b/c", "b/d", "b/e/"])]
    #[case::folder_marker_is_a_key("c/", "/", "", &["c/"])]
    #[case::after_a_key("", "", "b/c", &["b/d", "b/e/f", "c/", "é"])]
    #[case::after_a_common_prefix("", "/", "b/", &["c/", "é"])]
    #[case::after_a_key_below_a_common_prefix("", "/", "b/c", &["b/", "c/", "é"])]
    #[case::after_before_the_prefix("b/", "", "a", &["b/c", "b/d", "b/e/f"])]
    #[case::after_past_the_prefix("b/", "", "c", &[])]
    #[case::long_delimiter("", "/e/", "", &["a", "b/c", "b/d", "b/e/", "c/", "é"])]
    fn a_listing(
        #[case] prefix: &str,
        #[case] delimiter: &str,
        #[case] after: &str,
        #[case] expected: &[&str],
    ) {
        let keys = ["a", "b/c", "b/d", "b/e/f", "c/", "é"];
        let query = Query {
            prefix: prefix.to_owned(),
            delimiter: delimiter.to_owned(),
            after: after.to_owned(),
            limit: 1000,
        };
        assert_eq!(names(&keys, &query), (expected.iter().map(ToString::to_string).collect(), false));
    }

    #[test]
    fn a_limit_of_nothing_is_a_complete_page() {
        assert_eq!(names(&["a"], &Query::default()), (vec![], false));
    }

    proptest! {
        /// Pages of any size, one after the other, are the whole listing.
        #[test]
        fn pages_add_up(
            keys in prop::collection::btree_set("[ab/é]{1,5}", 0..40),
            prefix in "[ab/]{0,2}",
            delimiter in "/?",
            limit in 1_usize..5,
        ) {
            let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
            let mut query = Query { prefix, delimiter, after: String::new(), limit: 1000 };
            let (whole, _) = names(&keys, &query);
            query.limit = limit;
            let mut paged = Vec::new();
            loop {
                let (page, truncated) = names(&keys, &query);
                prop_assert_eq!(truncated, paged.len() + page.len() < whole.len());
                paged.extend(page);
                if !truncated {
                    break;
                }
                query.after = paged.last().cloned().unwrap_or_default();
            }
            prop_assert_eq!(paged, whole);
        }

        #[test]
        fn a_successor_is_past_the_prefix(prefix in "\\PC{1,3}", rest in "\\PC{0,3}") {
            let next = successor(&prefix).unwrap_or_default();
            let longer = [prefix.as_str(), rest.as_str()].concat();
            prop_assert!(next > longer);
            prop_assert!(next > prefix);
        }
    }
}

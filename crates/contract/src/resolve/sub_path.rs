//! Merging a sub path into a volume's own path (`storage.md` §2.5): pure text, no file system.

use std::collections::BTreeMap;

use super::attribute_key;
use crate::errors::{Code, Problem};
use crate::paths::clean;

const PATH: &str = "path";

/// Merges `sub_path` into attribute `path`, under the spelling the volume uses. An empty sub path changes nothing.
pub(super) fn merge_into(attributes: &mut BTreeMap<String, String>, sub_path: &str) -> Result<(), Problem> {
    if sub_path.is_empty() {
        return Ok(());
    }
    let key = attribute_key(attributes, PATH).unwrap_or(PATH).to_owned();
    let base = attributes.get(&key).map_or("/", String::as_str);
    let merged = merge_sub_path(base, sub_path)?;
    attributes.insert(key, merged);
    Ok(())
}

/// `sub_path` below `base`. Leading slashes of the sub path are dropped; the result never leaves the base.
///
/// # Errors
/// [`Code::InvalidSubPath`] with the reason.
pub fn merge_sub_path(base: &str, sub_path: &str) -> Result<String, Problem> {
    let refuse = |reason: &str| {
        let message = format!("failed to merge and validate paths: {reason}");
        Err(Problem::new(Code::InvalidSubPath, message))
    };
    if base.is_empty() {
        return refuse("base path cannot be empty");
    }
    if !base.starts_with('/') {
        return refuse("the volume's base path must be an absolute path");
    }
    let relative = sub_path.trim_start_matches('/');
    if matches!(relative, "" | "." | "..") {
        return refuse("sub path cannot be . or ..");
    }
    let cleaned = clean(relative);
    if cleaned.starts_with("..") {
        return refuse("sub path must not traverse to parent");
    }
    if cleaned.contains('\0') {
        return refuse("sub path contains null byte");
    }
    let merged = clean(&format!("{base}/{cleaned}"));
    let stem = base.trim_end_matches('/');
    if merged == stem || merged.starts_with(&format!("{stem}/")) {
        return Ok(merged);
    }
    refuse("the merged path is not within base path")
}

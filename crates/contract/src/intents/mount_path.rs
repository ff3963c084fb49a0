//! Rules for a mount path (`storage.md` §1.5).

use crate::errors::{Code, Problem};
use crate::paths::clean;

/// Longest path in bytes.
pub const PATH_LIMIT: usize = 4095;
/// Longest component in bytes.
pub const COMPONENT_LIMIT: usize = 255;
/// Kernel trees and the machinery itself: nothing may be mounted at or below them.
pub const RESERVED_TREES: [&str; 6] = ["/proc", "/sys", "/dev", "/run/csi", "/var/run/csi", "/mnt/envd"];

/// Checks in the order of the contract; the first failure is reported. An accepted path is absolute and its own
/// normal form.
///
/// # Errors
/// [`Code::InvalidMountPath`] with the reason.
pub fn check_mount_path(path: &str) -> Result<(), Problem> {
    let refuse = |reason: String| Err(Problem::new(Code::InvalidMountPath, reason));
    if path.is_empty() {
        return refuse("the mount path cannot be empty".to_owned());
    }
    if !path.starts_with('/') {
        return refuse("the mount path must start with '/'".to_owned());
    }
    if path.contains("..") {
        return refuse("the mount path has an invalid '..' path element".to_owned());
    }
    if path.contains('\0') {
        return refuse("the mount path contains a null byte".to_owned());
    }
    if clean(path) != path {
        return refuse(
            "the mount path has invalid path elements: no '//', no '/./', no trailing '/'".to_owned(),
        );
    }
    if path == "/" {
        return refuse("the root directory cannot be a mount path".to_owned());
    }
    if path.len() > PATH_LIMIT {
        return refuse(format!("the mount path is longer than {PATH_LIMIT} bytes"));
    }
    if path.split('/').any(|component| component.len() > COMPONENT_LIMIT) {
        return refuse(format!("a component of the mount path is longer than {COMPONENT_LIMIT} bytes"));
    }
    match RESERVED_TREES.iter().find(|tree| is_at_or_below(path, tree)) {
        Some(tree) => refuse(format!("the mount path is at or below the reserved directory {tree}")),
        None => Ok(()),
    }
}

/// Whether `path` is `tree` or lies below it, component by component.
pub(super) fn is_at_or_below(path: &str, tree: &str) -> bool {
    path.strip_prefix(tree).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// A path as an error message shows it: without control characters and not endless.
pub(super) fn shown(path: &str) -> String {
    const SHOWN: usize = 200;
    let mut text: String = path.chars().take(SHOWN).flat_map(char::escape_debug).collect();
    if path.chars().count() > SHOWN {
        text.push('…');
    }
    text
}

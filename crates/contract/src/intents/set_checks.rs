//! Checks on the whole list of mounts (`storage.md` §1.5, set-level checks, and §1.9).

use super::mount_path::is_at_or_below;
use super::{MountIntent, encode_annotation};
use crate::errors::{Code, Problem};

/// Mounts per sandbox.
pub const MOUNT_LIMIT: usize = 16;

/// Bytes the persisted list may take: all annotations of an object together may have 256 KiB, and the rest need some.
pub const ANNOTATION_LIMIT: usize = 192 * 1024;

/// Refuses repeated and nested mount paths, too many mounts, and a list too large for an annotation.
///
/// # Errors
/// [`Code::TooManyMounts`], [`Code::DuplicateMountPath`], [`Code::NestedMountPath`] or [`Code::MountListTooLarge`].
pub fn check_set(intents: &[MountIntent]) -> Result<(), Problem> {
    if intents.len() > MOUNT_LIMIT {
        let message =
            format!("{} mounts are asked for, a sandbox can have at most {MOUNT_LIMIT}", intents.len());
        return Err(Problem::new(Code::TooManyMounts, message));
    }
    for (index, intent) in intents.iter().enumerate() {
        for earlier in &intents[..index] {
            check_pair(&earlier.mount_path, &intent.mount_path)?;
        }
    }
    let size = encode_annotation(intents).len();
    if size > ANNOTATION_LIMIT {
        let message = format!("the mount list takes {size} bytes, the limit is {ANNOTATION_LIMIT}");
        return Err(Problem::new(Code::MountListTooLarge, message));
    }
    Ok(())
}

fn check_pair(one: &str, other: &str) -> Result<(), Problem> {
    if one == other {
        return Err(Problem::new(Code::DuplicateMountPath, format!("the mount path {one} is duplicated")));
    }
    let nested = |inner: &str, outer: &str| {
        let message = format!("the mount path {inner} is inside the mount path {outer}");
        Err(Problem::new(Code::NestedMountPath, message))
    };
    if is_at_or_below(one, other) {
        return nested(one, other);
    }
    if is_at_or_below(other, one) {
        return nested(other, one);
    }
    Ok(())
}

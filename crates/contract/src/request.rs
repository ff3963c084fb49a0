//! The metadata and mount list of a create request as a whole (`storage.md` §1.2, `e2b-api.md` §6.1).

use std::collections::BTreeMap;

use crate::errors::{Code, Problem};
use crate::extensions::{self, Extensions};
use crate::intents::{self, MountIntent, VolumeMount};
use crate::names::{E2B_PREFIX, INTERNAL_PREFIX, metadata_keys as keys};

/// Everything that a create request says through metadata and `volumeMounts`. What is left in the metadata is the
/// user's own.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CreateOptions {
    /// Effective mounts, in the order asked for.
    pub mounts: Vec<MountIntent>,
    /// Extension keys other than the mount keys.
    pub extensions: Extensions,
}

/// Steps 2 to 7 of `storage.md` §1.2 in their order. Afterwards `metadata` holds only the user's own entries.
///
/// # Errors
/// The first problem, HTTP 400. Those of extension keys begin with `Bad extension param`.
pub fn parse(
    metadata: &mut BTreeMap<String, String>,
    volume_mounts: &[VolumeMount],
) -> Result<CreateOptions, Problem> {
    let from_body = intents::check_body_list(volume_mounts)?;
    let bad = |problem: Problem| problem.within("Bad extension param");
    let extensions = extensions::parse(metadata).map_err(bad)?;
    let mounts = intents::parse_metadata(metadata).map_err(bad)?.unwrap_or(from_body);
    intents::check_set(&mounts)?;
    check_remaining(metadata)?;
    if extensions.skip_init_runtime && !mounts.is_empty() {
        return Err(Problem::new(
            Code::MountNeedsRuntimeInit,
            format!("init runtime is required for mounting storage, but {} is true", keys::SKIP_INIT_RUNTIME),
        ));
    }
    Ok(CreateOptions { mounts, extensions })
}

/// Step 7: the keys that nobody consumed must be qualified names below no reserved prefix.
///
/// # Errors
/// [`Code::InvalidMetadataKey`] or [`Code::UnknownExtensionKey`]; the latter names the nearest known key.
pub fn check_remaining(metadata: &BTreeMap<String, String>) -> Result<(), Problem> {
    metadata.keys().try_for_each(|key| check_key(key))
}

fn check_key(key: &str) -> Result<(), Problem> {
    if key.starts_with(E2B_PREFIX) || key.starts_with(INTERNAL_PREFIX) {
        return Err(forbidden(key));
    }
    if !extensions::is_qualified_name(key) {
        let message =
            format!("Unqualified metadata key {key:?}: use [prefix/]name, name at most 63 of [A-Za-z0-9._-]");
        return Err(Problem::new(Code::InvalidMetadataKey, message));
    }
    Ok(())
}

fn forbidden(key: &str) -> Problem {
    if key == keys::CSI_SUBPATH {
        let message = format!(
            "Forbidden metadata key {key:?}: it needs {} and {} beside it",
            keys::CSI_VOLUME_NAME,
            keys::CSI_MOUNT_POINT
        );
        return Problem::new(Code::IncompleteMountKeys, message);
    }
    let message = match nearest(key) {
        Some(known) => {
            format!("Forbidden metadata key {key:?}: no such extension key, the nearest is {known:?}")
        }
        None => format!("Forbidden metadata key {key:?}: the prefix is reserved"),
    };
    Problem::new(Code::UnknownExtensionKey, message)
}

/// The known extension key that is spelt most like `key`; swapped words count as one slip.
pub fn nearest(key: &str) -> Option<&'static str> {
    let name = |key: &str| key.rsplit_once('/').map_or(key, |(_, name)| name).to_lowercase();
    let wanted = name(key);
    let distance = |known: &str| {
        let as_written = strsim::damerau_levenshtein(known, &wanted);
        let reordered = strsim::damerau_levenshtein(&in_word_order(known), &in_word_order(&wanted)) + 1;
        as_written.min(reordered)
    };
    keys::ALL.iter().copied().min_by_key(|known| distance(&name(known)))
}

/// The words of a name in alphabetical order.
fn in_word_order(name: &str) -> String {
    let mut words: Vec<&str> = name.split('-').collect();
    words.sort_unstable();
    words.join("-")
}

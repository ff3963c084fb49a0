//! What every driver demands of a request (`storage.md` §6.1).

use std::path::{Component, Path, PathBuf};

use csi_api::volume_capability::AccessType;
use csi_api::{NodePublishVolumeRequest, VolumeCapability};

use crate::driver::Refusal;

/// The target of a publication: absolute, without `..`, and at no place where a mount would do harm.
///
/// # Errors
/// `InvalidArgument` where it isn't that. `search_path` is the list of directories of executable files, as in `PATH`.
pub(crate) fn target(path: &str, search_path: &str) -> Result<PathBuf, Refusal> {
    if path.is_empty() {
        return Err(Refusal::invalid("target_path is empty"));
    }
    let target = Path::new(path);
    if !target.is_absolute() {
        return Err(Refusal::invalid(format!("target_path {path:?} is not absolute")));
    }
    if target.components().any(|component| component == Component::ParentDir) || path.contains('\0') {
        return Err(Refusal::invalid(format!("target_path {path:?} has a component that leads out of it")));
    }
    let target: PathBuf = target.components().collect();
    if target.starts_with("/proc") || target == Path::new("/") {
        return Err(Refusal::invalid(format!("target_path {path:?} is no place for a mount")));
    }
    // The target itself may be a mount that hangs, and is not looked at here.
    let resolved = match (target.parent(), target.file_name()) {
        (Some(parent), Some(name)) => resolve(parent).join(name),
        _ => target.clone(),
    };
    let forbidden = std::env::split_paths(search_path)
        .filter(|directory| directory.is_absolute() && directory.parent().is_some())
        .find(|directory| resolved.starts_with(directory) || resolved.starts_with(resolve(directory)));
    if let Some(directory) = forbidden {
        return Err(Refusal::invalid(format!(
            "target_path {path:?} lies under {}, where programs are searched",
            directory.display()
        )));
    }
    Ok(target)
}

/// `path` without symbolic links, as far as it exists.
fn resolve(path: &Path) -> PathBuf {
    for ancestor in path.ancestors() {
        if let (Ok(resolved), Ok(rest)) = (ancestor.canonicalize(), path.strip_prefix(ancestor)) {
            return if rest.as_os_str().is_empty() { resolved } else { resolved.join(rest) };
        }
    }
    path.to_owned()
}

/// Id and capability of a publication.
///
/// # Errors
/// `InvalidArgument` where one is missing or isn't a mount.
pub(crate) fn request(request: &NodePublishVolumeRequest) -> Result<(), Refusal> {
    volume_id(&request.volume_id)?;
    if request.target_path.is_empty() {
        return Err(Refusal::invalid("target_path is empty"));
    }
    match &request.volume_capability {
        None => Err(Refusal::invalid("volume_capability is missing")),
        Some(VolumeCapability { access_type: Some(AccessType::Block(_)), .. }) => {
            Err(Refusal::invalid("block volumes are not supported"))
        }
        Some(_) => Ok(()),
    }
}

/// The id of a volume.
///
/// # Errors
/// `InvalidArgument` where it is empty.
pub(crate) fn volume_id(id: &str) -> Result<(), Refusal> {
    if id.is_empty() { Err(Refusal::invalid("volume_id is empty")) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use tonic::Code;

    use super::*;

    const SEARCH_PATH: &str = "/usr/local/bin:/usr/bin:bin:/";

    #[rstest]
    #[case("/run/csi/mount-root/oss/f69e", Some("/run/csi/mount-root/oss/f69e"))]
    #[case("/run//csi/./x/", Some("/run/csi/x"))]
    #[case("", None)]
    #[case("relative", None)]
    #[case("/a/../b", None)]
    #[case("/proc", None)]
    #[case("/proc/self/fd/1", None)]
    #[case("/processes", Some("/processes"))]
    #[case("/", None)]
    #[case("/usr/bin/x", None)]
    #[case("/usr/bin", None)]
    #[case("/usr/binary", Some("/usr/binary"))]
    #[case("/usr", Some("/usr"))]
    fn targets(#[case] path: &str, #[case] expected: Option<&str>) {
        match (target(path, SEARCH_PATH), expected) {
            (Ok(found), Some(expected)) => assert_eq!(found, Path::new(expected)),
            (Err(refusal), None) => assert_eq!(refusal.code, Code::InvalidArgument),
            (found, expected) => panic!("{path}: got {found:?} instead of {expected:?}"),
        }
    }

    #[test]
    fn a_symbolic_link_into_the_search_path_is_seen_through() {
        let directory = tempfile::tempdir().expect("a directory");
        let programs = directory.path().join("programs");
        std::fs::create_dir(&programs).expect("made");
        let link = directory.path().join("link");
        std::os::unix::fs::symlink(&programs, &link).expect("linked");
        let search_path = programs.to_str().expect("text");
        let inside = link.join("x");
        let refusal = target(inside.to_str().expect("text"), search_path).expect_err("refused");
        assert!(refusal.message.contains("where programs are searched"), "{refusal}");
    }
}

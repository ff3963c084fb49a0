//! Symbolic links in a container's root that lead to its mounts.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Component, Path, PathBuf};

/// Folders of the system in which nobody puts links to volumes.
const SKIPPED: [&str; 10] = ["bin", "boot", "dev", "etc", "lib", "lib64", "proc", "sbin", "sys", "usr"];

/// Links at the top level of the root of `process` and one below, with their destinations as container paths.
/// Folders that are mount points themselves are not searched: their file system may not answer.
pub(super) fn find(process: i32, mount_points: &BTreeSet<String>) -> Vec<(String, String)> {
    let root = PathBuf::from(format!("/proc/{process}/root"));
    let mut found = Vec::new();
    for (name, is_directory) in list(&root, Path::new("/"), &mut found) {
        let folder = Path::new("/").join(&name);
        if is_directory
            && !SKIPPED.contains(&name.as_str())
            && !mount_points.contains(&*folder.to_string_lossy())
        {
            list(&root, &folder, &mut found);
        }
    }
    found
}

/// Adds the links in `folder` to `found` and returns the other entries with whether they are directories.
fn list(root: &Path, folder: &Path, found: &mut Vec<(String, String)>) -> Vec<(String, bool)> {
    let inside = folder.strip_prefix("/").unwrap_or(folder);
    let Ok(entries) = fs::read_dir(root.join(inside)) else { return Vec::new() };
    let mut others = Vec::new();
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        match entry.file_type() {
            Ok(kind) if kind.is_symlink() => {
                if let Ok(leads_to) = fs::read_link(entry.path()) {
                    let destination = normal(&folder.join(leads_to));
                    found.push((folder.join(name).to_string_lossy().into_owned(), destination));
                }
            }
            Ok(kind) => others.push((name, kind.is_dir())),
            Err(_) => {}
        }
    }
    others
}

/// An absolute path without `.` and `..`.
fn normal(path: &Path) -> String {
    let mut plain = PathBuf::from("/");
    for component in path.components() {
        match component {
            Component::Normal(name) => plain.push(name),
            Component::ParentDir => {
                plain.pop();
            }
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    plain.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("/a/../b/./c", "/b/c")]
    #[case("/../x", "/x")]
    #[case("/", "/")]
    fn paths_are_made_plain(#[case] path: &str, #[case] expected: &str) {
        assert_eq!(normal(Path::new(path)), expected);
    }
}

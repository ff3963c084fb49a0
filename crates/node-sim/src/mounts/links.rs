//! Symbolic links in a container's root that lead to its mounts.

use std::collections::{BTreeSet, VecDeque};
use std::fs;
use std::path::{Component, Path, PathBuf};

/// Folders of the system in which nobody puts links to volumes, and which are large or not files at all.
const SKIPPED: [&str; 9] = ["bin", "boot", "dev", "lib", "lib64", "proc", "sbin", "sys", "usr"];
/// Folders that are searched at most: links to volumes are near the top, and an image may have any number of folders.
const MOST_FOLDERS: usize = 5000;

/// Links in the root of `process`, those near its top first, with their destinations as container paths. Folders that
/// are mount points themselves are not searched: their file system may not answer.
pub(super) fn find(process: i32, mount_points: &BTreeSet<String>) -> Vec<(String, String)> {
    find_below(&PathBuf::from(format!("/proc/{process}/root")), mount_points)
}

fn find_below(root: &Path, mount_points: &BTreeSet<String>) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = VecDeque::from([PathBuf::from("/")]);
    for _ in 0..MOST_FOLDERS {
        let Some(folder) = folders.pop_front() else { break };
        let at_the_top = folder == Path::new("/");
        for (name, is_directory) in list(root, &folder, &mut found) {
            let inner = folder.join(&name);
            let skipped = at_the_top && SKIPPED.contains(&name.as_str());
            if is_directory && !skipped && !mount_points.contains(&*inner.to_string_lossy()) {
                folders.push_back(inner);
            }
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

    #[test]
    fn links_are_found_however_deep_but_not_in_mounts_and_the_system() {
        let root = tempfile::tempdir().expect("a directory");
        for folder in ["deep/er", "etc/odd", "usr/lib", "volume/inside"] {
            fs::create_dir_all(root.path().join(folder)).expect("made");
        }
        for link in ["top", "deep/er/data", "etc/odd/nas", "usr/lib/x", "volume/inside/y"] {
            std::os::unix::fs::symlink("/run/csi/x", root.path().join(link)).expect("made");
        }
        std::os::unix::fs::symlink("../sibling", root.path().join("deep/relative")).expect("made");
        let found = find_below(root.path(), &BTreeSet::from(["/volume".to_owned()]));
        let mut links: Vec<_> = found.iter().map(|(link, leads_to)| format!("{link} {leads_to}")).collect();
        links.sort();
        let expected = [
            "/deep/er/data /run/csi/x",
            "/deep/relative /sibling",
            "/etc/odd/nas /run/csi/x",
            "/top /run/csi/x",
        ];
        assert_eq!(links, expected);
    }
}

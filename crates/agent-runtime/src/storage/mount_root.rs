//! Finding mount-root in the table of mounts (`storage.md` §4.3).

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use super::Surroundings;
use super::problem::Problem;

/// The mount points of a table, in its order.
pub(super) fn mount_points(table: &[u8]) -> Vec<PathBuf> {
    let lines = table.split(|byte| *byte == b'\n');
    let fields = lines.filter_map(|line| line.split(|byte| *byte == b' ').nth(1));
    fields.map(|field| OsString::from_vec(unescape(field)).into()).collect()
}

/// Decodes the table's octal escapes, such as `\040` for a space.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, after)) = rest.split_first() {
        let digits = after
            .get(..3)
            .filter(|digits| first == b'\\' && digits.iter().all(|digit| (b'0'..b'8').contains(digit)));
        let code =
            digits.map(|digits| digits.iter().fold(0_u32, |code, digit| code * 8 + u32::from(digit - b'0')));
        if let Some(byte) = code.and_then(|code| u8::try_from(code).ok()) {
            plain.push(byte);
            rest = &after[3..];
        } else {
            plain.push(first);
            rest = after;
        }
    }
    plain
}

/// The first mount point whose last component is `name` and that isn't below another one.
fn choose(mount_points: &[PathBuf], name: &str) -> Option<PathBuf> {
    let named = mount_points.iter().filter(|path| path.file_name().is_some_and(|last| last == name));
    let named = named.collect::<Vec<_>>();
    let outermost = |path: &&&PathBuf| !named.iter().any(|other| *other != **path && path.starts_with(other));
    named.iter().find(outermost).map(|path| (**path).clone())
}

/// What the table of mounts tells.
#[derive(Debug)]
pub(super) struct MountTable {
    pub(super) root: PathBuf,
    pub(super) mount_points: Vec<PathBuf>,
}

/// Reads the table and finds mount-root in it.
pub(super) fn find(surroundings: &Surroundings) -> Result<MountTable, Problem> {
    let failed = |text: String| Problem::precondition(format!("failed to find valid mount path: {text}"));
    let name = &surroundings.mount_name;
    let table = std::fs::read(&surroundings.mounts)
        .map_err(|problem| failed(format!("cannot read {}: {problem}", surroundings.mounts.display())))?;
    let mount_points = mount_points(&table);
    let root = choose(&mount_points, name).ok_or_else(|| {
        failed(format!("mount point {name} not found: does the sandbox have the runtime csi?"))
    })?;
    check_directory(&root)
        .map_err(|reason| failed(format!("{} is not accessible: {reason}", root.display())))?;
    Ok(MountTable { root, mount_points })
}

fn check_directory(path: &Path) -> Result<(), String> {
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => Ok(()),
        Ok(_) => Err("it is no directory".into()),
        Err(problem) => Err(problem.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::plain(&["/", "/run/csi/mount-root"], Some("/run/csi/mount-root"))]
    #[case::volumes_below_it(&["/run/csi/mount-root/oss/mount-root", "/run/csi/mount-root"], Some("/run/csi/mount-root"))]
    #[case::a_similar_name(&["/data/mount-root-x", "/data/my-mount-root"], None)]
    #[case::only_below_it(&["/run/csi/mount-root/oss/abc"], None)]
    #[case::two(&["/a/mount-root", "/b/mount-root"], Some("/a/mount-root"))]
    #[case::mounted_twice(&["/a/mount-root", "/a/mount-root"], Some("/a/mount-root"))]
    #[case::none(&["/", "/proc"], None)]
    fn the_outermost_mount_point_of_the_name(#[case] mount_points: &[&str], #[case] expected: Option<&str>) {
        let mount_points = mount_points.iter().map(PathBuf::from).collect::<Vec<_>>();
        assert_eq!(choose(&mount_points, "mount-root"), expected.map(PathBuf::from));
    }

    #[test]
    fn octal_escapes_are_decoded() {
        let table = b"tmpfs /run/my\\040csi/mount-root tmpfs rw 0 0\nproc /proc proc rw 0 0\n/dev/a /b\\134c\\9 ext4 rw 0 0\n";
        let expected = ["/run/my csi/mount-root", "/proc", "/b\\c\\9"].map(PathBuf::from);
        assert_eq!(mount_points(table), expected);
    }

    proptest! {
        #[test]
        fn any_path_survives_the_kernels_escaping(path in "[a-z \t\n\\\\]{1,30}") {
            let escaped = path.bytes().flat_map(|byte| match byte {
                b' ' | b'\t' | b'\n' | b'\\' => format!("\\{byte:03o}").into_bytes(),
                other => vec![other],
            }).collect::<Vec<_>>();
            prop_assert_eq!(unescape(&escaped), path.into_bytes());
        }
    }

    #[test]
    fn a_missing_runtime_and_a_broken_root_are_told_apart() {
        let directory = tempfile::tempdir().expect("a directory");
        let mounts = directory.path().join("mounts");
        let surroundings = Surroundings { mounts: mounts.clone(), ..Surroundings::default() };
        std::fs::write(&mounts, "proc /proc proc rw 0 0\n").expect("written");
        assert!(find(&surroundings).unwrap_err().to_string().contains("not found"));
        std::fs::write(&mounts, "tmpfs /does/not/exist/mount-root tmpfs rw 0 0\n").expect("written");
        assert!(find(&surroundings).unwrap_err().to_string().contains("is not accessible"));
    }
}

//! An entry as it is shown (`e2b-api.md` §12.3).

use std::fs::{self, FileType as Kind, Metadata};
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;

use jiff::Timestamp;

use super::messages::{EntryInfo, FileType};
use crate::envd::accounts::Accounts;
use crate::envd::files::entry::read_metadata;

/// The entry at `path`, a link itself and not what it points to.
pub(super) fn read(path: &Path, accounts: &Accounts) -> io::Result<EntryInfo> {
    let own = fs::symlink_metadata(path)?;
    let target = if own.is_symlink() { fs::metadata(path).ok() } else { Some(own.clone()) };
    let name = path.file_name().map_or_else(|| "/".into(), |name| name.to_string_lossy());
    Ok(EntryInfo {
        name: name.into_owned(),
        // A link that leads nowhere is shown as what it is: the SDKs would hide an entry without a type.
        r#type: target.as_ref().map_or(FileType::Symlink, |target| file_type(target.file_type())),
        path: path.to_string_lossy().into_owned(),
        size: own.len(),
        mode: target.as_ref().unwrap_or(&own).mode() & 0o777,
        permissions: permissions(&own),
        owner: accounts.user_name(own.uid()),
        group: accounts.group_name(own.gid()),
        modified_time: modified(&own),
        symlink_target: own.is_symlink().then(|| resolved(path)),
        metadata: if target.is_some_and(|target| target.is_file()) { read_metadata(path) } else { [].into() },
        is_symlink: own.is_symlink(),
    })
}

fn file_type(kind: Kind) -> FileType {
    if kind.is_dir() {
        FileType::Directory
    } else if kind.is_file() {
        FileType::File
    } else {
        FileType::Unspecified
    }
}

/// Where a link leads; what is written in it when it leads nowhere.
fn resolved(path: &Path) -> String {
    let target = fs::canonicalize(path).or_else(|_| fs::read_link(path)).unwrap_or_default();
    target.to_string_lossy().into_owned()
}

fn modified(metadata: &Metadata) -> String {
    let nanoseconds = i32::try_from(metadata.mtime_nsec()).unwrap_or_default();
    Timestamp::new(metadata.mtime(), nanoseconds).unwrap_or(Timestamp::UNIX_EPOCH).to_string()
}

/// Go's notation: letters for the kind and the special bits, or a dash; then three times `rwx`.
fn permissions(metadata: &Metadata) -> String {
    let (kind, mode) = (metadata.file_type(), metadata.mode());
    let letters = [
        ("d", kind.is_dir()),
        ("L", kind.is_symlink()),
        ("D", kind.is_block_device() || kind.is_char_device()),
        ("p", kind.is_fifo()),
        ("S", kind.is_socket()),
        ("u", mode & 0o4000 != 0),
        ("g", mode & 0o2000 != 0),
        ("c", kind.is_char_device()),
        ("t", mode & 0o1000 != 0),
    ];
    let letters = letters.iter().filter(|(_, set)| *set).map(|(letter, _)| *letter).collect::<String>();
    let bits = "rwxrwxrwx"
        .char_indices()
        .map(|(index, letter)| if mode & (0o400 >> index) == 0 { '-' } else { letter });
    let bits = bits.collect::<String>();
    if letters.is_empty() { format!("-{bits}") } else { letters + &bits }
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn entry(path: &Path) -> EntryInfo {
        read(path, &Accounts::new("/does/not/exist".into())).expect("readable")
    }

    #[test]
    fn links_show_themselves_and_their_targets() {
        let directory = tempfile::tempdir().expect("a directory");
        let place = directory.path().canonicalize().expect("resolved");
        let (file, link, chain, dangling) =
            (place.join("f"), place.join("l"), place.join("c"), place.join("d"));
        fs::write(&file, "text").expect("written");
        fs::set_permissions(&file, Permissions::from_mode(0o640)).expect("changed");
        symlink(&file, &link).expect("made");
        symlink("l", &chain).expect("made");
        symlink("nowhere", &dangling).expect("made");
        let plain = entry(&file);
        assert_eq!((plain.r#type, plain.size, plain.mode), (FileType::File, 4, 0o640));
        assert_eq!((plain.permissions.as_str(), plain.is_symlink), ("-rw-r-----", false));
        let chained = entry(&chain);
        assert_eq!((chained.r#type, chained.mode, chained.size), (FileType::File, 0o640, 1));
        assert_eq!(chained.permissions, "Lrwxrwxrwx");
        assert_eq!(chained.symlink_target.as_deref(), file.to_str());
        let dangling = entry(&dangling);
        assert_eq!(
            (dangling.r#type, dangling.symlink_target.as_deref()),
            (FileType::Symlink, Some("nowhere"))
        );
    }

    #[test]
    fn special_bits_and_owners_are_shown() {
        let directory = tempfile::tempdir().expect("a directory");
        fs::set_permissions(directory.path(), Permissions::from_mode(0o1777)).expect("changed");
        let shown = entry(directory.path());
        assert_eq!((shown.r#type, shown.permissions.as_str()), (FileType::Directory, "dtrwxrwxrwx"));
        let own = fs::metadata(directory.path()).expect("there");
        assert_eq!((shown.owner, shown.group), (own.uid().to_string(), own.gid().to_string()));
        assert!(shown.modified_time.ends_with('Z'), "{}", shown.modified_time);
        assert_eq!(entry(Path::new("/dev/null")).permissions.get(..2), Some("Dc"));
        assert_eq!(entry(Path::new("/")).name, "/");
    }
}

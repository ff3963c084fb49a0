//! The root file system that every image starts from, made from the machine's program folders only.
//!
//! Programs (`/usr`, and `/bin`, `/sbin`, `/lib*` where they are no links into it) are lower layers of overlays; the
//! rest of the root is a small directory made here: empty folders, and of `/etc` a copy of what programs need and
//! nobody minds showing. What isn't listed isn't there: an allow-list, since whatever runs in a sandbox is
//! somebody's agent.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

/// Folders of programs and libraries; a name that is a link on the machine stays one.
const PROGRAMS: [&str; 7] = ["usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32"];

/// Folders made empty, with their modes.
const FOLDERS: [(&str, u32); 21] = [
    ("dev", 0o755),
    ("etc", 0o755),
    ("home", 0o755),
    ("home/user", 0o755),
    ("media", 0o755),
    ("mnt", 0o755),
    ("opt", 0o755),
    ("proc", 0o555),
    ("root", 0o700),
    ("run", 0o755),
    ("run/lock", 0o1777),
    ("srv", 0o755),
    ("sys", 0o555),
    ("tmp", 0o1777),
    ("var", 0o755),
    ("var/cache", 0o755),
    ("var/lib", 0o755),
    ("var/log", 0o755),
    ("var/spool", 0o755),
    ("var/tmp", 0o1777),
    ("etc/ssl", 0o755),
];

/// Links that programs expect: name, destination.
const LINKS: [(&str, &str); 3] =
    [("var/run", "/run"), ("var/lock", "/run/lock"), ("etc/mtab", "/proc/mounts")];

/// What of `/etc` is copied, folders with everything in them. Files with passwords, keys, machine identities,
/// environments, schedules or the addresses of private servers are left out by not being here.
const ETC: [&str; 40] = [
    "alternatives",
    "bash.bashrc",
    "ca-certificates.conf",
    "debian_version",
    "fonts",
    "gai.conf",
    "host.conf",
    "inputrc",
    "issue",
    "java-11-openjdk",
    "java-17-openjdk",
    "java-21-openjdk",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "locale.alias",
    "locale.conf",
    "localtime",
    "login.defs",
    "lsb-release",
    "magic",
    "magic.mime",
    "mime.types",
    "networks",
    "nsswitch.conf",
    "os-release",
    "pam.conf",
    "pam.d",
    "perl",
    "pki/tls/certs",
    "profile",
    "profile.d",
    "protocols",
    "redhat-release",
    "rpc",
    "services",
    "shells",
    "ssl/certs",
    "ssl/openssl.cnf",
    "timezone",
];

const PASSWD: &str = "root:x:0:0:root:/root:/bin/bash\n\
    daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin\n\
    bin:x:2:2:bin:/bin:/usr/sbin/nologin\n\
    www-data:x:33:33:www-data:/var/www:/usr/sbin/nologin\n\
    user:x:1000:1000:user:/home/user:/bin/bash\n\
    nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n";
const GROUP: &str =
    "root:x:0:\ndaemon:x:1:\nbin:x:2:\ntty:x:5:\nwww-data:x:33:\nuser:x:1000:\nnogroup:x:65534:\n";

/// The sandbox user of [`PASSWD`].
const USER: u32 = 1000;

/// A folder of the base could not be made.
#[derive(Debug, thiserror::Error)]
#[error("making {path} of the images' base failed", path = path.display())]
pub struct BaseError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// The base as lower layers: for each overlay its place in the root (empty for the root itself) and the lower layer.
#[derive(Clone, Debug)]
pub(crate) struct Base {
    pub(crate) layers: Vec<(PathBuf, PathBuf)>,
}

impl Base {
    /// Makes the base in the empty `directory`, from the machine's root `machine`.
    pub(crate) fn make(directory: &Path, machine: &Path) -> Result<Self, BaseError> {
        for (name, mode) in FOLDERS {
            make_folder(&directory.join(name), mode)?;
        }
        // In a user namespace with only root in it, the sandbox user's home stays root's. There is no such account
        // then: envd makes one that is another name of root.
        let exists = std::os::unix::fs::chown(directory.join("home/user"), Some(USER), Some(USER)).is_ok();
        for (name, leads_to) in LINKS {
            let place = directory.join(name);
            symlink(leads_to, &place).at(&place)?;
        }
        let mut layers = vec![(PathBuf::new(), directory.to_owned())];
        for name in PROGRAMS {
            let (original, place) = (machine.join(name), directory.join(name));
            if let Ok(leads_to) = fs::read_link(&original) {
                symlink(leads_to, &place).at(&place)?;
            } else if original.is_dir() {
                make_folder(&place, 0o755)?;
                layers.push((PathBuf::from(name), original));
            }
        }
        for name in ETC {
            copy(&machine.join("etc").join(name), &directory.join("etc").join(name))?;
        }
        for (name, text) in [("etc/passwd", PASSWD), ("etc/group", GROUP)] {
            let path = directory.join(name);
            let lines = text.split_inclusive('\n').filter(|line| exists || !line.starts_with("user:"));
            fs::write(&path, lines.collect::<String>()).at(&path)?;
        }
        Ok(Self { layers })
    }
}

trait At<T> {
    fn at(self, path: &Path) -> Result<T, BaseError>;
}

impl<T> At<T> for io::Result<T> {
    fn at(self, path: &Path) -> Result<T, BaseError> {
        self.map_err(|source| BaseError { path: path.to_owned(), source })
    }
}

fn make_folder(path: &Path, mode: u32) -> Result<(), BaseError> {
    DirBuilder::new().recursive(true).mode(mode).create(path).at(path)?;
    fs::set_permissions(path, Permissions::from_mode(mode)).at(path) // whatever the umask is
}

/// Copies a file, a link, or a folder with all in it. What isn't there or can't be read is left out.
fn copy(from: &Path, to: &Path) -> Result<(), BaseError> {
    let Ok(metadata) = fs::symlink_metadata(from) else { return Ok(()) };
    if let Some(parent) = to.parent() {
        DirBuilder::new().recursive(true).mode(0o755).create(parent).at(parent)?;
    }
    if metadata.is_symlink() {
        return fs::read_link(from).and_then(|leads_to| symlink(leads_to, to)).at(to);
    }
    if metadata.is_dir() {
        let Ok(entries) = fs::read_dir(from) else { return Ok(()) };
        make_folder(to, 0o755)?;
        for entry in entries.flatten() {
            copy(&entry.path(), &to.join(entry.file_name()))?;
        }
        return Ok(());
    }
    // Only what everybody may read: a file that is hidden from other users is nobody's program data.
    if !metadata.is_file() || metadata.permissions().mode() & 0o004 == 0 {
        return Ok(());
    }
    let Ok(content) = fs::read(from) else { return Ok(()) };
    fs::write(to, content).at(to)?;
    fs::set_permissions(to, Permissions::from_mode(metadata.permissions().mode() & 0o777)).at(to)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine with a merged `/usr`, harmless and private files.
    fn machine() -> tempfile::TempDir {
        let machine = tempfile::tempdir().expect("a directory");
        let root = machine.path();
        for folder in ["usr/bin", "etc/ssl/private", "etc/ssl/certs", "etc/ssh", "root", "lib64", "home/ada"]
        {
            fs::create_dir_all(root.join(folder)).expect("a folder");
        }
        symlink("usr/bin", root.join("bin")).expect("a link");
        for (file, mode) in [
            ("etc/shadow", 0o640),
            ("etc/machine-id", 0o444),
            ("etc/environment", 0o644),
            ("etc/ssl/private/key.pem", 0o600),
            ("etc/ssl/certs/ca.pem", 0o644),
            ("etc/ssh/ssh_host_key", 0o600),
            ("etc/profile", 0o644),
            ("etc/services", 0o600),
            ("etc/passwd", 0o644),
        ] {
            fs::write(root.join(file), "machine's own").expect("a file");
            fs::set_permissions(root.join(file), Permissions::from_mode(mode)).expect("a mode");
        }
        machine
    }

    #[test]
    fn only_the_harmless_part_is_there() {
        let (machine, target) = (machine(), tempfile::tempdir().expect("a directory"));
        let base = Base::make(target.path(), machine.path()).expect("a base");
        let places: Vec<_> =
            base.layers.iter().map(|(place, _)| place.to_string_lossy().into_owned()).collect();
        assert_eq!(places, ["", "usr", "lib64"]);
        assert_eq!(fs::read_link(target.path().join("bin")).expect("a link"), Path::new("usr/bin"));
        let there = |path: &str| target.path().join(path).exists();
        assert!(there("etc/profile") && there("etc/ssl/certs/ca.pem"));
        for hidden in
            ["etc/shadow", "etc/machine-id", "etc/environment", "etc/ssl/private", "etc/ssh", "home/ada"]
        {
            assert!(!there(hidden), "{hidden} is shown");
        }
        assert!(!there("etc/services"), "a file that others may not read is shown");
        let passwd = fs::read_to_string(target.path().join("etc/passwd")).expect("a file");
        assert!(passwd.contains("user:x:1000") && !passwd.contains("machine"));
    }
}

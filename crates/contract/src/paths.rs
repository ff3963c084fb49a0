//! Paths that several components must compute alike (`storage.md` §2.7, §4.2).

use md5::{Digest as _, Md5};

use crate::names::{SOCKET_DIRECTORY, drivers};

/// Lower-case hexadecimal MD5 of `text`.
pub fn md5_hex(text: &str) -> String {
    hex::encode(Md5::digest(text.as_bytes()))
}

/// Where a driver really mounts, below mount-root: `<oss or nas>/<md5 of mount path>`.
pub fn staging_directory(driver: &str, mount_path: &str) -> String {
    format!("{}/{}", drivers::staging_folder(driver), md5_hex(mount_path))
}

/// The whole path of the staging directory below `mount_root`.
pub fn staging_path(mount_root: &str, driver: &str, mount_path: &str) -> String {
    format!("{}/{}", mount_root.trim_end_matches('/'), staging_directory(driver, mount_path))
}

/// The socket of `driver` in a pod's sockets directory.
pub fn socket_path(driver: &str) -> String {
    format!("{SOCKET_DIRECTORY}/{driver}/csi.sock")
}

/// The lexical normal form of a slash-separated path: no empty, `.` or resolvable `..` components, no trailing slash;
/// `.` for nothing. An absolute path never leaves the root.
pub fn clean(path: &str) -> String {
    let absolute = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            ".." if absolute => {}
            other => parts.push(other),
        }
    }
    let joined = parts.join("/");
    match (absolute, joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".to_owned(),
        (false, false) => joined,
    }
}

//! Debian's `s3fs` as a peer: the same bucket of the same server, mounted by somebody else.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use lab::ObjectStore;
use nix::mount::{MntFlags, umount2};

use crate::BenchError;
use crate::error::io;

/// The `s3fs` program with the lab's key in a file of its own.
pub(crate) struct S3fs {
    program: PathBuf,
    endpoint: String,
    folder: tempfile::TempDir,
}

impl S3fs {
    /// The program on this machine, if there is one.
    pub(crate) fn find(store: &ObjectStore) -> Result<Option<Self>, BenchError> {
        let Some(program) = on_path("s3fs") else { return Ok(None) };
        let folder = tempfile::tempdir().map_err(io("make a folder for s3fs"))?;
        let password = folder.path().join("password");
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&password)
            .map_err(io("make the password file of s3fs"))?;
        writeln!(file, "{}:{}", store.access_key_id, store.access_key_secret)
            .map_err(io("write the password file of s3fs"))?;
        fs::create_dir(folder.path().join("target")).map_err(io("make the target of s3fs"))?;
        Ok(Some(Self { program, endpoint: store.outside_endpoint.clone(), folder }))
    }

    /// Mounts `bucket`; the mount, and the time until it was there, in milliseconds.
    pub(crate) fn mount(&self, bucket: &str) -> Result<(S3fsMount, f64), BenchError> {
        let target = self.folder.path().join("target");
        let started = Instant::now();
        let output = Command::new(&self.program)
            .arg(bucket)
            .arg(&target)
            .arg("-o")
            .arg(format!("url={},use_path_request_style", self.endpoint))
            .arg("-o")
            .arg(format!("passwd_file={}", self.folder.path().join("password").display()))
            .output()
            .map_err(io("run s3fs"))?;
        let milliseconds = started.elapsed().as_secs_f64() * 1000.0;
        if !output.status.success() || !is_mounted(&target)? {
            let reason = format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr));
            return Err(BenchError::Peer { program: "s3fs", action: "mount", reason });
        }
        Ok((S3fsMount { target }, milliseconds))
    }
}

/// A bucket that `s3fs` has mounted.
pub(crate) struct S3fsMount {
    target: PathBuf,
}

impl S3fsMount {
    /// Where it is.
    pub(crate) fn target(&self) -> &Path {
        &self.target
    }

    /// Unmounts it and waits until it is gone.
    pub(crate) fn unmount(self) -> Result<(), BenchError> {
        // Not lazily: what is still to be written belongs to what is measured.
        umount2(&self.target, MntFlags::empty()).map_err(|error| BenchError::Peer {
            program: "s3fs",
            action: "unmount",
            reason: error.to_string(),
        })
    }
}

impl Drop for S3fsMount {
    fn drop(&mut self) {
        if is_mounted(&self.target).unwrap_or(false) {
            let _ = umount2(&self.target, MntFlags::MNT_DETACH);
        }
    }
}

/// The file of a program that a shell would find, if there is one.
pub(crate) fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}

fn is_mounted(target: &Path) -> Result<bool, BenchError> {
    let table = fs::read_to_string("/proc/self/mounts").map_err(io("read the mount table"))?;
    Ok(table.lines().any(|line| line.split(' ').nth(1).is_some_and(|path| Path::new(path) == target)))
}

//! `nfs-cp` of libnfs as a peer: a plain NFSv3 client that copies one file to or from the same export of the same
//! server.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::BenchError;
use crate::error::io;
use crate::files::{self, SMALL, Times};
use crate::peer::on_path;

/// The `nfs-cp` program, the server, and local files to copy from.
pub(crate) struct NfsCp {
    program: PathBuf,
    server: SocketAddr,
    local: tempfile::TempDir,
}

impl NfsCp {
    /// The program on this machine, with the same files at hand that a mount is filled with.
    pub(crate) fn find(server: SocketAddr) -> Result<Self, BenchError> {
        let program = on_path("nfs-cp").ok_or_else(|| BenchError::Peer {
            program: "nfs-cp",
            action: "be found",
            reason: "it is not on the PATH; install it with tools/install libnfs-utils=nfs-cp".to_owned(),
        })?;
        let local = tempfile::tempdir().map_err(io("make a folder for nfs-cp"))?;
        files::write_large(local.path()).map_err(io("write a file for nfs-cp"))?;
        files::write_small(local.path()).map_err(io("write files for nfs-cp"))?;
        Ok(Self { program, server, local })
    }

    /// Copies the files into `folder`, which is a path on the server that is there and empty (`nfs-cp` makes none), and
    /// back again. The second number is the seconds that reading the large file took.
    ///
    /// It never writes over a local file, so those that come back have a folder of their own.
    pub(crate) fn round(&self, folder: &str) -> Result<(Times, f64), BenchError> {
        let back = tempfile::tempdir().map_err(io("make a folder for nfs-cp"))?;
        let begun = Instant::now();
        self.put("large", folder)?;
        let write = begun.elapsed().as_secs_f64();
        let begun = Instant::now();
        for number in 0..SMALL {
            self.put(&number.to_string(), folder)?;
        }
        for number in 0..SMALL {
            self.get(&number.to_string(), folder, back.path())?;
        }
        let small = begun.elapsed().as_secs_f64();
        let begun = Instant::now();
        self.get("large", folder, back.path())?;
        let read = begun.elapsed().as_secs_f64();
        // A copy that lacks something would be a fast one.
        files::read_large(back.path())?;
        files::read_small(back.path()).map_err(io("read what nfs-cp has copied"))?;
        Ok((Times { write, small }, read))
    }

    fn put(&self, name: &str, folder: &str) -> Result<(), BenchError> {
        self.copy(&self.local.path().join(name), Path::new(&self.url(folder, name)))
    }

    fn get(&self, name: &str, folder: &str, to: &Path) -> Result<(), BenchError> {
        self.copy(Path::new(&self.url(folder, name)), &to.join(name))
    }

    /// The server has NFS and MOUNT on one port; without it the client would ask the port mapper of the machine.
    fn url(&self, folder: &str, name: &str) -> String {
        let (host, port) = (self.server.ip(), self.server.port());
        format!("nfs://{host}{folder}/{name}?nfsport={port}&mountport={port}")
    }

    fn copy(&self, from: &Path, to: &Path) -> Result<(), BenchError> {
        let output = Command::new(&self.program)
            .args([from, to])
            .stdin(Stdio::null())
            .output()
            .map_err(io("run nfs-cp"))?;
        if output.status.success() {
            return Ok(());
        }
        let said = [output.stdout, output.stderr].concat();
        let reason = format!(
            "{} to {}: {}: {}",
            from.display(),
            to.display(),
            output.status,
            String::from_utf8_lossy(&said)
        );
        Err(BenchError::Peer { program: "nfs-cp", action: "copy", reason })
    }
}

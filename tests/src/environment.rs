//! Folders with other people's packages, made once and kept below the target folder.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::fcntl::{Flock, FlockArg};
use sha2::{Digest as _, Sha256};

use crate::{repository, run, target};

/// How long installing packages may take.
const INSTALL_LIMIT: Duration = Duration::from_mins(10);

/// A command that runs `python/SCRIPT` with the packages of `requirements`, one pip requirement each.
///
/// # Panics
/// When the packages can't be installed; the message has what pip said.
pub fn python(requirements: &[&str], script: &str) -> Command {
    let folder = kept("python", requirements, |folder| {
        run(Command::new("python3").args(["-m", "venv"]).arg(folder), INSTALL_LIMIT).expect_success();
        let mut pip = Command::new(folder.join("bin/python"));
        run(pip.args(["-m", "pip", "install", "--quiet"]).args(requirements), INSTALL_LIMIT).expect_success();
    });
    let mut command = Command::new(folder.join("bin/python"));
    command.arg(repository().join("tests/python").join(script)).env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

/// A command that runs `javascript/SCRIPT` with the packages of `requirements`, one npm package each.
///
/// # Panics
/// When the packages can't be installed; the message has what npm said.
pub fn javascript(requirements: &[&str], script: &str) -> Command {
    let folder = kept("javascript", requirements, |folder| {
        std::fs::create_dir_all(folder).expect("make a folder below the target folder");
        let mut npm = Command::new("npm");
        let install =
            npm.args(["install", "--no-audit", "--no-fund", "--no-progress", "--prefix"]).arg(folder);
        run(install.args(requirements), INSTALL_LIMIT).expect_success();
    });
    let source = repository().join("tests/javascript").join(script);
    let copy = folder.join(script);
    // node looks for packages beside the script, so it runs a copy in the folder that has them
    std::fs::copy(&source, &copy).unwrap_or_else(|error| panic!("copy {}: {error}", source.display()));
    let mut command = Command::new("node");
    command.arg(copy);
    command
}

/// The folder for `requirements`, made by `make` unless an earlier run has finished making it. Two tests that want
/// the same folder wait for each other.
fn kept(kind: &str, requirements: &[&str], make: impl FnOnce(&Path)) -> PathBuf {
    let digest = Sha256::digest(requirements.join("\n").as_bytes());
    let name = format!("{kind}-{}", hex::encode(&digest[..6]));
    let folder = target().join(&name);
    let lock = File::create(target().join(format!("{name}.lock"))).expect("make a lock file");
    let lock = Flock::lock(lock, FlockArg::LockExclusive).map_err(|(_, error)| error);
    let _lock = lock.expect("lock the folder of packages");
    let complete = folder.join("complete");
    if !complete.exists() {
        if folder.exists() {
            std::fs::remove_dir_all(&folder).expect("remove an incomplete folder of packages");
        }
        make(&folder);
        File::create(&complete).expect("mark the folder of packages as complete");
    }
    folder
}

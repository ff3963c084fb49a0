//! The program under test.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The target folder that this test was built into.
pub fn target() -> PathBuf {
    // the test is TARGET/PROFILE/deps/NAME
    let test = std::env::current_exe().expect("the test's own path");
    test.ancestors().nth(3).map(Path::to_owned).expect("a target folder")
}

/// The path of `mountlab`: the environment variable `MOUNTLAB_BIN`, or what was built beside this test.
pub fn program() -> PathBuf {
    if let Some(path) = std::env::var_os("MOUNTLAB_BIN") {
        return path.into();
    }
    let test = std::env::current_exe().expect("the test's own path");
    let path = test.ancestors().nth(2).expect("a profile folder").join("mountlab");
    assert!(path.is_file(), "{} is not there; build it with `cargo build -p cli`", path.display());
    path
}

/// The command `mountlab ARGUMENTS`, run in the repository.
pub fn mountlab(arguments: &[&str]) -> Command {
    let mut command = Command::new(program());
    command.args(arguments).current_dir(crate::repository());
    command
}

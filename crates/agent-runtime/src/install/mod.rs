//! The sidecar's part: put the program where the main container can run it, then stay out of the way.
//!
//! Nothing here needs an asynchronous runtime: the sidecar idles in one blocking system call.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use nix::sys::signal::{SigSet, Signal};

use crate::storage::helper;

/// The program's name in the shared directory.
pub(crate) const PROGRAM: &str = "mountlab";
/// The name of the executable that holds the agent and nothing else.
const AGENT: &str = "agent-runtime";
/// The start script's name in the shared directory. It is written last: whoever sees it sees a complete installation.
pub(crate) const SCRIPT: &str = "envd-run.sh";

const SCRIPT_TEXT: &str = include_str!("envd-run.sh");

/// Why the installation failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {path}")]
pub(crate) struct InstallError {
    action: &'static str,
    path: PathBuf,
    source: io::Error,
}

/// Installs into `directory`, then waits for SIGTERM or SIGINT.
pub(crate) fn run(directory: &Path) -> Result<(), InstallError> {
    let signals = stop_signals();
    let failed = |action| {
        move |errno: nix::Error| InstallError { action, path: "signals".into(), source: errno.into() }
    };
    signals.thread_block().map_err(failed("block"))?;
    install(&installable(), directory)?;
    crate::announcement::announce("installed", &directory.to_string_lossy(), serde_json::Value::Null);
    signals.wait().map_err(failed("wait for"))?;
    Ok(())
}

/// What is installed: the agent alone where the image has it beside this executable, otherwise this executable. Every
/// sandbox keeps a copy, often in memory, so the size matters.
fn installable() -> PathBuf {
    let myself = PathBuf::from("/proc/self/exe");
    let agent =
        fs::read_link(&myself).ok().map(|path| path.with_file_name(AGENT)).filter(|path| path.is_file());
    agent.unwrap_or(myself)
}

fn stop_signals() -> SigSet {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGTERM);
    signals.add(Signal::SIGINT);
    signals
}

/// Copies `program` into `directory` under both of its names, and the start script. A file that is in use there keeps
/// running: each one is written beside its place and renamed into it.
pub(crate) fn install(program: &Path, directory: &Path) -> Result<(), InstallError> {
    fs::create_dir_all(directory).map_err(failed("create", directory))?;
    place(directory, PROGRAM, |path| fs::copy(program, path).map(drop))?;
    place(directory, helper::PROGRAM, |path| fs::hard_link(directory.join(PROGRAM), path))?;
    place(directory, SCRIPT, |path| fs::write(path, SCRIPT_TEXT))
}

/// Makes the executable file `name` in `directory` with `write`, atomically.
fn place(
    directory: &Path,
    name: &str,
    write: impl FnOnce(&Path) -> io::Result<()>,
) -> Result<(), InstallError> {
    let path = directory.join(name);
    let draft = directory.join(format!(".{name}.{}", std::process::id()));
    let made = write(&draft)
        .and_then(|()| fs::set_permissions(&draft, Permissions::from_mode(0o755)))
        .and_then(|()| fs::rename(&draft, &path));
    // Renaming one link of a file onto another link of it does nothing, so the draft may still be there.
    let _ = fs::remove_file(&draft);
    made.map_err(failed("install", &path))
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> InstallError {
    let path = path.to_owned();
    move |source| InstallError { action, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn installing_again_replaces_everything_and_leaves_no_drafts() {
        let place = tempfile::tempdir().expect("a directory");
        let program = place.path().join("program");
        let directory = place.path().join("envd");
        for content in ["one", "two"] {
            fs::write(&program, content).expect("written");
            install(&program, &directory).expect("installed");
            for name in [PROGRAM, helper::PROGRAM] {
                let path = directory.join(name);
                assert_eq!(fs::read_to_string(&path).expect("readable"), content);
                assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o7777, 0o755);
            }
        }
        let mut names = fs::read_dir(&directory)
            .expect("readable")
            .map(|entry| entry.expect("an entry").file_name().into_string().expect("text"))
            .collect::<Vec<_>>();
        names.sort();
        assert_eq!(names, [SCRIPT, PROGRAM, helper::PROGRAM]);
    }

    #[test]
    fn a_failure_names_the_place() {
        let place = tempfile::tempdir().expect("a directory");
        let problem = install(Path::new("/does/not/exist"), place.path()).unwrap_err();
        assert!(problem.to_string().ends_with("/mountlab"), "{problem}");
    }
}

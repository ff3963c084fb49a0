//! The last step: from a prepared process to the container's program.

use std::ffi::CString;
use std::path::Path;

use nix::errno::Errno;
use nix::unistd::execve;
use rustix::fs::Mode;

use super::error::{At as _, ShimError};
use super::privileges;
use super::protocol::ProcessSpec;

/// Where programs are looked for when the environment has no `PATH`.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Executes the program. Returns only for a specification without one: the process is to idle then.
pub(super) fn execute(process: &ProcessSpec, privileged: bool) -> Result<(), ShimError> {
    let _ = rustix::process::setsid();
    rustix::process::umask(Mode::from_raw_mode(0o022));
    let directory = if process.working_directory.is_empty() { "/" } else { &process.working_directory };
    let step = || format!("entering working directory {directory}");
    if !Path::new(directory).exists() {
        std::fs::create_dir_all(directory).at(step)?;
    }
    privileges::apply(process, privileged)?;
    rustix::process::chdir(directory).at(step)?;
    let Some(program) = process.args.first() else { return Ok(()) };
    let args = process.args.iter().map(|arg| text(arg)).collect::<Result<Vec<_>, _>>()?;
    let environment = process
        .environment
        .iter()
        .map(|(name, value)| text(&format!("{name}={value}")))
        .collect::<Result<Vec<_>, _>>()?;
    let mut refused = Errno::ENOENT;
    for candidate in candidates(program, &process.environment) {
        match execve(&text(&candidate)?, &args, &environment) {
            Err(Errno::ENOENT | Errno::ENOTDIR) => {}
            Err(error) => refused = error,
        }
    }
    if refused == Errno::ENOENT && !program.contains('/') {
        return Err(ShimError::said(format!("exec: {program:?}: executable file not found in $PATH")));
    }
    Err(ShimError::new(format!("exec: {program:?}"), refused))
}

fn text(value: &str) -> Result<CString, ShimError> {
    CString::new(value).map_err(|_| ShimError::said("an argument or a variable holds a NUL byte"))
}

fn candidates(program: &str, environment: &[(String, String)]) -> Vec<String> {
    if program.contains('/') {
        return vec![program.to_owned()];
    }
    let path =
        environment.iter().rev().find(|(name, _)| name == "PATH").map_or(DEFAULT_PATH, |(_, path)| path);
    path.split(':').filter(|folder| !folder.is_empty()).map(|folder| format!("{folder}/{program}")).collect()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("/bin/sh", &[], &["/bin/sh"])]
    #[case("./run", &[("PATH", "/a")], &["./run"])]
    #[case("sh", &[("PATH", "/a::/b")], &["/a/sh", "/b/sh"])]
    #[case("sh", &[("PATH", "/a"), ("PATH", "/b")], &["/b/sh"])]
    fn programs_are_searched_in_the_containers_path(
        #[case] program: &str,
        #[case] environment: &[(&str, &str)],
        #[case] expected: &[&str],
    ) {
        let environment: Vec<_> =
            environment.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        assert_eq!(candidates(program, &environment), expected);
    }
}

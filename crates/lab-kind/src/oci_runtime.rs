//! An OCI runtime for machines without `CAP_SYS_RESOURCE`: takes out of a bundle what needs that right, then becomes
//! `runc`.
//!
//! A daemon started with it as default runtime can start privileged containers where the capability's absence from
//! the bounding set would make `runc` refuse: the capability itself, negative OOM scores, and resource limits, which
//! may be above the present hard ones.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use serde_json::Value;

use crate::command::find;

/// The name under which the executable is this runtime.
pub const OCI_RUNTIME: &str = "mountlab-oci-runtime";

const CAPABILITY: &str = "CAP_SYS_RESOURCE";

#[derive(Debug, thiserror::Error)]
enum RuntimeError {
    #[error("reading {} failed: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{} is no JSON: {source}", path.display())]
    Parse { path: PathBuf, source: serde_json::Error },
    #[error("writing {} failed: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("there is no runc on this machine")]
    NoRunc,
    #[error("starting {} failed: {source}", path.display())]
    Start { path: PathBuf, source: io::Error },
}

/// The runtime's whole life; `arguments` begin with the program's name.
pub fn main(arguments: &[OsString]) -> ExitCode {
    let Err(error) = run(arguments);
    // containerd shows what a runtime says on standard error.
    eprintln!("{OCI_RUNTIME}: {error}");
    ExitCode::FAILURE
}

fn run(arguments: &[OsString]) -> Result<std::convert::Infallible, RuntimeError> {
    let arguments = arguments.get(1..).unwrap_or_default();
    match subject(arguments) {
        Some(Subject::Bundle(bundle)) => rewrite(&bundle.join("config.json"), |document| {
            if let Some(process) = document.get_mut("process") {
                relax(process);
            }
        })?,
        Some(Subject::Process(file)) => rewrite(&file, relax)?,
        None => {}
    }
    let path = find("runc").ok_or(RuntimeError::NoRunc)?;
    let source = Command::new(&path).args(arguments).exec();
    Err(RuntimeError::Start { path, source })
}

/// What a call of the runtime is about, as far as it is to be changed.
#[derive(Debug, Eq, PartialEq)]
enum Subject {
    /// The folder of a container's description: `create` and `run`.
    Bundle(PathBuf),
    /// The description of one more process of a container: `exec`.
    Process(PathBuf),
}

fn subject(arguments: &[OsString]) -> Option<Subject> {
    let has = |verb: &str| arguments.iter().any(|argument| argument == verb);
    if has("create") || has("run") {
        return option(arguments, &["--bundle", "-b"]).map(Subject::Bundle);
    }
    if has("exec") {
        return option(arguments, &["--process", "-p"]).map(Subject::Process);
    }
    None
}

/// The value of an option, in either of its spellings.
fn option(arguments: &[OsString], names: &[&str]) -> Option<PathBuf> {
    arguments.iter().enumerate().find_map(|(position, argument)| {
        if names.iter().any(|name| argument == name) {
            return arguments.get(position + 1).map(PathBuf::from);
        }
        let text = argument.to_str()?;
        let (name, value) = text.split_once('=')?;
        names.contains(&name).then(|| PathBuf::from(OsStr::new(value)))
    })
}

fn rewrite(path: &Path, change: impl FnOnce(&mut Value)) -> Result<(), RuntimeError> {
    let text = fs::read(path).map_err(|source| RuntimeError::Read { path: path.to_owned(), source })?;
    let mut document = serde_json::from_slice(&text)
        .map_err(|source| RuntimeError::Parse { path: path.to_owned(), source })?;
    change(&mut document);
    fs::write(path, document.to_string())
        .map_err(|source| RuntimeError::Write { path: path.to_owned(), source })
}

/// Takes out of the description of a process what needs the right to raise limits.
fn relax(process: &mut Value) {
    let Some(process) = process.as_object_mut() else { return };
    if let Some(sets) = process.get_mut("capabilities").and_then(Value::as_object_mut) {
        for names in sets.values_mut().filter_map(Value::as_array_mut) {
            names.retain(|name| name != CAPABILITY);
        }
    }
    if process.get("oomScoreAdj").and_then(Value::as_i64).is_some_and(|score| score < 0) {
        process.remove("oomScoreAdj");
    }
    process.remove("rlimits");
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    #[rstest]
    #[case::create("--root /r create --bundle /b --pid-file /p id", Some(Subject::Bundle("/b".into())))]
    #[case::short("create -b /b id", Some(Subject::Bundle("/b".into())))]
    #[case::equals("run --bundle=/b id", Some(Subject::Bundle("/b".into())))]
    #[case::exec("--root /r exec --process /p --detach id", Some(Subject::Process("/p".into())))]
    #[case::state("--root /r state id", None)]
    #[case::delete("delete --force id", None)]
    #[case::no_bundle("create id", None)]
    fn only_what_starts_a_process_is_changed(#[case] line: &str, #[case] expected: Option<Subject>) {
        let arguments: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        assert_eq!(subject(&arguments), expected);
    }

    #[test]
    fn what_needs_the_capability_is_taken_out_and_nothing_else() {
        let mut process = json!({
            "args": ["sh"],
            "oomScoreAdj": -999,
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1_048_576, "soft": 1_048_576}],
            "capabilities": {"bounding": ["CAP_SYS_ADMIN", "CAP_SYS_RESOURCE"], "ambient": ["CAP_SYS_RESOURCE"]},
        });
        relax(&mut process);
        let expected =
            json!({"args": ["sh"], "capabilities": {"bounding": ["CAP_SYS_ADMIN"], "ambient": []}});
        assert_eq!(process, expected);
    }

    #[test]
    fn a_score_that_may_be_set_stays() {
        let mut process = json!({"oomScoreAdj": 100});
        relax(&mut process);
        assert_eq!(process, json!({"oomScoreAdj": 100}));
    }

    #[test]
    fn a_bundle_is_changed_in_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        fs::write(&path, r#"{"ociVersion":"1.0","process":{"rlimits":[]}}"#).unwrap();
        rewrite(&path, |document| relax(&mut document["process"])).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), r#"{"ociVersion":"1.0","process":{}}"#);
    }
}

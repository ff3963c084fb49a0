//! The command line of the agent.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;

use crate::{envd, install, launch, storage, wait};

/// The in-sandbox agent.
#[derive(Debug, Parser)]
#[command(name = "agent-runtime", version)]
enum Arguments {
    /// Copies this program into a directory shared with the main container, then idles until SIGTERM.
    Install {
        /// The shared directory.
        #[arg(long, env = "ENVD_DIR", default_value = "/mnt/envd")]
        dir: PathBuf,
    },
    /// Waits until the program is installed, or until envd answers.
    Wait(wait::Arguments),
    /// Serves envd and the storage mounts.
    Envd(envd::Arguments),
    /// Mounts and unmounts storage by hand; also as a program called `sandbox-runtime-storage`.
    #[command(disable_help_flag = true)]
    Storage {
        /// The arguments of the helper.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Becomes another user and another program; envd starts commands through it.
    #[command(hide = true)]
    Launch(launch::Arguments),
}

/// Runs the agent with the arguments of [`std::env::args_os`]; a leading `agent-runtime` is skipped, so that
/// `mountlab agent-runtime envd` and `agent-runtime envd` are the same. A program name that ends in
/// `sandbox-runtime-storage` selects the storage helper.
pub fn main(arguments: Vec<OsString>) -> ExitCode {
    let mut arguments = arguments.into_iter();
    let program = arguments.next().unwrap_or_else(|| "agent-runtime".into());
    let mut rest = arguments.collect::<Vec<_>>();
    if is_storage_helper(&program) {
        return storage::helper::main(rest);
    }
    if rest.first().is_some_and(|first| first == "agent-runtime") {
        rest.remove(0);
    }
    if rest.first().is_some_and(|first| is_storage_helper(first)) {
        return storage::helper::main(rest.split_off(1));
    }
    match Arguments::try_parse_from(std::iter::once(program).chain(rest)) {
        Ok(arguments) => run(arguments),
        Err(problem) => {
            let _ = problem.print();
            ExitCode::from(u8::try_from(problem.exit_code()).unwrap_or(2))
        }
    }
}

fn is_storage_helper(program: &OsStr) -> bool {
    Path::new(program).file_name().is_some_and(|name| name == storage::helper::PROGRAM)
}

fn run(arguments: Arguments) -> ExitCode {
    let outcome = match arguments {
        Arguments::Install { dir } => install::run(&dir).map_err(boxed),
        Arguments::Wait(arguments) => wait::run(&arguments).map_err(boxed),
        Arguments::Envd(arguments) => envd::run(arguments).map_err(boxed),
        Arguments::Storage { arguments } => return storage::helper::main(arguments),
        Arguments::Launch(arguments) => return launch::run(&arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("agent-runtime: {}", chain(problem.as_ref()));
            ExitCode::FAILURE
        }
    }
}

fn boxed<E: std::error::Error + 'static>(problem: E) -> Box<dyn std::error::Error> {
    Box::new(problem)
}

/// An error and its sources on one line.
pub(crate) fn chain(problem: &dyn std::error::Error) -> String {
    let mut text = problem.to_string();
    let mut source = problem.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

//! The shim as a program of its own, for the tests of this crate: `node-sim-shim shim` is what `mountlab shim` is in
//! the whole product, and `node-sim-shim enclosed LOG PROGRAM ARGS…` runs a program inside an enclosure, with its output in a
//! file; `node-sim-shim outside PROGRAM ARGS…` starts PROGRAM in an enclosure and waits for it.

use std::ffi::OsString;
use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

use node_sim::enclosure::{self, EnclosureOptions};

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    match arguments.next().as_deref().and_then(std::ffi::OsStr::to_str) {
        Some("shim") => node_sim::shim::main(arguments.collect()),
        Some("enclosed") => {
            let _enclosed = match enclosure::enter() {
                Ok(enclosed) => enclosed,
                Err(error) => return refuse(&error),
            };
            let (Some(log), Some(program)) = (arguments.next(), arguments.next()) else {
                return refuse(&std::io::Error::other("enclosed needs a log file and a program"));
            };
            let output = File::create(log).and_then(|log| Ok((log.try_clone()?, log)));
            match output {
                Ok((standard, error)) => {
                    refuse(&Command::new(program).args(arguments).stdout(standard).stderr(error).exec())
                }
                Err(error) => refuse(&error),
            }
        }
        Some("outside") => outside(arguments.collect()),
        _ => refuse(&std::io::Error::other(
            "usage: node-sim-shim shim | enclosed LOG PROGRAM ARGS… | outside PROGRAM ARGS…",
        )),
    }
}

/// Starts a program in an enclosure, as the lab's outside does.
fn outside(mut words: Vec<OsString>) -> ExitCode {
    if words.is_empty() {
        return refuse(&std::io::Error::other("outside needs a program"));
    }
    let options = EnclosureOptions {
        program: words.remove(0).into(),
        args: words,
        environment: std::env::vars_os().collect(),
        file_descriptors: Vec::new(),
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return refuse(&error),
    };
    let ended = runtime.block_on(async { enclosure::spawn(options).await?.wait().await });
    match ended {
        Ok(status) => ExitCode::from(u8::try_from(status.code().unwrap_or(125)).unwrap_or(125)),
        Err(error) => refuse(&error),
    }
}

fn refuse(error: &dyn std::error::Error) -> ExitCode {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    eprintln!("node-sim-shim: {text}");
    ExitCode::from(125)
}

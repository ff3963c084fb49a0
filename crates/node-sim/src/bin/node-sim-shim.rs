//! The shim as a program of its own, for the tests of this crate: `node-sim-shim shim` is what `mountlab shim` is in
//! the whole product, and `node-sim-shim enclosed LOG PROGRAM ARGS…` runs a program inside an enclosure, with its output in a
//! file.

use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

use node_sim::enclosure;

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
        _ => refuse(&std::io::Error::other("usage: node-sim-shim shim | enclosed PROGRAM ARGS…")),
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

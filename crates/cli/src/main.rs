//! The `mountlab` program: parses, calls, and turns the outcome into an exit status.

mod arguments;
mod backends;
mod commands;
mod components;
mod exit;
mod nas_server;
mod progress;
mod steps;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().collect();
    if let Some(status) = components::dispatch(&arguments) {
        return status;
    }
    commands::run(arguments::Arguments::parse())
}
